"""`bot init` into a checkout; through a pull request: tests/e2e/test_init.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.actions.install import RECORD
from tests.unit.cli.running import bot


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "builds"
    (folder / ".git").mkdir(parents=True)
    return folder


def test_a_checkout_is_filled_once_and_it_is_said_with_what(checkout: Path) -> None:
    would = bot("init", str(checkout), "--dry-run").splitlines()
    assert would[0].endswith("is new")
    assert would[-1].startswith("nothing was written: ")
    assert not (checkout / RECORD).exists()
    done = json.loads(bot("init", str(checkout), "--json"))
    assert (done["where"], RECORD in done["files"]) == (str(checkout), True)
    assert bot("init", str(checkout), "--upgrade") == "nothing to do\n"
    again = bot("init", str(checkout)).splitlines()
    assert again[-1] == "nothing to do"
