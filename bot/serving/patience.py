"""Connections that come to an end: requests that trickle, replies that nobody reads, and too many.

uvicorn waits for the rest of a request for ever. Here a request has to be whole after a while, or
to come at a rate; a connection whose reply is not taken for as long is closed, and where there are
too many the one that waited longest for its request goes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server waits, and for how many.

    `seconds` for a whole request, or for a client to take more of a reply; a body that comes at
    `slowest` bytes a second or faster takes as long as it takes.
    """

    seconds: float = 30.0
    slowest: float = 1_000.0
    connections: int = 128


def protocol(patience: Patience) -> type[H11Protocol]:
    """uvicorn's protocol with an end to its waiting."""

    class Patient(_Patient):
        allowed = patience

    return Patient


class _Patient(H11Protocol):
    allowed = Patience()

    def connection_made(self, transport: Any) -> None:
        """A client came; where there are too many, one that says nothing makes room."""
        self._since, self._came = time.monotonic(), 0
        self._unread: float | None = None
        if len(self.connections) >= self.allowed.connections:
            idle = [
                client
                for client in self.connections
                if isinstance(client, _Patient) and client.waits
            ]
            if not idle:
                transport.abort()
                return
            min(idle, key=lambda client: client._since).transport.abort()
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client went, or was sent away before it was one."""
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self._came += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """A reply is sent: from here on the next request is waited for."""
        self._since, self._came = time.monotonic(), 0
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client takes nothing at the moment."""
        self._unread = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client took most of what was sent."""
        self._unread = None
        super().resume_writing()

    @property
    def waits(self) -> bool:
        """Whether the client is to send: its request is incomplete, and reading is not paused."""
        unfinished = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        return unfinished and not self.flow.read_paused

    def _watch(self) -> None:
        """Close what took too long; look again after a while."""
        if self.transport.is_closing():
            # what is to be sent may be taken by nobody: a closing transport waits for ever
            asyncio.get_running_loop().call_later(self.allowed.seconds, self.transport.abort)
            return
        now = time.monotonic()
        if self._is_late(now):
            self.transport.abort()
            return
        asyncio.get_running_loop().call_later(self.allowed.seconds / 4, self._watch)

    def _is_late(self, now: float) -> bool:
        if self._unread is not None and now - self._unread > self.allowed.seconds:
            return True
        answered = self.conn.our_state is h11.DONE  # what still comes is thrown away
        allowance = 0.0 if answered else self._came / self.allowed.slowest
        return self.waits and now - self._since > self.allowed.seconds + allowance
