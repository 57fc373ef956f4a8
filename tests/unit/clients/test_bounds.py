"""Servers whose replies do not end, or hold more than they weigh: both clients stop reading."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from bot.clients.bounds import REPLY, Bound, within
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_client import connect
from bot.clients.hub.hub import Hub
from bot.errors import BotError, SourceError, UnreachableError
from bot.store.queue_tables import Event
from bot.watcher import notify

Pieces = Iterator[bytes]
COMMIT = "0" * 40
SHORT = Bound(bytes=1 << 20, values=1_000, seconds=0.3, requests=20)


@contextmanager
def server(reply: Callable[[str, str], Pieces]) -> Iterator[str]:
    """Answers each request with the pieces that `reply` gives for address and request line."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        def answer(connection: socket.socket) -> None:
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (more := connection.recv(65_536)):
                    head += more
                try:
                    for piece in reply(url, head.partition(b"\r\n")[0].decode()):
                        connection.sendall(piece)
                    # what is unread when a socket closes is answered by a reset: read it before
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(5)
                    while connection.recv(65_536):
                        pass
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    connection = bound.accept()[0]
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield url
        bound.shutdown(socket.SHUT_RDWR)
        thread.join()


def head(*headers: str, status: str = "200 OK") -> bytes:
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", "Connection: close", *headers)
    return "\r\n".join((*lines, "", "")).encode()


def chunks(pieces: Iterator[bytes]) -> Pieces:
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)


