"""Routes of pull requests: list, read, comment, close and merge. Opening one is a commit's."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.localhub.files import pulls
from bot.localhub.files.commits import merge_pull as merge_commit
from bot.localhub.files.pulls import Pull, PullEvent
from bot.localhub.files.repository import Repo
from bot.localhub.routes.api import MODEL
from bot.localhub.routes.request import readable, store_of, user_of, with_body, writable
from bot.serving.bodies import json_object
from bot.serving.refusal import Refusal

PAGE = 50


def list_pulls(request: Request) -> Response:
    """GET /api/models/{id}/discussions?p=…&type=…&status=…&author=…, the newest first."""
    repo, params = readable(request), request.query_params
    page = params.get("p", "0")
    start = PAGE * (int(page) if page.isdecimal() and len(page) < 7 else 0)
    matching = [
        pull
        for pull in store_of(request).pulls(repo)
        if params.get("type", "all") in ("all", "pull_request")
        and params.get("author", pull.author) == pull.author
        and params.get("status", "all") in ("all", "open" if pull.status == "open" else "closed")
    ]
    rows = [_row(repo, pull) for pull in matching[start : start + PAGE]]
    return JSONResponse({"discussions": rows, "count": len(matching), "start": start})


def details(request: Request) -> Response:
    """GET /api/models/{id}/discussions/{n}, with all that happened."""
    store, repo = store_of(request), readable(request)
    with store.database.reading() as db:
        pull = pulls.find_pull(db, repo, request.path_params["number"])
        events = pulls.events(db, repo, pull)
    changes = {"base": "refs/heads/main", "mergeCommitId": pull.merged}
    return JSONResponse(
        {
            **_row(repo, pull),
            "changes": changes,
            "filesWithConflicts": [],
            "events": [_event(event) for event in events],
        }
    )


def create_discussion(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/discussions: not here."""
    del request, body
    raise Refusal(400, "The local Hub has pull requests that begin with a commit (create_pr) only")


def comment(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/discussions/{n}/comment {"comment": "…"}."""
    store, repo, user = store_of(request), readable(request), user_of(request)
    text = json_object(body).get("comment")
    if not isinstance(text, str) or not 0 < len(text) <= pulls.COMMENT:
        raise Refusal(400, f"A comment has 1 to {pulls.COMMENT} letters")
    with store.database.writing() as db:
        pull = pulls.find_pull(db, repo, request.path_params["number"])
        event = pulls.note(db, repo, pull, "comment", user.name, text)
    return JSONResponse({"newMessage": _event(event)})


def set_status(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/discussions/{n}/status {"status": "open" or "closed"}."""
    store, repo, user = store_of(request), writable(request), user_of(request)
    status = json_object(body).get("status")
    if status not in ("open", "closed"):
        raise Refusal(400, "status is open or closed")
    with store.database.writing() as db:
        pull = pulls.find_pull(db, repo, request.path_params["number"])
        if pull.status == "merged":
            raise Refusal(400, f"Pull request {pull.number} is merged")
        event = pulls.settle(db, repo, pull, status, user.name)
    return JSONResponse({"newStatus": _event(event)})


def post_merge(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/discussions/{n}/merge."""
    del body
    repo, user = writable(request), user_of(request)
    merge_commit(store_of(request), repo, request.path_params["number"], user.name)
    return JSONResponse({})


def _row(repo: Repo, pull: Pull) -> dict[str, Any]:
    return {
        "num": pull.number,
        "title": pull.title,
        "author": {"name": pull.author},
        "status": pull.status,
        "createdAt": pull.created_at,
        "isPullRequest": True,
        "repo": {"name": repo.id, "type": "model"},
    }


def _event(event: PullEvent) -> dict[str, Any]:
    """An event as huggingface_hub's `deserialize_event` reads it."""
    author = {"name": event.author}
    latest = {"raw": event.text, "html": "", "updatedAt": event.time, "author": author}
    data: dict[str, dict[str, Any]] = {
        "comment": {"edited": False, "hidden": False, "latest": latest, "history": []},
        "commit": {"subject": event.text, "oid": event.sha},
        "status-change": {"status": event.text},
    }
    return {
        "id": f"{event.id:024x}",
        "type": event.kind,
        "createdAt": event.time,
        "author": author,
        "data": data[event.kind],
    }


PULL = f"{MODEL}/discussions/{{number:int}}"
ROUTES = [
    Route(f"{MODEL}/discussions", list_pulls),
    Route(f"{MODEL}/discussions", with_body(create_discussion), methods=["POST"]),
    Route(PULL, details),
    Route(f"{PULL}/comment", with_body(comment), methods=["POST"]),
    Route(f"{PULL}/status", with_body(set_status), methods=["POST"]),
    Route(f"{PULL}/merge", with_body(post_merge), methods=["POST"]),
]
