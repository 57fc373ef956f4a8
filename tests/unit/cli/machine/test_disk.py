"""`bot clean` as it is asked; what goes and what stays: tests/unit/verbs/test_cleaning.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.cli.running import bot


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a text of no build, two days old."""
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))
    file = tmp_path / "work" / "texts" / "lab--texts" / "0" / "a.txt"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    return file


@pytest.mark.usefixtures("text")
@pytest.mark.parametrize("age", ["30", "d", "3y", "-1d", "999999d"])
def test_an_age_has_a_number_and_a_unit(age: str) -> None:
    assert "give hours, days or weeks" in bot("clean", f"--older={age}", code=2)


def test_what_would_go_is_said_and_stays(text: Path) -> None:
    places = json.loads(bot("clean", "--dry-run", "--older", "4w", "--json"))["places"]
    assert [(place["path"], place["goes"]) for place in places] == [("texts/lab--texts/0", True)]
    assert "would free" in bot("clean", "--dry-run")
    assert text.is_file()
    assert "removed" in bot("clean", "--older", "4w")
    assert not text.exists()
    assert "nothing to free" in bot("clean")
