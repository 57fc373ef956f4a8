"""Data sets of the local Hub: read-only, what lies in `datasets/OWNER/NAME` of its folder.

Their commit is a hash of the files' names, sizes and times, so that another file is another commit;
only the newest is there, as `main` and by its hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from bot.localhub.files.accounts import valid_name
from bot.localhub.routes.request import repo_id, store_of, viewer_of
from bot.serving.refusal import entry_not_found, repository_not_found, revision_not_found

FOLDER = "datasets"


def _home(request: Request) -> Path:
    """The folder of the address's data set. Raises Refusal RepoNotFound."""
    owner, name = request.path_params["owner"], request.path_params["name"]
    folder: Path = store_of(request).folder / FOLDER / owner / name
    if not (valid_name(owner) and valid_name(name)) or not folder.is_dir():
        raise repository_not_found(repo_id(request), anonymous=viewer_of(request) is None)
    return folder


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _commit(request: Request, files: dict[str, Path]) -> str:
    """The commit that there is. Raises Refusal RevisionNotFound where another one is asked for."""
    states = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in files.items()]
    commit = hashlib.sha1(repr(states).encode(), usedforsecurity=False).hexdigest()
    revision = request.path_params.get("rev", "main")
    if revision not in ("main", commit):
        raise revision_not_found(revision)
    return commit


def resolve_data(request: Request) -> Response:
    """GET and HEAD /datasets/{id}/resolve/{rev}/{path}, with Range."""
    files = _files(_home(request))
    commit, name = _commit(request, files), request.path_params["path"]
    path = files.get(name)
    if path is None:
        raise entry_not_found(name)
    headers = {
        "X-Repo-Commit": commit,
        "ETag": f'"{hashlib.sha256(f"{commit} {name}".encode()).hexdigest()}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return FileResponse(path, headers=headers, media_type="application/octet-stream")


def data_info(request: Request) -> Response:
    """GET /api/datasets/{id}, /revision/{rev}: its commit and files, with their sizes."""
    files = _files(_home(request))
    siblings = [
        {"rfilename": name, "size": path.stat().st_size, "blobId": _blob(path)}
        for name, path in files.items()
    ]
    found = {"id": repo_id(request), "sha": _commit(request, files), "siblings": siblings}
    return JSONResponse({**found, "private": False, "gated": False, "disabled": False, "tags": []})


def _blob(path: Path) -> str:
    """Git's name of a content (gitobjects: a header with its length comes first)."""
    content = path.read_bytes()
    head = f"blob {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


ROUTES = [
    Route("/api/datasets/{owner}/{name}", data_info),
    Route("/api/datasets/{owner}/{name}/revision/{rev}", data_info),
    Route("/datasets/{owner}/{name}/resolve/{rev}/{path:path}", resolve_data),
]
