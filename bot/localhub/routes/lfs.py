"""The LFS protocol: batch, upload whole or in parts, verify (git-lfs, docs/api/batch.md).

Upload addresses are signed and short-lived, because the Hub's client sends no token to them.
"""

from __future__ import annotations

import hmac
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.localhub.files.objects import CHUNK, SHA256, Incoming
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Repo
from bot.localhub.routes.request import content_size, spool, store_of, with_body, writable
from bot.serving.bodies import json_object, json_objects
from bot.serving.refusal import Refusal

LIFETIME = 24 * 3600  # seconds that an upload address holds
PARTS = 10_000
WHOLE, COMPLETE = 0, -1  # instead of a part's number


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """The right to send one content, or one part of it, to one repository until a time."""

    row: int
    oid: str
    size: int  # of the whole content
    part: int
    expires: int  # seconds since the epoch

    def signature(self, secret: bytes) -> str:
        """What makes the address unguessable."""
        text = f"{self.row}:{self.oid}:{self.size}:{self.part}:{self.expires}"
        return hmac.new(secret, text.encode(), "sha256").hexdigest()


def batch(request: Request, body: bytes) -> Response:
    """POST /{id}.git/info/lfs/objects/batch: where to send what is not here yet."""
    store, repo, data = store_of(request), writable(request), json_object(body)
    if data.get("operation") != "upload" or data.get("hash_algo", "sha256") not in (
        "sha256",
        "sha_256",
    ):
        raise Refusal(400, "Only uploads by sha256 are possible here")
    transfers = data.get("transfers") or ["basic"]
    rows, multipart = [], False
    for content in json_objects(data, "objects"):
        oid, size = _oid(content), content_size(content)
        row: dict[str, Any] = {"oid": oid, "size": size}
        if store.holds(repo, oid) is None:
            split = "multipart" in transfers and size > request.app.state.part_bytes
            multipart = multipart or split
            verify = {"href": f"{request.base_url}{repo.id}.git/info/lfs/verify"}
            upload = _parts(request, repo, oid, size) if split else _whole(request, repo, oid, size)
            row |= {"actions": {"upload": upload, "verify": verify}}
        rows.append(row)
    return JSONResponse({"transfer": "multipart" if multipart else "basic", "objects": rows})


def _oid(data: dict[str, Any]) -> str:
    oid = data.get("oid")
    if not isinstance(oid, str) or not SHA256.fullmatch(oid):
        raise Refusal(400, "An oid is not a sha256 in lower case")
    return oid


def _address(request: Request, repo: Repo, oid: str, size: int, part: int) -> str:
    expires = int(time.time()) + LIFETIME
    ticket = Ticket(row=repo.row, oid=oid, size=size, part=part, expires=expires)
    signature = ticket.signature(store_of(request).secret)
    return (
        f"{request.base_url}lfs/{repo.id}/{oid}"
        f"?size={size}&part={part}&expires={expires}&signature={signature}"
    )


def _whole(request: Request, repo: Repo, oid: str, size: int) -> dict[str, Any]:
    return {"href": _address(request, repo, oid, size, WHOLE)}


def _parts(request: Request, repo: Repo, oid: str, size: int) -> dict[str, Any]:
    chunk = max(request.app.state.part_bytes, -(-size // PARTS))
    numbers = range(1, -(-size // chunk) + 1)
    urls = {str(number): _address(request, repo, oid, size, number) for number in numbers}
    href = _address(request, repo, oid, size, COMPLETE)
    return {"href": href, "header": {"chunk_size": str(chunk), **urls}}


def _ticket(request: Request) -> tuple[Store, Repo, Ticket]:
    """The address's ticket. Raises Refusal 403 when it was not signed here or is too old."""
    store, params = store_of(request), request.query_params
    repo = store.find(f"{request.path_params['owner']}/{request.path_params['name']}")
    try:
        ticket = Ticket(
            row=-1 if repo is None else repo.row,
            oid=request.path_params["oid"],
            size=int(params["size"]),
            part=int(params["part"]),
            expires=int(params["expires"]),
        )
    except (KeyError, ValueError) as error:
        raise Refusal(403, "This is no upload address") from error
    signature = params.get("signature", "").encode()
    signed = hmac.compare_digest(ticket.signature(store.secret).encode(), signature)
    if repo is None or not signed or ticket.expires < time.time():
        raise Refusal(403, "This upload address does not hold any more; ask for a new one")
    return store, repo, ticket


async def put(request: Request) -> Response:
    """PUT of a whole content or of one part; sending the same again is fine."""
    store, repo, ticket = await run_in_threadpool(_ticket, request)
    if ticket.part == COMPLETE:
        raise Refusal(405, "Parts are completed with POST")
    with store.objects.incoming() as content:
        await spool(request, content, ticket.size)
        if ticket.part == WHOLE:
            await run_in_threadpool(_accept, store, repo, ticket, content)
        else:
            folder = store.objects.parts(f"{repo.row}:{ticket.oid}")
            content.path.replace(folder / str(ticket.part))
        return Response(headers={"ETag": f'"{content.sha256}"'})


def _accept(store: Store, repo: Repo, ticket: Ticket, content: Incoming) -> None:
    if (content.size, content.sha256) != (ticket.size, ticket.oid):
        raise Refusal(400, f"What arrived is not {ticket.oid} of {ticket.size} bytes; send again")
    store.hold(repo, content)


def complete_upload(request: Request, body: bytes) -> Response:
    """POST {oid, parts: [{partNumber, etag}]}: join the parts, and check what they make.

    Asked again, because the first reply was lost, it says the same.
    """
    store, repo, ticket = _ticket(request)
    if ticket.part != COMPLETE:
        raise Refusal(405, "Contents are sent with PUT")
    numbers = [part.get("partNumber") for part in json_objects(json_object(body), "parts")]
    if numbers != list(range(1, len(numbers) + 1)):
        raise Refusal(400, "Parts are numbered from 1 without gaps")
    if store.holds(repo, ticket.oid) is not None:
        return JSONResponse({})
    folder = store.objects.parts(f"{repo.row}:{ticket.oid}")
    with store.objects.incoming() as content:
        for number in numbers:
            _append(content, folder / str(number))
        content.finish()
        _accept(store, repo, ticket, content)
    shutil.rmtree(folder)
    return JSONResponse({})


def _append(content: Incoming, part: Path) -> None:
    if not part.is_file():
        raise Refusal(400, f"Part {part.name} did not arrive; send it again")
    with part.open("rb") as file:
        while data := file.read(CHUNK):
            content.write(data)


def verify_upload(request: Request, body: bytes) -> Response:
    """POST /{id}.git/info/lfs/verify: is the content stored with that size?"""
    store, repo, data = store_of(request), writable(request), json_object(body)
    if store.holds(repo, _oid(data)) != content_size(data):
        raise Refusal(404, "The content is not stored")
    return JSONResponse({})


GIT = "/{owner}/{name}.git/info/lfs"
ROUTES = [
    Route(f"{GIT}/objects/batch", with_body(batch), methods=["POST"]),
    Route(f"{GIT}/verify", with_body(verify_upload), methods=["POST"]),
    Route("/lfs/{owner}/{name}/{oid}", put, methods=["PUT"]),
    Route("/lfs/{owner}/{name}/{oid}", with_body(complete_upload), methods=["POST"]),
]
