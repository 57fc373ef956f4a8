"""The hash of a file that is still being written, kept up with what is whole of it."""

from __future__ import annotations

import hashlib
import os

from bot.errors import BuildError

BLOCK = 1 << 18  # bytes at a time: they are hashed out of the processor's own cache


class GrowingFile:
    """The sha256 of a file that grows from its beginning; one thread at a time works at it.

    `head` is how the file will begin, whatever stands there until it is finished.
    """

    def __init__(self, file: int, head: bytes) -> None:
        self._file = file
        self._hasher = hashlib.sha256(head)
        self.hashed = len(head)  # bytes

    @property
    def sha256(self) -> str:
        """Hash of all that was followed, in hex."""
        return self._hasher.hexdigest()

    def follow(self, end: int) -> None:
        """Take in the bytes before `end`, which are whole. Raises BuildError where they lack."""
        while self.hashed < end:
            block = os.pread(self._file, min(BLOCK, end - self.hashed), self.hashed)
            if not block:
                raise BuildError(
                    f"a file that was written to byte {end:,} ends at byte {self.hashed:,}: "
                    "something else cut it; run again"
                )
            self._hasher.update(block)
            self.hashed += len(block)
