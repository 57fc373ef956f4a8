"""Collections of the local Hub: lists of repositories that an owner puts together."""

from __future__ import annotations

import re
import secrets
import sqlite3
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.localhub.files.accounts import Viewer, may_read
from bot.localhub.files.repository import now, to_repo
from bot.localhub.routes.api import paged
from bot.localhub.routes.request import store_of, user_of, viewer_of, with_body
from bot.serving.bodies import json_object
from bot.serving.refusal import Refusal

PAGE = 100
SHOWN = 4  # items of a collection in a listing, as on the Hub
TITLE = 60  # letters
ITEMS = (
    "select collected.id as item, collected.note, repos.* from collected"
    " join repos on repos.id = collected.repo where collected.collection = ? order by collected.id"
)


def list_collections(request: Request) -> Response:
    """GET /api/collections?owner=…: the newest first, with the first items of each."""
    params, viewer = request.query_params, viewer_of(request)
    cursor = params.get("cursor", "0")
    start = int(cursor) if cursor.isdecimal() and len(cursor) < 10 else 0
    with store_of(request).database.reading() as db:
        rows = db.execute(
            "select * from collections where ?1 is null or owner = ?1 order by id desc",
            (params.get("owner"),),
        ).fetchall()
        visible = [row for row in rows if _may_see(row, viewer)]
        page = [_as_json(db, row, viewer, SHOWN) for row in visible[start : start + PAGE]]
    return paged(request, page, str(start + PAGE) if len(visible) > start + PAGE else None)


def create_collection(request: Request, body: bytes) -> Response:
    """POST /api/collections; 409 with the slug where the owner has one of this title."""
    data, user = json_object(body), user_of(request)
    owner, title = str(data.get("namespace") or user.name), data.get("title")
    if not user.may_write(owner):
        raise Refusal(403, f"{user.name} may not make collections for {owner}")
    if not isinstance(title, str) or not 0 < len(title) <= TITLE:
        raise Refusal(400, f"A title has 1 to {TITLE} letters")
    slug = f"{owner}/{_slug(title)}-{secrets.token_hex(12)}"
    with store_of(request).database.writing() as db:
        existing = db.execute(
            "select * from collections where owner = ? and title = ?", (owner, title)
        ).fetchone()
        if existing is None:
            db.execute(
                "insert into collections (slug, owner, title, private, updated_at)"
                " values (?, ?, ?, ?, ?)",
                (slug, owner, title, bool(data.get("private")), now()),
            )
        row = existing or _row_of(db, slug)
        reply = {**_as_json(db, row, user, None), "position": 0}
    return JSONResponse(reply, status_code=200 if existing is None else 409)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "collection"


def show_collection(request: Request) -> Response:
    """GET /api/collections/{owner}/{slug}, with all its items."""
    viewer = viewer_of(request)
    with store_of(request).database.reading() as db:
        row = _visible(db, request, viewer)
        return JSONResponse({**_as_json(db, row, viewer, None), "position": 0})


def add_item(request: Request, body: bytes) -> Response:
    """POST /api/collections/{owner}/{slug}/items; 409 for one that is there."""
    data, user = json_object(body), user_of(request)
    item = data.get("item")
    if not isinstance(item, dict) or item.get("type") != "model":
        raise Refusal(400, "item is a model with its id")
    note = data.get("note")
    store = store_of(request)
    repo = store.readable(str(item.get("id")), user)
    with store.database.writing() as db:
        row = _visible(db, request, user)
        if not user.may_write(row["owner"]):
            raise Refusal(403, f"{user.name} may not change {row['slug']}")
        try:
            db.execute(
                "insert into collected (collection, repo, note) values (?, ?, ?)",
                (row["id"], repo.row, note if isinstance(note, str) else None),
            )
        except sqlite3.IntegrityError as error:
            raise Refusal(409, f"{repo.id} is in {row['slug']} already") from error
        db.execute("update collections set updated_at = ? where id = ?", (now(), row["id"]))
        return JSONResponse({**_as_json(db, _row_of(db, row["slug"]), user, None), "position": 0})


def _row_of(db: sqlite3.Connection, slug: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "select * from collections where slug = ?", (slug,)
    ).fetchone()
    if row is None:
        raise Refusal(404, f"Collection {slug} not found")
    return row


def _visible(db: sqlite3.Connection, request: Request, viewer: Viewer | None) -> sqlite3.Row:
    slug = f"{request.path_params['owner']}/{request.path_params['slug']}"
    row = _row_of(db, slug)
    if not _may_see(row, viewer):
        raise Refusal(404, f"Collection {slug} not found")
    return row


def _may_see(row: sqlite3.Row, viewer: Viewer | None) -> bool:
    return not row["private"] or (viewer is not None and viewer.may_write(row["owner"]))


def _as_json(
    db: sqlite3.Connection, row: sqlite3.Row, viewer: Viewer | None, limit: int | None
) -> dict[str, Any]:
    """A collection as huggingface_hub's Collection reads it, with items that the viewer may see."""
    items = [(item, to_repo(item)) for item in db.execute(ITEMS, (row["id"],))]
    readable = [(item, repo) for item, repo in items if may_read(repo, viewer)][:limit]
    return {
        "slug": row["slug"],
        "title": row["title"],
        "owner": {"name": row["owner"]},
        "private": bool(row["private"]),
        "lastUpdated": row["updated_at"],
        "theme": "orange",
        "upvotes": 0,
        "items": [
            {
                "_id": f"{item['item']:024x}",
                "id": repo.id,
                "type": "model",
                "position": number,
                **({"note": {"text": item["note"]}} if item["note"] else {}),
            }
            for number, (item, repo) in enumerate(readable)
        ],
    }


ROUTES = [
    Route("/api/collections", list_collections),
    Route("/api/collections", with_body(create_collection), methods=["POST"]),
    Route("/api/collections/{owner}/{slug}", show_collection),
    Route("/api/collections/{owner}/{slug}/items", with_body(add_item), methods=["POST"]),
]
