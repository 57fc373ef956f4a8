"""Routes of a repository's large files, over all of its history: listed, deleted, duplicated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.localhub.files.objects import SHA256
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Repo, read_tree
from bot.localhub.routes.api import MODEL, check_gate, paged
from bot.localhub.routes.request import readable, store_of, viewer_of, with_body, writable
from bot.serving.bodies import json_object, json_objects
from bot.serving.refusal import Refusal

PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A large content, with the name and time that its first commit gave it."""

    sha256: str
    size: int
    path: str
    time: str


def large_files(store: Store, repo: Repo) -> list[Stored]:
    """Every large content that the repository holds, the one seen first at the top."""
    with store.database.reading() as db:
        sizes = {
            row["sha256"]: int(row["size"])
            for row in db.execute("select * from holdings where repo = ?", (repo.row,))
        }
        commits = db.execute(
            "select tree, time from commits where repo = ? order by rowid", (repo.row,)
        ).fetchall()
        trees = [(read_tree(db, row["tree"]), row["time"]) for row in commits]
    by_sha256: dict[str, Stored] = {}
    regular: set[str] = set()
    for files, time in trees:
        for entry in files.values():
            if not entry.lfs:
                regular.add(entry.sha256)
            elif entry.sha256 in sizes and entry.sha256 not in by_sha256:
                by_sha256[entry.sha256] = Stored(
                    sha256=entry.sha256, size=entry.size, path=entry.path, time=time
                )
    waiting = sizes.keys() - by_sha256.keys() - regular
    return [
        *by_sha256.values(),
        *(
            Stored(sha256=oid, size=sizes[oid], path=oid, time=repo.created_at)
            for oid in sorted(waiting)
        ),
    ]


def drop_large_files(store: Store, repo: Repo, oids: list[str]) -> None:
    """Delete large contents for good; commits that name them stay. Raises Refusal 404."""
    stored = {content.sha256 for content in large_files(store, repo)}
    for oid in oids:
        if oid not in stored:
            raise Refusal(404, f"{repo.id} stores no large file {oid}")
    with store.database.writing() as db:
        for oid in oids:
            db.execute("delete from holdings where repo = ? and sha256 = ?", (repo.row, oid))
            if not db.execute("select 1 from holdings where sha256 = ?", (oid,)).fetchone():
                store.objects.remove(oid)


def list_files(request: Request) -> Response:
    """GET /api/models/{id}/lfs-files."""
    store, repo = store_of(request), writable(request)
    cursor = request.query_params.get("cursor", "0")
    start = int(cursor) if cursor.isdecimal() and len(cursor) < 10 else 0
    contents = large_files(store, repo)
    rows = [_row(content) for content in contents[start : start + PAGE]]
    following = str(start + PAGE) if len(contents) > start + PAGE else None
    return paged(request, rows, following)


def _row(content: Stored) -> dict[str, Any]:
    return {
        "fileOid": content.sha256,
        "oid": content.sha256,
        "filename": content.path,
        "pushedAt": content.time,
        "ref": None,
        "size": content.size,
    }


def delete_files(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/lfs-files/batch: {"deletions": {"sha": […], "rewriteHistory": false}}.

    History is never rewritten here: commits keep their names, the files in them are gone.
    """
    store, repo = store_of(request), writable(request)
    deletions = json_object(body).get("deletions")
    if not isinstance(deletions, dict):
        raise Refusal(400, "deletions is not an object")
    oids = deletions.get("sha")
    if not isinstance(oids, list) or not all(_is_oid(oid) for oid in oids):
        raise Refusal(400, "deletions.sha is not a list of sha256")
    if deletions.get("rewriteHistory", True):
        raise Refusal(400, "The local Hub does not rewrite history; send rewriteHistory: false")
    drop_large_files(store, repo, oids)
    return JSONResponse({})


def duplicate_files(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/lfs-files/duplicate: have the target hold contents of this repository.

    {"target": {"type": "model", "name": "owner/name"}, "files": [{"sha256": …, "xetHash": …}]}.
    No bytes move. What could not be done is listed under `failed`, with the reason.
    """
    store, repo, data = store_of(request), readable(request), json_object(body)
    check_gate(request, repo)
    target_field = data.get("target")
    if not isinstance(target_field, dict) or target_field.get("type") != "model":
        raise Refusal(400, "target is not a model repository")
    target = store.writable(str(target_field.get("name")), viewer_of(request))
    done: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    large = {content.sha256 for content in large_files(store, repo)}
    for file in json_objects(data, "files"):
        oid = file.get("sha256")
        if not isinstance(oid, str) or not _is_oid(oid):
            raise Refusal(400, "A file is not named by a sha256")
        if oid not in large:
            failed.append({"sha256": oid, "error": f"{repo.id} stores no such large file"})
        elif file.get("xetHash") != store.xet_hash(oid):
            failed.append({"sha256": oid, "error": "The Xet hash is another file's"})
        elif store.lend(repo, target, oid):
            done.append({"sha256": oid})
    return JSONResponse({"success": done, "failed": failed})


def _is_oid(oid: object) -> bool:
    return isinstance(oid, str) and SHA256.fullmatch(oid) is not None


ROUTES = [
    Route(f"{MODEL}/lfs-files", list_files),
    Route(f"{MODEL}/lfs-files/batch", with_body(delete_files), methods=["POST"]),
    Route(f"{MODEL}/lfs-files/duplicate", with_body(duplicate_files), methods=["POST"]),
]
