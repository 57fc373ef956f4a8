"""Bytes between a child without a network and the RPC servers that settings name, no others.

The parent listens on a Unix socket for each server, in a folder that children see; a child listens
on a port of its own network for each, which is where llama.cpp connects to. So what a stranger's
file makes of a child reaches these servers and nothing else.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from bot.clients.rpc_servers import FIRST, REACHED, SOCKETS, parted, reached

PIECE = 1 << 20  # bytes that are passed on at once
WAITING = 8  # connections


class Relay:
    """The parent's side: a folder with a socket for each server, until it is closed."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._folder = TemporaryDirectory(prefix="apex-bot-rpc-")
        self.folder = Path(self._folder.name).resolve()
        self._servers = servers
        self._listening: list[socket.socket] = []
        for number, server in enumerate(servers):
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self.folder / str(number)))
            listening.listen(WAITING)
            self._listening.append(listening)
            _start(partial(_serve, listening, partial(_dial, server)))

    @property
    def environment(self) -> dict[str, str]:
        """For a child: servers on its own network, and where their sockets lie."""
        ports = range(FIRST, FIRST + len(self._servers))
        within = ",".join(f"127.0.0.1:{port}" for port in ports)
        return {REACHED: within, SOCKETS: str(self.folder)}

    def close(self) -> None:
        """Take no more connections."""
        for listening in self._listening:
            with suppress(OSError):  # who waits in accept() hears of this, and not of a close alone
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@cache
def relay_of(servers: tuple[str, ...]) -> Relay:
    """The relay to servers; one for all children, until this process ends."""
    relay = Relay(servers)
    atexit.register(relay.close)
    return relay


def listen_within() -> None:
    """In a child: stand in for each server on a port of the child's own network."""
    folder = os.environ.get(SOCKETS)
    if folder is None:
        return
    for number, server in enumerate(reached()):
        listening = socket.create_server(parted(server))
        path = str(Path(folder) / str(number))
        _start(partial(_serve, listening, partial(_open, path)))


def _dial(server: str) -> socket.socket:
    connection = socket.create_connection(parted(server))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _open(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def _serve(listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
    while True:
        try:
            near, _ = listening.accept()
        except OSError:  # it was closed
            return
        _start(partial(_join, near, connect))


def _join(near: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Pass bytes both ways until both ends are silent. Who cannot be reached hangs up at once."""
    if near.family == socket.AF_INET:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with near:
        try:
            far = connect()
        except OSError:
            return
        with far:
            back = _start(partial(_pass_on, far, near))
            _pass_on(near, far)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    piece = memoryview(bytearray(PIECE))
    with suppress(OSError):  # either end may be gone at any time: the other one is told below
        while count := source.recv_into(piece):
            target.sendall(piece[:count])
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
