"""The ledger's tables through their versions: what was held stays, a failure changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.store.ledger import Ledger
from bot.store.schema import FINISHED_WORK, MIGRATIONS, VERSION

INPUTS = {"source": "abc", "chunks": 3}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made.gguf"
    path.write_bytes(b"tensor data")
    return path


def test_a_ledger_of_the_first_version_opens_and_keeps_what_it_holds(
    tmp_path: Path, made: Path
) -> None:
    path = tmp_path / "l.sqlite"
    db = sqlite3.connect(path)
    db.executescript(FINISHED_WORK)
    db.execute("PRAGMA user_version=1")
    db.close()
    Ledger(path).record("job", "step", INPUTS, [made], 35.9)
    again = Ledger(path)
    assert again.finished("job", "step", INPUTS) is not None
    again.remember("name", "value", 1.0)
    assert again.remembered("name") == ("value", 1.0)


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.sqlite"
    db = sqlite3.connect(path)
    db.executescript(FINISHED_WORK)
    db.execute("PRAGMA user_version=1")
    db.close()
    broken = (FINISHED_WORK, "CREATE TABLE fine (x TEXT) STRICT;\nCREATE TABLE broken (;\n")
    with monkeypatch.context() as patched:
        patched.setattr("bot.store.ledger.MIGRATIONS", broken)
        with pytest.raises(SettingsError, match="cannot be used"):
            Ledger(path)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT name FROM sqlite_master WHERE name='fine'").fetchone() is None
    db.close()
    Ledger(path)


@pytest.mark.parametrize("version", range(VERSION))
def test_every_version_leads_to_the_same_tables(tmp_path: Path, version: int) -> None:
    path = tmp_path / "old.sqlite"
    db = sqlite3.connect(path)
    for statements in MIGRATIONS[:version]:
        db.executescript(statements)
    db.execute(f"PRAGMA user_version={version}")
    db.close()
    assert tables(Ledger(path)) == tables(Ledger(tmp_path / "new.sqlite"))


def tables(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.reading() as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        return [(row["name"], row["sql"]) for row in rows]
