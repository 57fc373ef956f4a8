"""Bounds of every HTTP reply, held while it is read: bytes, JSON values, seconds, requests.

Bytes are counted after decompression. Seconds are those of the whole reply, not of one read: a
server that sends one byte a second runs into them. Both HTTP libraries of this program are bounded
at the socket: httpx2, which huggingface_hub uses, by `hold`, and requests, which github3 uses, by
`Adapter`.
"""

from __future__ import annotations

import contextlib
import contextvars
import http.client
import io
import socket
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2
from requests.adapters import HTTPAdapter
from requests.exceptions import ContentDecodingError
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from bot.errors import UnreachableError
from bot.foreign import MARKS

PIECE = 1 << 20  # bytes that are decompressed at once


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Limits of one reply: bytes, JSON values, and seconds from the request's last byte on.

    `slowest`, in bytes a second, extends the time by what has come: a file of 100 GB may take hours
    while it arrives. `requests` limits the GETs of one question: pages of a listing, which may
    name a next one for ever, or parts of a file whose connection breaks again and again.
    """

    bytes: int | None
    values: int | None
    seconds: float
    slowest: float | None = None
    requests: int = 200


# a listing of 1,000 models takes 2 MB and 60,000 values, a repository of 20,000 files 6 MB
REPLY = Bound(bytes=16 << 20, values=500_000, seconds=300.0)
FILE = Bound(bytes=None, values=None, seconds=300.0, slowest=1_000.0, requests=10_000)
LOG = Bound(bytes=1 << 30, values=None, seconds=300.0, slowest=10_000.0)

_BOUND: contextvars.ContextVar[Bound] = contextvars.ContextVar("bound", default=REPLY)
_ASKED: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("asked", default=None)


class Overfull(UnreachableError):
    """A reply, or a listing of pages, beyond a bound of ours. `fact` says which."""

    def __init__(self, fact: str) -> None:
        super().__init__(f"{fact}; ask for less, or look at the address")
        self.fact = fact


@contextlib.contextmanager
def within(bound: Bound) -> Iterator[None]:
    """Replies that are asked for in this block, by this thread, are held to `bound`."""
    before = _BOUND.set(bound)
    try:
        yield
    finally:
        _BOUND.reset(before)


@contextlib.contextmanager
def one_question() -> Iterator[None]:
    """All requests of this block, by this thread, belong to one question."""
    before = _ASKED.set([0])
    try:
        yield
    finally:
        _ASKED.reset(before)


def count_request(server: str) -> None:
    """One more GET of the question at hand. Raises Overfull beyond its bound."""
    count, most = _ASKED.get(), _BOUND.get().requests
    if count is None:
        return
    count[0] += 1
    if count[0] > most:
        raise Overfull(
            f"{server} was asked {most:,} times for one thing, as often as apex-bot asks, and has "
            "still more"
        )


class Meter:
    """Bytes, values and seconds that one reply has taken so far."""

    def __init__(self, server: str, bound: Bound | None = None) -> None:
        self._bound, self._server = bound or _BOUND.get(), server
        self._began, self._bytes, self._values = time.monotonic(), 0, 0

    def seconds_left(self) -> float:
        """Seconds until the bound; not positive once it is reached."""
        bound = self._bound
        more = self._bytes / bound.slowest if bound.slowest else 0.0
        return self._began + bound.seconds + more - time.monotonic()

    def count(self, data: bytes | memoryview, *, values: bool = False) -> None:
        """Count bytes, and with `values` what they hold of JSON. Raises Overfull."""
        bound = self._bound
        self._bytes += len(data)
        if bound.bytes is not None and self._bytes > bound.bytes:
            raise self._overfull(f"{bound.bytes:,} bytes")
        if values and bound.values is not None:
            self._values += sum(bytes(data).count(mark) for mark in MARKS)
            if self._values > bound.values:
                raise self._overfull(f"{bound.values:,} values")

    def _overfull(self, most: str) -> Overfull:
        return Overfull(
            f"{self._server} answered with more than the {most} that apex-bot reads of one reply"
        )


# ── httpx2 ──────────────────────────────────────────────────────────────────────────────────


def hold(client: httpx2.Client) -> httpx2.Client:
    """Apply the bound in force (`within`) to every reply of a client."""
    client.headers["Accept-Encoding"] = "gzip"
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [_count, *hooks["request"]],
        "response": [_decoded, *hooks["response"]],
    }
    # the library makes its transports by itself, one for each proxy of the environment
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            pool = transport._pool
            pool._network_backend = _Timely(pool._network_backend)
    return client


def _count(request: httpx2.Request) -> None:
    if request.method == "GET":
        count_request(request.url.host)


def _decoded(reply: httpx2.Response) -> None:
    """Meter a reply's body and decompress it here. Raises httpx2.DecodingError for no gzip."""
    encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if reply.request.method == "HEAD":
        return
    if encoding not in ("identity", "gzip", ""):
        raise httpx2.DecodingError(f"not asked for: {encoding[:40]}", request=reply.request)
    if not isinstance(reply.stream, httpx2.SyncByteStream):
        raise TypeError("a client of another kind")
    gzip = encoding == "gzip"
    # a refusal is no file: libraries read it whole
    bound = REPLY if reply.status_code >= 300 and _BOUND.get().bytes is None else None
    reply.stream = _Metered(reply.stream, Meter(reply.request.url.host, bound), gzip=gzip)
    if gzip:
        del reply.headers["Content-Encoding"]
        reply.headers.pop("Content-Length", None)


