"""Serving an application over HTTP until a signal, or for the length of a block."""

from __future__ import annotations

import ipaddress
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from bot import interrupts
from bot.errors import SettingsError
from bot.serving.patience import Patience, protocol

STOP_SECONDS = 5
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)


class Server(uvicorn.Server):
    """uvicorn that says when it listens."""

    def __init__(
        self, app: Starlette, listening: Callable[[], None], patience: Patience | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                log_level="warning",
                lifespan="off",
                ws="none",
                http=protocol(patience or Patience()),
                loop="asyncio",
                server_header=False,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets=sockets)
        self._listening()


def hosts(host: str, names: Sequence[str] = ()) -> list[str]:
    """The names that an application listening on `host` may be asked by.

    On a loopback address, a page that was rebound to it by DNS must not read what is here; `names`
    are those of a web server in front of it, which passes them on. Raises SettingsError for what
    is no name.
    """
    for name in names:
        if not NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is no name of a web server; correct --name")
    if names or is_loopback(host):
        return ["127.0.0.1", "localhost", host, *names]
    return ["*"]


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises SettingsError when the address cannot be had.

    Its connections send at once: asyncio sees to that for sockets that name TCP only, and this one
    does not, so a reply's body would wait 40 ms for the client to confirm the head.
    """
    try:
        bound = socket.create_server((host, port), backlog=128)
    except (OSError, OverflowError) as error:
        raise SettingsError(f"cannot listen on {host}:{port} ({error}); choose another") from error
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def url_of(bound: socket.socket) -> str:
    """The address of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://{host}:{port}"


@contextmanager
def signals_return() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more; here that is a normal end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts.leave_to_server()
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in old:
        signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
