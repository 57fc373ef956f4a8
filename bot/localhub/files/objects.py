"""Contents of files, each stored once under its sha256: objects/ab/<sha256>.

What arrives is written to incoming/ and hashed on the way; only whole and verified contents are
renamed into place, so an interrupted transfer leaves nothing that could be served.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK = 1 << 20  # bytes read or written at a time
SHA256 = re.compile(r"[0-9a-f]{64}")


class Incoming:
    """A content while it arrives: an open file, its size so far and its running sha256."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file = path.open("xb")
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hash of what was written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append to the content."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> None:
        """Everything is on disk after this; nothing can be written any more."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Forget the content unless it was renamed into place."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Objects:
    """The content-addressed folder of one local Hub."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._incoming = folder / "incoming"
        for path in (self._objects, self._incoming):
            path.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a content lies, or would lie."""
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"not a sha256: {sha256!r}")
        return self._objects / sha256[:2] / sha256

    def read(self, sha256: str, limit: int) -> bytes:
        """The first `limit` bytes of a content."""
        with self.path(sha256).open("rb") as file:
            return file.read(limit)

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """A new content; it is gone at the end of the block unless `place` took it."""
        content = Incoming(self._incoming / uuid.uuid4().hex)
        try:
            yield content
        finally:
            content.discard()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder that is removed with all it holds at the end of the block."""
        folder = self._incoming / uuid.uuid4().hex
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def parts(self, ticket: str) -> Path:
        """The folder for the parts of one multipart upload."""
        folder = self._incoming / f"parts-{hashlib.sha256(ticket.encode()).hexdigest()}"
        folder.mkdir(exist_ok=True)
        return folder

    def place(self, partial: Path, sha256: str) -> None:
        """Rename a finished content to its address; storing the same content again is fine."""
        target = self.path(sha256)
        target.parent.mkdir(exist_ok=True)
        partial.replace(target)

    def remove(self, sha256: str) -> None:
        """Delete a content that no repository holds."""
        self.path(sha256).unlink(missing_ok=True)

    def sweep(self, older_than: float) -> None:
        """Remove what interrupted transfers left before `older_than` (seconds since the epoch)."""
        for path in self._incoming.iterdir():
            if path.stat().st_mtime >= older_than:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
