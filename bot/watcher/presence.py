"""Which watchers of a ledger live: each holds a lock of its own as long as its process does.

A lease alone cannot tell a watcher that was killed from one that waits for its request budget.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from bot.disk.paths import slug


class Presence:
    """Watchers' locks in a folder, by holder. A holder without a file is not known to be dead."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[IO[str]] = []

    def begin(self, holder: str) -> None:
        """Be seen to live until this process ends or `end` is called."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._of(holder).open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held.append(file)

    def end(self) -> None:
        """Be seen no more."""
        for file in self._held:
            Path(file.name).unlink(missing_ok=True)
            file.close()
        self._held.clear()

    def is_dead(self, holder: str) -> bool:
        """Whether a holder once lived here and does no more."""
        try:
            with self._of(holder).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            return False
        return True

    def clear(self) -> None:
        """Remove what dead holders left."""
        for file in self._folder.glob("*"):
            if self.is_dead(file.name):
                file.unlink(missing_ok=True)

    def _of(self, holder: str) -> Path:
        return self._folder / slug(holder)
