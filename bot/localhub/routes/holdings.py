"""Repositories as what somebody owns: the list with their storage, and moving one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.localhub.routes import listing
from bot.localhub.routes.request import store_of, user_of, with_body
from bot.serving.bodies import json_object
from bot.serving.refusal import Refusal


def own_repositories(request: Request) -> Response:
    """GET /api/settings/repositories: the user's own."""
    return _owned_by(request, user_of(request).name)


def of_organization(request: Request) -> Response:
    """GET /api/organizations/{name}/settings/repositories: for its members."""
    owner, user = request.path_params["name"], user_of(request)
    if not user.may_write(owner):
        raise Refusal(403, f"{user.name} is no member of {owner}")
    return _owned_by(request, owner)


def _owned_by(request: Request, owner: str) -> Response:
    """As RepoStorageInfo reads it; the percentage is of what this owner stores."""
    store = store_of(request)
    names = ("usedStorage", "lastModified", "private")
    rows = [
        listing.model_json(store, repo, commit, names)
        for repo, commit in store.repositories(user_of(request))
        if repo.owner.lower() == owner.lower()
    ]
    total = sum(row["usedStorage"] for row in rows)
    return JSONResponse([_row(row, total) for row in rows])


def _row(row: dict[str, Any], total: int) -> dict[str, Any]:
    return {
        "id": row["id"],
        "type": "model",
        "updatedAt": row["lastModified"],
        "visibility": "private" if row["private"] else "public",
        "storage": row["usedStorage"],
        "storagePercent": 100 * row["usedStorage"] / total if total else 0,
    }


def move_repository(request: Request, body: bytes) -> Response:
    """POST /api/repos/move: to another name, or to an owner that the user acts for, too."""
    data, user, store = json_object(body), user_of(request), store_of(request)
    if data.get("type", "model") != "model":
        raise Refusal(400, "The local Hub keeps model repositories only")
    repo = store.owned(str(data.get("fromRepo")), user)
    owner, _, name = str(data.get("toRepo")).partition("/")
    if not user.may_write(owner):
        raise Refusal(403, f"{user.name} may not make repositories for {owner[:100]}")
    store.move(repo, owner, name)
    return Response("OK")


ROUTES = [
    Route("/api/settings/repositories", own_repositories),
    Route("/api/organizations/{name}/settings/repositories", of_organization),
    Route("/api/repos/move", with_body(move_repository), methods=["POST"]),
]
