"""A reverse proxy in front of a local Hub: it counts requests and injects what networks do."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PIECES = 5  # of a reply that comes in drops
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(kw_only=True)
class Fault:
    """What happens to the next `times` requests of `method` with `part` in their path."""

    method: str
    part: str
    status: int | None  # None: the connection is cut without a reply; 0: the Hub's own
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"trouble"
    arrives: bool  # whether the Hub gets the request before
    times: int = 1
    meanwhile: Callable[[], object] | None = None  # done before the reply, past the proxy's faults
    delay: float = 0.0  # seconds before the reply
    drops: float = 0.0  # seconds between the pieces in which the reply comes


class Between(ThreadingHTTPServer):
    """Forwards to `upstream`; `requests` holds "METHOD path" of all that came.

    `choose`, where it is set, gives the fault of a request by its number from 0, method and path.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.requests: list[str] = []
        self._noting = threading.Lock()
        self.faults: list[Fault] = []
        self.choose: Callable[[int, str, str], Fault | None] | None = None
        self.delivered: list[str] = []  # of requests, those that the Hub got

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def came(self, method: str, path: str) -> int:
        """Note a request; its number. Requests come side by side."""
        with self._noting:
            self.requests.append(f"{method} {path}")
            return len(self.requests) - 1

    def fault(self, number: int, method: str, path: str) -> Fault | None:
        """The fault for this request, used up by it."""
        if self.choose is not None:
            return self.choose(number, method, path)
        for fault in self.faults:
            if fault.method == method and fault.part in path and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had `part` in their path."""
        return sum(line.startswith(f"{method} ") and part in line for line in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or each reply waits 40 ms for its second half
    disable_nagle_algorithm = True
    server: Between

    def _forward(self) -> None:
        number = self.server.came(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(number, self.command, self.path)
        if fault and fault.meanwhile:
            fault.meanwhile()
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault is None or fault.arrives:
            self.server.delivered.append(f"{self.command} {self.path}")
            status, headers, content = self._upstream(body)
        if fault is None or fault.status == 0:
            self._reply(status, headers, content, fault.drops if fault else 0.0)
        elif fault.status is None:
            self.close_connection = True
        else:
            self._reply(fault.status, list(fault.headers.items()), fault.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _forward

    def _upstream(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _reply(
        self, status: int, headers: list[tuple[str, str]], content: bytes, drops: float = 0.0
    ) -> None:
        self.send_response(status)
        by_name = {name.lower(): value for name, value in headers}
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = by_name.get("content-length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            piece = -(-len(content) // PIECES) if drops else len(content)
            for start in range(0, len(content), max(piece, 1)):
                self.wfile.write(content[start : start + piece])
                if drops:
                    self.wfile.flush()
                    time.sleep(drops)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def between(upstream: str) -> Iterator[Between]:
    """A running proxy, stopped at the end."""
    proxy = Between(upstream)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def closed_port() -> str:
    """An address of this machine at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}"
