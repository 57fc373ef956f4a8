"""Clients that never finish a request, never read a reply, or come in numbers: real sockets."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from bot.localhub import server as hub
from bot.localhub.files.repositories import Store
from bot.serving.patience import Patience
from bot.serving.serving import Server, listen, url_of
from bot.settings.settings import load
from bot.status import page
from bot.store.ledger import Ledger

QUICK = Patience(seconds=0.4, slowest=100_000.0, connections=6)
SLOW = 20.0  # seconds after which a test fails: nothing that is waited for comes so late
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n"


@contextmanager
def serving(folder: Path, which: str, patience: Patience = QUICK) -> Iterator[tuple[str, int]]:
    """One of the bot's servers, in a thread."""
    names = ["127.0.0.1"]
    with ExitStack() as stack:
        if which == "hub":
            app = hub.hub_application(Store(folder / "hub"), hosts=tuple(names))
        else:
            app = page.page_application(Ledger(folder / "ledger.sqlite3"), load(), names)
        bound = stack.enter_context(closing(listen("127.0.0.1", 0)))
        listening = threading.Event()
        server = Server(app, listening.set, patience)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        assert listening.wait(SLOW)
        yield "127.0.0.1", urlsplit(url_of(bound)).port or 0
        server.should_exit = True
        thread.join(SLOW)


def is_closed(line: socket.socket) -> bool:
    """Whether the server ends the connection; what it says before is passed over."""
    line.settimeout(SLOW)
    try:
        while line.recv(65_536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def keep_sending(line: socket.socket, pieces: Iterator[bytes]) -> bool:
    """Whether the server ends the connection while it is sent something every now and then."""
    end = time.monotonic() + SLOW
    line.settimeout(SLOW)
    try:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(0.02)
            if time.monotonic() > end:
                return False
    except ConnectionError:
        return True
    return is_closed(line)


def works(address: tuple[str, int]) -> bool:
    with closing(http.client.HTTPConnection(*address, timeout=SLOW)) as line:
        line.request("GET", "/status.json")
        return line.getresponse().status in (200, 404)


@pytest.mark.parametrize("which", ["hub", "status"])
@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [HEAD],
        [HEAD, *[b"X-%d: y\r\n" % n for n in range(9_999)]],
        [POST, *[b"x"] * 9_999],
        [HEAD + b"\r\n", *[b"GET /"] * 9_999],
    ],
    ids=["nothing", "half a head", "a head that trickles", "a body that trickles", "and another"],
)
def test_a_request_is_whole_after_a_while_or_gone(
    tmp_path: Path, which: str, pieces: list[bytes]
) -> None:
    with serving(tmp_path, which) as address, socket.create_connection(address) as line:
        assert keep_sending(line, iter(pieces))
        assert works(address)


def test_a_body_that_was_refused_is_not_read_for_ever(tmp_path: Path) -> None:
    """As fast as any: the answer was given, what still comes is thrown away for a while only."""
    head = b"PUT /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n"
    with serving(tmp_path, "status") as address, socket.create_connection(address) as line:
        assert keep_sending(line, itertools.chain([head], itertools.repeat(b"x" * 8_000)))


def test_a_reply_that_nobody_reads_ends(tmp_path: Path) -> None:
    """A file of the Hub's, larger than all buffers on its way."""
    store = Store(tmp_path / "hub")
    token = store.add_user("alice")
    with serving(tmp_path, "hub", Patience(seconds=600.0)) as address:
        client = Hub(f"http://{address[0]}:{address[1]}", SecretStr(token), pause=0.0)
        client.create_private("alice/model")
        large = tmp_path / "large.bin"
        with large.open("wb") as file:
            file.truncate(40_000_000)
        client.commit("alice/model", {"large.bin": large}, "x", client.head("alice/model"))
    ask = f"GET /alice/model/resolve/main/large.bin HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
    with serving(tmp_path, "hub") as address, socket.create_connection(address) as line:
        line.sendall(f"{ask}Host: 127.0.0.1\r\n\r\n".encode())
        assert line.recv(12) == b"HTTP/1.1 200"
        time.sleep(4 * QUICK.seconds)  # it is closed in between, or sends on below
        came = 0
        with contextlib.suppress(ConnectionError):
            while more := line.recv(1 << 20):
                came += len(more)
        assert came < 30_000_000


def test_a_body_that_comes_takes_as_long_as_it_takes(tmp_path: Path) -> None:
    """Four times as long as a request may take, at more than the slowest rate."""
    piece, count = b"x" * 2_000, 100
    head = b"POST /api/repos/create HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    patience = Patience(seconds=0.5, slowest=1_000.0)
    with (
        serving(tmp_path, "hub", patience) as address,
        socket.create_connection(address) as line,
    ):
        line.sendall(head % (len(piece) * count))
        for _ in range(count):
            line.sendall(piece)
            time.sleep(0.02)
        line.settimeout(SLOW)
        assert line.recv(12).startswith(b"HTTP/1.1 4")


def test_whoever_waits_longest_makes_room(tmp_path: Path) -> None:
    patience = Patience(seconds=600.0, connections=6)
    with serving(tmp_path, "status", patience) as address, ExitStack() as stack:
        idle = []
        for _ in range(6):
            line = stack.enter_context(socket.create_connection(address))
            line.sendall(HEAD)
            idle.append(line)
            time.sleep(0.01)
        assert works(address)
        assert is_closed(idle[0])
        idle[-1].sendall(b"\r\n")
        idle[-1].settimeout(SLOW)
        assert idle[-1].recv(12).startswith(b"HTTP/1.1 ")
