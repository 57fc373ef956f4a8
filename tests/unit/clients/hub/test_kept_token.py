"""A token goes to its own Hub, whatever other address a reply of that Hub names."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.community import Community
from bot.clients.hub.hub import Hub
from bot.disk.hashes import sha256
from bot.errors import BotError
from tests.local_hub.server import Hub as LocalHub
from tests.unit.clients.hub.between import Between, Fault, between
from tests.unit.clients.hub.test_without_xet import answer

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's


class Stranger(ThreadingHTTPServer):
    """Another server: `asked` holds each request's first line and what stood for a token."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Stranger

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.requestline, self.headers.get("Authorization")))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(hub: LocalHub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.mark.parametrize("listing", ["commits", "discussions", "collections"])
def test_a_next_page_elsewhere_gets_none(
    hub: LocalHub, proxy: Between, stranger: Stranger, listing: str
) -> None:
    client, repo = Hub(proxy.url, SecretStr(hub.token), pause=0.001), hub.create("Model")
    body = b'{"discussions": [], "count": 99, "start": 0}' if listing == "discussions" else b"[]"
    link = {"Link": f'<{stranger.url}/next>; rel="next"', "Content-Type": "application/json"}
    proxy.faults = [
        Fault(method="GET", part=listing, status=200, headers=link, body=body, arrives=False)
    ]
    ask: dict[str, Callable[[], object]] = {
        "commits": lambda: Writer(client).history(repo, 5),
        "discussions": lambda: Community(client).pull(repo, "mark"),
        "collections": lambda: Community(client).collect(repo, "APEX"),
    }
    with suppress(BotError):  # what the stranger says is no such page
        ask[listing]()
    assert proxy.faults[0].times == 0
    assert all(token is None for _, token in stranger.asked), stranger.asked
    assert stranger.asked or listing == "discussions"  # whose pages the library numbers itself


def test_where_a_sent_file_is_confirmed_elsewhere_gets_none(
    hub: LocalHub, proxy: Between, stranger: Stranger, tmp_path: Path
) -> None:
    client, repo = Hub(proxy.url, SecretStr(hub.token), pause=0.001), hub.create("Model")
    path = tmp_path / "A.gguf"
    path.write_bytes(b"content" * 99)
    places = {name: {"href": f"{stranger.url}/{name}"} for name in ("upload", "verify")}
    entry = {"oid": sha256(path), "size": path.stat().st_size, "actions": places}
    body = json.dumps({"transfer": "basic", "objects": [entry]}).encode()
    kind = {"Content-Type": "application/vnd.git-lfs+json"}
    proxy.faults = [
        answer(None),
        Fault(method="POST", part="objects/batch", status=200, headers=kind, body=body,
              arrives=False),
    ]  # fmt: skip
    with pytest.raises(BotError):
        client.commit(repo, {"A.gguf": path}, "Release", client.head(repo))
    lines = [line for line, _ in stranger.asked]
    assert any("/verify" in line for line in lines), lines
    assert all(token is None for _, token in stranger.asked), stranger.asked
