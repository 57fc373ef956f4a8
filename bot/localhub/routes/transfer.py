"""Routes that move contents: preupload, Xet tokens, commits, downloads. LFS is in lfs.py."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import time
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from bot.localhub.files import attributes, xet_contents
from bot.localhub.files.commit_body import checked_path, parse_body, pointer
from bot.localhub.files.commits import commit, propose_commit
from bot.localhub.files.repository import Repo
from bot.localhub.routes.api import MODEL, check_gate
from bot.localhub.routes.request import (
    content_size,
    readable,
    spool,
    store_of,
    viewer_of,
    with_body,
    writable,
)
from bot.localhub.routes.revisions import divided
from bot.serving.bodies import json_object, json_objects
from bot.serving.refusal import Refusal, entry_not_found

COMMIT_LIMIT = 1 << 30  # bytes of one commit's body
LIFETIME = 24 * 3600  # seconds that a Xet token holds
MEDIA_TYPES = {
    **dict.fromkeys((".png", ".gif", ".webp", ".bmp"), "image/{}"),
    **dict.fromkeys((".jpg", ".jpeg"), "image/jpeg"),
    **dict.fromkeys((".md", ".txt", ".json", ".yaml", ".yml", ".py", ".csv"), "text/plain"),
    ".svg": "image/svg+xml",
}


def preupload(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/preupload/{rev}: which files go as LFS."""
    store, repo = store_of(request), writable(request)
    files = store.tree(store.commit(repo, request.path_params["rev"]))
    rows = []
    for file in json_objects(json_object(body), "files"):
        path = checked_path(file.get("path"))
        lfs = attributes.wants_lfs(path, content_size(file), _sample(file))
        old = files.get(path)
        oid = None if old is None else old.sha256 if old.lfs else old.blob_id
        mode = "lfs" if lfs else "regular"
        rows.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return JSONResponse({"files": rows})


def _sample(data: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(data.get("sample") or ""))
    except binascii.Error as error:
        raise Refusal(400, "A sample is not base64") from error


def xet_write_token(request: Request) -> Response:
    """GET /api/models/{id}/xet-write-token/{rev}: a new upload area on this machine's disk.

    hf_xet writes there by itself, so only a client of the same machine can use it.
    """
    store, repo = store_of(request), writable(request)
    limited = request.app.state.bandwidth.rate is not None  # hf_xet would go past it
    if not _is_loopback(request) or not xet_contents.xet_available() or limited:
        raise Refusal(404, "This Hub does not take Xet from here; set HF_HUB_DISABLE_XET=1")
    url = f"local://{store.open_area(repo)}"
    expires = int(time.time()) + LIFETIME
    token = {"casUrl": url, "accessToken": "local", "exp": expires}
    headers = {"X-Xet-Access-Token": "local", "X-Xet-Token-Expiration": str(expires)}
    if url.isascii():  # hf_xet reads the JSON, where any folder name can stand
        headers["X-Xet-Cas-Url"] = url
    return JSONResponse(token, headers=headers)


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def make_commit(request: Request) -> Response:
    """POST /api/models/{id}/commit/{branch}."""
    repo = await run_in_threadpool(writable, request)
    store = store_of(request)
    with store.objects.incoming() as body:
        await spool(request, body, COMMIT_LIMIT)
        return await run_in_threadpool(_commit, request, repo, body.path)


def _commit(request: Request, repo: Repo, body: Path) -> Response:
    store, viewer = store_of(request), viewer_of(request)
    if viewer is None:
        raise AssertionError("only a known user passes `writable`")
    with store.objects.staging() as staging:
        changes = parse_body(body, staging, lambda oid: store.holds(repo, oid))
        pull = None
        if request.query_params.get("create_pr"):
            pull, record = propose_commit(store, repo, viewer.name, changes)
        else:
            record = commit(store, repo, request.path_params["rev"], viewer.name, changes)
    home = f"{request.base_url}{repo.id}"
    return JSONResponse(
        {
            "commitUrl": f"{home}/commit/{record.sha}",
            "commitOid": record.sha,
            "pullRequestUrl": f"{home}/discussions/{pull.number}" if pull else None,
        }
    )


def resolve(request: Request) -> Response:
    """GET and HEAD /{id}/resolve/{rev}/{path}, with Range."""
    return _file(request, raw=False)


def raw(request: Request) -> Response:
    """GET and HEAD /{id}/raw/{rev}/{path}: what git holds, so a large file's pointer."""
    return _file(request, raw=True)


def _file(request: Request, *, raw: bool) -> Response:
    store, repo = store_of(request), readable(request)
    check_gate(request, repo)
    revision, path = divided(store, repo, request.path_params["rev"], request.path_params["path"])
    revision_commit = store.commit(repo, revision)
    entry = store.tree(revision_commit).get(path)
    if entry is None or store.holds(repo, entry.sha256) is None:  # its storage was given back
        refusal = entry_not_found(path)
        headers = {**refusal.headers, "X-Repo-Commit": revision_commit.sha}
        return JSONResponse({"error": refusal.message}, status_code=404, headers=headers)
    headers = {
        "X-Repo-Commit": revision_commit.sha,
        "ETag": f'"{entry.sha256 if entry.lfs else entry.blob_id}"',
        # strangers' files: never run as a page of this server
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if raw and entry.lfs:
        headers["ETag"] = f'"{entry.blob_id}"'
        return _whole(request, pointer(entry.sha256, entry.size), headers)
    if entry.size == 0:
        return _whole(request, b"", headers)
    if entry.lfs:
        headers |= {"X-Linked-Size": str(entry.size), "X-Linked-Etag": f'"{entry.sha256}"'}
    file = store.objects.path(entry.sha256)
    name = PurePosixPath(path).name
    return FileResponse(
        file,
        headers=headers,
        media_type=_media_type(name),
        filename=name,
        stat_result=file.stat(),
        content_disposition_type="inline",
    )


def _whole(request: Request, data: bytes, headers: dict[str, str]) -> Response:
    """All of a short text, also where a range was asked for: RFC 9110, 14.2 leaves that open.

    An empty file has no range that could be met; its size is said where clients look for it.
    """
    if "range" in request.headers:
        headers = {**headers, "Content-Range": f"bytes */{len(data)}"}
    return Response(data, headers=headers, media_type="text/plain")


def _media_type(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return MEDIA_TYPES.get(suffix, "application/octet-stream").format(suffix[1:])


ROUTES = [
    Route(f"{MODEL}/preupload/{{rev:revision}}", with_body(preupload), methods=["POST"]),
    Route(f"{MODEL}/xet-write-token/{{rev:revision}}", xet_write_token),
    Route(f"{MODEL}/commit/{{rev:revision}}", make_commit, methods=["POST"]),
    Route("/{owner}/{name}/resolve/{rev:revision}/{path:path}", resolve),
    Route("/{owner}/{name}/raw/{rev:revision}/{path:path}", raw),
]
