"""The watcher's ledger between runners that keep nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bot.disk.folders import Folders
from bot.errors import BusyError, SettingsError
from bot.store.ledger import Ledger
from bot.watcher.remembering import recall_ledger, remember_ledger, shelf


def test_one_runner_goes_on_where_another_stopped(tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    where = shelf(str(remote))
    one, other = Folders(tmp_path / "one"), Folders(tmp_path / "other")
    assert recall_ledger(one, where) is False
    Ledger(one.ledger).remember("mark", "2026-11-23", 1.0)
    remember_ledger(one, where)

    assert recall_ledger(other, where) is True
    assert Ledger(other.ledger).remembered("mark") == ("2026-11-23", 1.0)
    Ledger(other.ledger).remember("mark", "2026-11-24", 2.0)
    remember_ledger(other, where)
    with pytest.raises(BusyError):
        remember_ledger(one, where)  # it has not seen what the other did

    Ledger(one.ledger).remember("mark", "lost", 3.0)
    assert recall_ledger(one, where) is True
    assert Ledger(one.ledger).remembered("mark") == ("2026-11-24", 2.0)
    remember_ledger(one, where)


def test_outside_a_workflow_a_remote_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    with pytest.raises(SettingsError, match="--remote"):
        shelf(None)
