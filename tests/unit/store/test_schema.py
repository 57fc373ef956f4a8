"""The ledger's tables through their versions: what was held stays, a failure changes nothing."""

from __future__ import annotations

import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.store.ledger import Ledger
from bot.store.schema import FINISHED_WORK, MIGRATIONS, VERSION
from tests.stopping import begin
from tests.unit.store.old_ledgers import all_read, expected, old_ledger

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


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_what_every_version_held_is_read_after_an_upgrade(tmp_path: Path, version: int) -> None:
    old_ledger(tmp_path / "l.sqlite", version)
    assert all_read(Ledger(tmp_path / "l.sqlite")) == expected(version)


OPENING = "import sys, pathlib, bot.store.ledger as l; l.Ledger(pathlib.Path(sys.argv[1]))"


@pytest.mark.road
def test_an_upgrade_that_is_killed_leaves_the_ledger_as_it_was(
    tmp_path: Path, stopper: Path
) -> None:
    """At every fifth of what it does to the disk; and the next one goes the whole way."""

    def upgrade(name: str, at: int, log: Path | None = None) -> tuple[Path, int]:
        path = tmp_path / name / "l.sqlite"
        path.parent.mkdir()
        old_ledger(path, 2)
        command = (sys.executable, "-c", OPENING, str(path))
        with begin(stopper, command, path.parent, at=at, log=log) as process:
            return path, process.wait()

    log = tmp_path / "steps"
    path, code = upgrade("whole", 0, log)
    assert (code, version_of(path)) == (0, VERSION)
    steps, found = len(log.read_text().splitlines()), set()
    for at in {1 + steps * part // 7 for part in range(7)} | {steps}:
        path, code = upgrade(str(at), at)
        assert code == -signal.SIGKILL
        found.add(version_of(path))
        assert all_read(Ledger(path)) == expected(2)
    assert found == {2, VERSION}  # all of it or nothing


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def tables(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.reading() as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        return [(row["name"], row["sql"]) for row in rows]
