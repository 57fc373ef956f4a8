"""Hashes of files: sha256, and git's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK = 4 << 20


def git_blob_id(path: Path) -> str:
    """sha1 that git gives a small file's content (`git hash-object`)."""
    return blob_id(path.read_bytes())


def blob_id(content: bytes) -> str:
    """sha1 that git gives a blob with this content."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


def sha256(path: Path) -> str:
    """Hash of a file of any size, read in blocks."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest()
