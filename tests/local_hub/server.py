"""A real local Hub over HTTP for tests: its address, a user's token and what it stores."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bot.localhub.files.repositories import Store
from bot.localhub.routes.lending import LIFETIME
from bot.localhub.server import PART_BYTES, RunningHub

USER = "alice"
ORG = "lab"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, whatever its status."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        return self.headers["X-Error-Code"]


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A running Hub; `token` is of the user alice, who is a member of the organization lab."""

    url: str
    token: str = field(repr=False)
    store: Store

    def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request as it stands: no redirects, no normalized paths. JSON unless bytes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as line:
            line.request(method, target.removeprefix(self.url), body=data, headers=sent)
            reply = line.getresponse()
            return Reply(status=reply.status, headers=reply.headers, body=reply.read())

    def commits(self, repo_id: str) -> int | None:
        """How many commits main has after the one that made the repository; None without it."""
        repo = self.store.find(repo_id)
        if repo is None:
            return None
        return len(self.store.history(repo, self.store.commit(repo, "main"), 1000)) - 1

    def create(self, name: str, *, private: bool = False) -> str:
        """A new repository of the user; returns its id."""
        body = {"name": name, "private": private}
        reply = self.ask("POST", "/api/repos/create", body, token=self.token)
        assert reply.status == 200, reply.body
        return f"{USER}/{name}"

    def commit(self, repo_id: str, *lines: dict[str, Any], parent: str | None = None) -> Reply:
        """A commit of raw operations."""
        header = {"summary": "change"} | ({"parentCommit": parent} if parent else {})
        rows = [{"key": "header", "value": header}, *lines]
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return self.ask("POST", f"/api/models/{repo_id}/commit/main", body, token=self.token)

    def send(self, repo_id: str, data: bytes) -> str:
        """Store an LFS content; returns its sha256."""
        oid = hashlib.sha256(data).hexdigest()
        batch = {"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]}
        target = f"/{repo_id}.git/info/lfs/objects/batch"
        announced = self.ask("POST", target, batch, token=self.token).json["objects"][0]
        if "actions" in announced:
            reply = self.ask("PUT", announced["actions"]["upload"]["href"], data)
            assert reply.status == 200, reply.body
        return oid


def regular(path: str, content: bytes) -> dict[str, Any]:
    """The operation that makes a regular file."""
    text = base64.b64encode(content).decode()
    return {"key": "file", "value": {"path": path, "content": text, "encoding": "base64"}}


def large(path: str, oid: str, size: int) -> dict[str, Any]:
    """The operation that names an LFS content."""
    return {
        "key": "lfsFile",
        "value": {"path": path, "algo": "sha256", "oid": oid, "size": size},
    }


@contextmanager
def running_hub(
    folder: Path,
    *,
    part_bytes: int = PART_BYTES,
    lent_seconds: int = LIFETIME,
    deduplicates: bool = False,
) -> Iterator[Hub]:
    """Serve `folder` on a free port of 127.0.0.1 until the end of the block."""
    hub = RunningHub(
        folder, part_bytes=part_bytes, lent_seconds=lent_seconds, deduplicates=deduplicates
    )
    token = hub.store.add_user(USER, orgs=[ORG])
    with hub:
        yield Hub(url=hub.url, token=token, store=hub.store)
