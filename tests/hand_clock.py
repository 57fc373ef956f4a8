"""A clock that goes only when it is told to, or when somebody sleeps on it."""

from __future__ import annotations


class HandClock:
    """Time as a number; sleeping is fast."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self.time = start
        self.slept: list[float] = []

    def now(self) -> float:
        """POSIX seconds."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        self.time += seconds
