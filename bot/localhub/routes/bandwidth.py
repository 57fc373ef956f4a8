"""A network that is slower than this machine: bytes a second that all uploads share."""

from __future__ import annotations

import asyncio
import time


class Bandwidth:
    """Lets uploads through at a rate; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate  # bytes a second
        self._free = 0.0  # when the line is free again, seconds of `monotonic`

    def delay(self, size: int, now: float) -> float:
        """Seconds that `size` more bytes take, behind all that are on the line."""
        if self.rate is None:
            return 0.0
        self._free = max(now, self._free) + size / self.rate
        return self._free - now

    async def take(self, size: int) -> None:
        """Return when `size` bytes have come through."""
        if (wait := self.delay(size, time.monotonic())) > 0:
            await asyncio.sleep(wait)
