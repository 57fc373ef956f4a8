"""Messages of a child to its parent while it works: a line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


class Voice:
    """A work's way to whoever waits for it: how far it is, and what it has found so far."""

    def __init__(self, say: Callable[[bytes], None]) -> None:
        self._say = say

    def progress(self, done: int, total: int) -> None:
        """How far the work is: `done` of `total`, in any unit."""
        self.send({"progress": [int(done), int(total)]})

    def tell(self, part: Any) -> None:
        """A part of what was asked for: JSON that the parent's `hear` understands."""
        self.send({"tell": part})

    def send(self, message: dict[str, Any]) -> None:
        """One message, one line."""
        self._say(json.dumps(message, allow_nan=False).encode() + b"\n")
