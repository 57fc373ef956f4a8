"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bot.disk.hashes import sha256


def test_sha256_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate((4 << 20) + 1)
    assert sha256(path) == hashlib.sha256(bytes((4 << 20) + 1)).hexdigest()