def bomb() -> bytes:
    """400 MB of zeros in 400 kB, whose end nobody waits for.

    A full flush makes blocks that know nothing of those before: one is made, and repeated.
    """
    packer = zlib.compressobj(9, wbits=31)
    opening = packer.compress(b"\0") + packer.flush(zlib.Z_FULL_FLUSH)
    return opening + (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * 400


def slowly(data: bytes) -> Pieces:
    for byte in data:
        yield bytes([byte])
        time.sleep(0.02)


def whole(body: bytes, *headers: str) -> Pieces:
    yield head(f"Content-Length: {len(body)}", *headers)
    yield body


BOMB = bomb()
ENDLESS: dict[str, tuple[Callable[[str, str], Pieces], str]] = {
    "a bomb": (
        lambda *_: whole(BOMB, "Content-Encoding: gzip"),
        "answered with more than the 1,048,576 bytes",
    ),
    "twice a bomb": (lambda *_: whole(BOMB, "Content-Encoding: gzip, gzip"), "DecodingError"),
    "what was not asked for": (lambda *_: whole(b"x", "Content-Encoding: br"), "DecodingError"),
    "no gzip": (lambda *_: whole(b"x" * 99, "Content-Encoding: gzip"), "DecodingError"),
    "half a gzip": (
        lambda *_: whole(gzip.compress(b'{"a": 1}')[:-9], "Content-Encoding: gzip"),
        "DecodingError",
    ),
    "a body without end": (
        lambda *_: itertools.chain([head()], itertools.repeat(b" " * 65_536)),
        "answered with more than the 1,048,576 bytes",
    ),
    "chunks without end": (
        lambda *_: itertools.chain(
            [head("Transfer-Encoding: chunked")], chunks(itertools.repeat(b" " * 60_000))
        ),
        "answered with more than the 1,048,576 bytes",
    ),
    "many small values": (
        lambda *_: whole(b"[" + b"[]," * 2_000 + b"1]"),
        "answered with more than the 1,000 values",
    ),
    "a refusal without end": (
        lambda *_: itertools.chain([head(status="403 Forbidden")], itertools.repeat(b" " * 65_536)),
        "answered with more than the 1,048,576 bytes",
    ),
    "a redirect without end": (
        lambda *_: itertools.chain(
            [head("Location: /x", status="302 Found")], itertools.repeat(b" " * 65_536)
        ),
        "answered with more than the 1,048,576 bytes",
    ),
    "headers without end": (
        lambda *_: itertools.chain([head()[:-2]], (b"X-%d: y\r\n" % n for n in itertools.count())),
        "RemoteProtocolError",
    ),
    "redirects in a circle": (
        lambda *_: iter([head("Location: /x", "Content-Length: 0", status="302 Found")]),
        "was asked 20 times",
    ),
    "a line that trickles": (lambda *_: slowly(head() * 99), "ReadTimeout"),
    "headers that trickle": (
        lambda *_: itertools.chain([b"HTTP/1.1 200 OK\r\n"], slowly(b"X: y\r\n" * 999)),
        "ReadTimeout",
    ),
    "a body that trickles": (
        lambda *_: itertools.chain([head("Content-Length: 9999")], slowly(b" " * 9_999)),
        "ReadTimeout",
    ),
    "words before the reply": (
        lambda *_: slowly(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 99),
        "ReadTimeout",
    ),
    "nested deep": (lambda *_: whole(b"[" * 900 + b"]" * 900), "not as a Hub"),
    "nested deeper": (lambda *_: whole(b'{"a":' * 990), "nested deeper than"),
    "a length that lies": (
        lambda *_: iter([head("Content-Length: 999999999999"), b"{}"]),
        "not answer",
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_hub_is_heard_to_a_bound(name: str) -> None:
    reply, message = ENDLESS[name]
    with (
        server(reply) as url,
        within(SHORT),
        pytest.raises(BotError, match=message),
    ):
        Hub(url, None, pause=0.0).release("org/model")


@pytest.mark.parametrize("name", ENDLESS)
def test_github_is_heard_to_a_bound(name: str) -> None:
    reply, message = ENDLESS[name]
    with server(reply) as url, within(SHORT), pytest.raises(BotError) as caught:
        GithubRepository(connect(None, url), "org/repo").run(5)
    if message.startswith("answered") and "bomb" not in name:
        assert message in str(caught.value)


def test_a_bound_of_ours_is_no_fault_of_a_repository() -> None:
    with (
        server(ENDLESS["many small values"][0]) as url,
        within(SHORT),
        pytest.raises(SourceError) as caught,
    ):
        Hub(url, None, pause=0.0).release("org/model")
    assert str(caught.value) == (
        "org/model@main: 127.0.0.1 answered with more than the 1,000 values that apex-bot reads of "
        "one reply; choose another model"
    )


def test_a_listing_beyond_a_bound_ends_nothing_but_this_look() -> None:
    with (
        server(ENDLESS["many small values"][0]) as url,
        within(SHORT),
        pytest.raises(UnreachableError, match="look at the address"),
    ):
        Hub(url, None, pause=0.0).page(100)


def following(url: str, line: str) -> Pieces:
    """A page of nothing, and always another."""
    number = int(line.partition("n=")[2].partition(" ")[0] or 0) + 1
    return whole(b"[]", f'Link: <{url}/api/models?n={number}>; rel="next"')


def test_pages_of_nothing_come_to_an_end() -> None:
    with server(following) as url:
        assert list(Hub(url, None, pause=0.0).newest(500, 100)) == []


def test_a_page_that_follows_itself_is_no_hubs() -> None:
    def same(url: str, _line: str) -> Pieces:
        return whole(b"[]", f'Link: <{url}/api/models?n=1>; rel="next"')

    with server(same) as url, pytest.raises(UnreachableError, match="not as a Hub does"):
        list(Hub(url, None, pause=0.0).newest(500, 100))


def test_pages_that_the_library_reads_come_to_an_end() -> None:
    with server(following) as url, within(SHORT):
        hub = Hub(url, None, pause=0.0)
        with pytest.raises(SourceError, match="was asked 20 times for one thing"):
            hub.ask("the collections", lambda api: list(api.list_collections(owner="org")))


def test_pages_of_github_come_to_an_end() -> None:
    def runs(url: str, line: str) -> Pieces:
        number = int(line.partition("n=")[2].partition(" ")[0] or 0) + 1
        return whole(b'{"workflow_runs": []}', f'Link: <{url}/x?n={number}>; rel="next"')

    with (
        server(runs) as url,
        within(SHORT),
        pytest.raises(UnreachableError, match="was asked 20 times for one thing"),
    ):
        GithubRepository(connect(None, url), "org/repo").runs("x.yml", 0.0)


def test_no_more_of_a_file_reaches_the_disk_than_it_has(tmp_path: Path) -> None:
    def longer(_url: str, line: str) -> Pieces:
        if line.startswith("HEAD"):
            headers = ("ETag: x", f"X-Repo-Commit: {COMMIT}", "X-Linked-Size: 100000")
            return iter([head("Content-Length: 100000", *headers)])
        return itertools.chain([head()], itertools.repeat(b"x" * 65_536))

    with server(longer) as url, pytest.raises(UnreachableError, match="came longer than it is"):
        Hub(url, None, pause=0.0).download("org/model", COMMIT, "big.bin", tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 100_000


def test_a_file_takes_as_long_as_it_comes() -> None:
    """What bounds a reply in all does not bound a file, which is read as one."""

    def slow(*_: str) -> Pieces:
        yield head("Content-Length: 26")
        yield from slowly(b'{"model_type": "aaaaaaaa"}')

    with server(slow) as url, within(SHORT):
        config = Hub(url, None, pause=0.0).read_json("org/model", COMMIT, "config.json")
    assert config == {"model_type": "aaaaaaaa"}


def test_gzip_is_read() -> None:
    body = b'{"id": "org/model", "sha": "%s", "siblings": []}' % COMMIT.encode()
    with server(lambda *_: whole(gzip.compress(body), "Content-Encoding: gzip")) as url:
        assert Hub(url, None, pause=0.0).release("org/model").commit == COMMIT


def test_a_notification_waits_for_no_endless_answer() -> None:
    event = Event(id=1, at=0.0, kind="queued", repo="org/model", text="x", link=None)
    with server(ENDLESS["a body without end"][0]) as url, pytest.raises(UnreachableError):
        notify._send(SecretStr(f"{url}/hook"), notify.message(event, None, slack=True))


def test_bounds_leave_room_for_the_largest_honest_replies() -> None:
    """A page of 1,000 models with 60 tags each, and a repository of 20,000 files."""
    row = {"id": "o/" + "n" * 60, "sha": COMMIT, "tags": ["t" * 20] * 60, "config": {"a": ["b"]}}
    file = {"rfilename": "f" * 60, "size": 1, "blobId": COMMIT, "lfs": {"sha256": "0" * 64}}
    for many in ([row] * 1_000, {"siblings": [file] * 20_000}):
        text = httpx2.Response(200, json=many).content
        assert REPLY.bytes is not None
        assert REPLY.values is not None
        assert len(text) < REPLY.bytes / 2
        assert sum(text.count(mark) for mark in (b",", b"[", b"{")) < REPLY.values / 2


def test_a_refusal_in_place_of_a_file_is_bounded_as_a_reply() -> None:
    def refused(*_: str) -> Pieces:
        yield head("Content-Encoding: gzip", status="403 Forbidden")
        yield BOMB

    with server(refused) as url, pytest.raises(SourceError, match="more than the 16,777,216 bytes"):
        Hub(url, None, pause=0.0).read_json("org/model", COMMIT, "config.json")
