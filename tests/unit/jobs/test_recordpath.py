"""Paths that another machine wrote, and where they lead here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SourceError
from bot.jobs.recordpath import RecordPath


def test_a_path_of_another_machine_stays_in_its_place(tmp_path: Path) -> None:
    inside, outside = tmp_path / "work", tmp_path / "secret"
    (inside / "sources/a").mkdir(parents=True)
    outside.mkdir()
    (inside / "sources/a/link").symlink_to(outside)
    (inside / "sources/a/file").symlink_to(outside / "key")
    for text in ("sources/a/link/key", "sources/a/file", "jobs/a/x", "sources/ab", "sources/a"):
        with pytest.raises(SourceError, match="not where this release's files lie"):
            RecordPath(text).below(inside, "sources/a")
    assert RecordPath("sources/a/model.gguf").below(inside, "sources/a").name == "model.gguf"
    for text in ("", "..", "a/../b", "/a", "a\\b", "a/.", "a//b", "a\x1b[2J", "a" * 401, ".ssh/x"):
        with pytest.raises(ValueError, match="no path of a working folder"):
            RecordPath(text)