class _Metered(httpx2.SyncByteStream):
    """A reply's body, decompressed and counted piece by piece."""

    def __init__(self, stream: httpx2.SyncByteStream, meter: Meter, *, gzip: bool) -> None:
        self._stream, self._meter, self._gzip = stream, meter, gzip

    def __iter__(self) -> Iterator[bytes]:
        for piece in _unzipped(self._stream) if self._gzip else self._stream:
            self._meter.count(piece, values=True)
            yield piece

    def close(self) -> None:
        self._stream.close()


def _unzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unzip, begun = zlib.decompressobj(wbits=31), False
    for piece in pieces:
        compressed, begun = piece, True
        while compressed and not unzip.eof:
            try:
                data = unzip.decompress(compressed, PIECE)
            except zlib.error as error:
                raise httpx2.DecodingError(str(error)) from error
            if data:
                yield data
            compressed = unzip.unconsumed_tail
    while begun and not unzip.eof and (data := unzip.decompress(b"", PIECE)):
        yield data
    if begun and not unzip.eof:
        raise httpx2.DecodingError("cut short")


class _Timely(httpcore2.NetworkBackend):
    """Connections whose replies have a deadline as a whole."""

    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, host: str, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _TimelyStream(self._backend.connect_tcp(host, *args, **kwargs), host)

    def connect_unix_socket(self, path: str, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _TimelyStream(self._backend.connect_unix_socket(path, *args, **kwargs), path)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _TimelyStream(httpcore2.NetworkStream):
    """A connection: what is read after something was written is one reply."""

    def __init__(self, stream: httpcore2.NetworkStream, server: str) -> None:
        self._stream, self._server = stream, server
        self._meter: Meter | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        meter = self._meter = self._meter or Meter(self._server)
        seconds = meter.seconds_left()
        if seconds <= 0:
            raise httpcore2.ReadTimeout("the reply as a whole took too long")
        data = self._stream.read(max_bytes, min(timeout or seconds, seconds))
        meter.count(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._meter = None
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _TimelyStream(self._stream.start_tls(*args, **kwargs), self._server)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


# ── requests ────────────────────────────────────────────────────────────────────────────────


class Adapter(HTTPAdapter):  # type: ignore[misc]  # requests has no types
    """Applies the bound in force (`within`) to every reply of a session; none is compressed."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As the library, with connections of ours."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """As the library, with connections of ours."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Send a request. Raises as the library, and Overfull."""
        if request.method == "GET":
            count_request(urlsplit(request.url).hostname or "")
        request.headers["Accept-Encoding"] = "identity"
        reply = super().send(request, *args, **kwargs)
        encoding = str(reply.headers.get("Content-Encoding", "")).strip().lower()
        if encoding not in ("", "identity"):
            reply.close()
            raise ContentDecodingError(f"not asked for: {encoding[:40]}")
        return reply


class _Reply(http.client.HTTPResponse):
    """A reply that is read through its bound from the first byte of its headers on."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Wire(sock))


class _Wire(io.RawIOBase):
    """Bytes of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._socket, self._timeout = sock, sock.gettimeout()
        self._meter = Meter(str(sock.getpeername()[0]))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._meter.seconds_left()
        if seconds <= 0:
            raise TimeoutError("the reply as a whole took too long")
        self._socket.settimeout(min(self._timeout or seconds, seconds))
        count = self._raw.readinto(buffer)
        self._meter.count(memoryview(buffer)[: count or 0], values=True)
        return int(count) if count is not None else None

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Connection(HTTPConnection):
    response_class = _Reply


class _TlsConnection(HTTPSConnection):
    response_class = _Reply


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}
