"""Bodies of requests, read up to a bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request

from bot import foreign
from bot.errors import SourceError
from bot.serving.refusal import Refusal


async def bounded(request: Request, limit: int) -> bytes:
    """The whole body. Raises Refusal 413 beyond `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refusal(413, f"The body is larger than {limit} bytes")
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any]:
    """A body as a JSON object. Raises Refusal 400."""
    try:
        return foreign.strict_object(body, "The body")
    except SourceError as error:
        raise Refusal(400, str(error).partition(";")[0]) from error


def json_objects(data: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """The list of objects under a key. Raises Refusal 400."""
    items = data.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Refusal(400, f"{key} is not a list of objects")
    yield from items
