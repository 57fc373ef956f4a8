"""What every route needs of a request: who asks, a bounded body, the store behind the app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bot.localhub.files.accounts import Viewer
from bot.localhub.files.commit_body import SIZE_LIMIT
from bot.localhub.files.objects import CHUNK, Incoming
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Repo
from bot.localhub.routes.bandwidth import Bandwidth
from bot.serving.bodies import bounded
from bot.serving.refusal import Refusal

BODY_LIMIT = 8 << 20  # bytes of a JSON or form body

BodyHandler = Callable[[Request, bytes], Response]


def store_of(request: Request) -> Store:
    """The store that this application serves."""
    store = request.app.state.store
    if not isinstance(store, Store):
        raise TypeError("the application has no store")
    return store


def viewer_of(request: Request) -> Viewer | None:
    """Who asks: None without a token. Raises Refusal 401 for a token that nobody owns."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    viewer = store_of(request).viewer(token.strip())
    if viewer is None:
        raise Refusal(401, "Invalid user token")
    return viewer


def user_of(request: Request) -> Viewer:
    """Who asks, when that matters. Raises Refusal 401."""
    viewer = viewer_of(request)
    if viewer is None:
        raise Refusal(401, "This needs a token; send Authorization: Bearer <token>")
    return viewer


def repo_id(request: Request) -> str:
    """owner/name of the address."""
    return f"{request.path_params['owner']}/{request.path_params['name']}"


def readable(request: Request) -> Repo:
    """The repository of the address, if the viewer may see it."""
    return store_of(request).readable(repo_id(request), viewer_of(request))


def writable(request: Request) -> Repo:
    """The repository of the address, if the viewer may change it."""
    return store_of(request).writable(repo_id(request), viewer_of(request))


def with_body(handler: BodyHandler) -> Any:
    """A route whose handler gets the whole, bounded body and runs on a worker thread."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(handler, request, await bounded(request, BODY_LIMIT))

    return endpoint


async def spool(request: Request, content: Incoming, limit: int) -> None:
    """Write a body of any size to disk as it comes, at the Hub's bandwidth.

    Raises Refusal 413 beyond `limit` bytes.
    """
    bandwidth: Bandwidth = request.app.state.bandwidth
    buffer = bytearray()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise Refusal(413, f"The body is larger than {limit} bytes")
        await bandwidth.take(len(chunk))
        buffer += chunk
        if len(buffer) >= CHUNK:
            await run_in_threadpool(content.write, bytes(buffer))
            buffer.clear()
    await run_in_threadpool(content.write, bytes(buffer))
    await run_in_threadpool(content.finish)


def content_size(data: dict[str, Any]) -> int:
    """The size of an announced content. Raises Refusal 400."""
    size = data.get("size")
    if type(size) is not int or not 0 <= size <= SIZE_LIMIT:
        raise Refusal(400, "A size is missing")
    return size
