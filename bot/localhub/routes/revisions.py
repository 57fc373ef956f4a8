"""Revisions in addresses: branches, tags and commits, also those that have slashes in their name.

Clients write a branch `a/b` as `a%2Fb`, which servers decode before they look at their routes, or
as it is, where only the branches that there are say where its name ends.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Repo

LAST = "last_revision"  # in a route: a revision that ends the address
SLASH = "%2F"
PLACE = re.compile(
    r"((?:/api/models)?/[^/]+/[^/]+/(?:branch|commit|commits|paths-info|preupload|raw|resolve"
    r"|revision|tag|tree|xet-write-token)/)([^/]+)(.*)",
    re.DOTALL,
)


class Revision(Convertor[str]):
    """One segment of an address with its slashes encoded, or refs/pr/N as it is."""

    regex = "refs/pr/[0-9]+|[^/]+"

    def convert(self, value: str) -> str:
        """With its slashes."""
        return value.replace(SLASH, "/")

    def to_string(self, value: str) -> str:
        """As one segment."""
        return value.replace("/", SLASH)


class LastRevision(Revision):
    """A revision that nothing follows: the rest of the address, slashes and all."""

    regex = ".+"


register_url_convertor("revision", Revision())
register_url_convertor(LAST, LastRevision())


class KeptSlashes:
    """Hands addresses on with the encoded slashes of their revision as they came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        raw = scope.get("raw_path")
        match = PLACE.fullmatch(raw.decode("latin-1").partition("?")[0]) if raw else None
        if match is not None and SLASH in match[2].upper():
            before, revision, after = map(unquote, match.groups())
            scope = {**scope, "path": before + revision.replace("/", SLASH) + after}
        await self._app(scope, receive, send)


def divided(store: Store, repo: Repo, revision: str, path: str) -> tuple[str, str]:
    """(revision, path) of an address in which a branch may be named with bare slashes."""
    full_path = f"{revision}/{path}"
    names = [ref.name for ref in store.refs(repo)]
    if revision in names:
        return revision, path
    for name in names:
        if full_path == name or full_path.rstrip("/") == name or full_path.startswith(f"{name}/"):
            return name, full_path[len(name) + 1 :]
    return revision, path
