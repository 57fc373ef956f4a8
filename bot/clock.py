"""The time, and waiting for it: one place, so that a month can be rehearsed in a minute."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the watcher knows of time."""

    def now(self) -> float:
        """POSIX seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """This machine's clock."""

    def now(self) -> float:
        """POSIX seconds."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        time.sleep(seconds)


def instant(text: str | None) -> float | None:
    """ISO 8601 in UTC as POSIX seconds; None for None."""
    return datetime.fromisoformat(text).timestamp() if text else None


def moment(seconds: float) -> str:
    """POSIX seconds for people: 2026-11-02 10:15 UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(seconds: float | None) -> str | None:
    """POSIX seconds for machines: 2026-11-02T10:15:00Z."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """A length of time for people, in its two largest units: `3 d 4 h`, `12 min`, `40 s`."""
    rest = max(int(seconds), 0)
    if rest < 60:
        return f"{rest} s"
    words = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2])
