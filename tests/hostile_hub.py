"""A Hub over HTTP whose releases do what they like: every reply about each is given, byte for byte.

GET /api/models                         all rows, on one page
GET /api/models/ID[/revision/SHA]       the reply of that release, or its row
GET, HEAD /ID/resolve/SHA/FILE          its files
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

MOE = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "hidden_size": 64,
}


def deep(levels: int) -> bytes:
    """A list in a list, so many times."""
    return b"[" * levels + b"]" * levels


def packed(value: Any, **raw: bytes) -> bytes:
    """JSON in which each word `"@name"` stands for bytes that Python would not write."""
    text = json.dumps(value).encode()
    for name, content in raw.items():
        text = text.replace(f'"@{name}"'.encode(), content)
    return text


@dataclass(kw_only=True)
class Stranger:
    """One release: its row in listings, its reply, its files."""

    name: str
    row: Mapping[str, Any] = field(default_factory=dict)  # beside what a row must have
    reply: Mapping[str, Any] = field(default_factory=dict)  # beside what a release must have
    files: Mapping[str, bytes] = field(default_factory=dict)
    raw: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200  # of its reply; the row is there

    @property
    def sha(self) -> str:
        """Its commit."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:40]

    def listed(self) -> bytes:
        """Its row."""
        row = {
            "id": self.name, "sha": self.sha, "createdAt": "2026-11-01T10:00:00.000Z",
            "lastModified": "2026-11-01T10:00:00.000Z", "private": False, "gated": False,
            "tags": [], "likes": 500, "downloads": 9000, "config": {"model_type": "mixtral"},
        }  # fmt: skip
        return packed(row | dict(self.row), **self.raw)

    def told(self) -> bytes:
        """Its reply with files."""
        here = {"config.json": json.dumps(MOE).encode(), **self.files}
        siblings = [{"rfilename": name, "size": len(data)} for name, data in here.items()]
        siblings.append(
            {"rfilename": "model.safetensors", "size": 1 << 30,
             "lfs": {"sha256": hashlib.sha256(self.name.encode()).hexdigest(), "size": 1 << 30}}
        )  # fmt: skip
        reply = {
            "id": self.name, "sha": self.sha, "createdAt": "2026-11-01T10:00:00.000Z",
            "lastModified": "2026-11-01T10:00:00.000Z", "private": False, "gated": False,
            "tags": [], "cardData": {"license": "mit"}, "siblings": siblings,
        }  # fmt: skip
        return packed(reply | dict(self.reply), **self.raw)

    def content(self, path: str) -> bytes | None:
        """A file; None where there is none."""
        return {"config.json": json.dumps(MOE).encode(), **self.files}.get(path)


class HostileHub(ThreadingHTTPServer):
    """Serves strangers, newest first."""

    daemon_threads = True

    def __init__(self, strangers: list[Stranger]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.strangers = strangers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers for a path."""
        parts = path.strip("/").split("/")
        if parts == ["api", "models"]:
            return 200, b"[" + b",".join(one.listed() for one in self.strangers) + b"]", {}
        of = [
            one for one in self.strangers if one.name in ("/".join(parts[2:4]), "/".join(parts[:2]))
        ]
        if not of:
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        if parts[0] == "api":
            body = of[0].told() if "revision" in parts else of[0].listed()
            return of[0].status, body, of[0].headers
        content = of[0].content("/".join(parts[4:]))
        if content is None:
            return 404, b"{}", {"X-Error-Code": "EntryNotFound", **of[0].headers}
        return 200, content, {"X-Repo-Commit": of[0].sha, "ETag": '"x"', **of[0].headers}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: HostileHub

    def do_GET(self) -> None:
        status, body, headers = self.server.answer(unquote(urlsplit(self.path).path))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that has read enough
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def hostile_hub(strangers: list[Stranger]) -> Iterator[HostileHub]:
    """Runs until the block ends."""
    server = HostileHub(strangers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
