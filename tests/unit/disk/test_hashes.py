"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bot.disk.hashes import git_blob_id, sha256


def test_sha256_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate((4 << 20) + 1)
    assert sha256(path) == hashlib.sha256(bytes((4 << 20) + 1)).hexdigest()


def test_git_blob_id_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    assert git_blob_id(path) == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
