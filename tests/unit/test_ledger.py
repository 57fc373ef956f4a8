import os
import sqlite3
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.ledger import Ledger

INPUTS = {"source": "abc", "chunks": 3}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made.gguf"
    path.write_bytes(b"tensor data")
    return path


def test_a_recorded_step_is_finished(ledger: Ledger, made: Path) -> None:
    ledger.record("job", "quantize", INPUTS, [made], {"seconds": 1.5})
    done = ledger.finished("job", "quantize", INPUTS)
    assert done is not None
    assert done.value == {"seconds": 1.5}
    assert [(f.path, f.bytes) for f in done.files] == [(str(made), 11)]


def test_other_inputs_another_step_or_another_job_are_not(ledger: Ledger, made: Path) -> None:
    ledger.record("job", "quantize", INPUTS, [made], None)
    assert ledger.finished("job", "quantize", {**INPUTS, "chunks": 4}) is None
    assert ledger.finished("job", "evaluate", INPUTS) is None
    assert ledger.finished("other", "quantize", INPUTS) is None


def test_a_file_that_changed_is_not_finished(ledger: Ledger, made: Path) -> None:
    ledger.record("job", "quantize", INPUTS, [made], None)
    made.write_bytes(b"TENSOR DATA")
    assert ledger.finished("job", "quantize", INPUTS) is None
    made.write_bytes(b"tensor data")  # the same again, at another time
    assert ledger.finished("job", "quantize", INPUTS) is not None


def test_a_file_of_another_size_is_not_even_hashed(ledger: Ledger, made: Path) -> None:
    ledger.record("job", "quantize", INPUTS, [made], None)
    before = made.stat().st_mtime_ns
    made.write_bytes(b"tensor")
    os.utime(made, ns=(before, before))
    assert ledger.finished("job", "quantize", INPUTS) is None


def test_a_missing_file_is_not_finished_but_its_value_is_known(ledger: Ledger, made: Path) -> None:
    ledger.record("job", "reference", INPUTS, [made], 35.9)
    made.unlink()
    assert ledger.finished("job", "reference", INPUTS) is None
    known = ledger.finished("job", "reference", INPUTS, files_too=False)
    assert known is not None
    assert known.value == 35.9


def test_records_survive_a_restart(tmp_path: Path, made: Path) -> None:
    Ledger(tmp_path / "l.sqlite").record("job", "step", INPUTS, [made], None)
    assert Ledger(tmp_path / "l.sqlite").finished("job", "step", INPUTS) is not None


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    Ledger(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(SettingsError, match="newer apex-bot"):
        Ledger(path)


def test_a_damaged_ledger_is_said(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 40)
    with pytest.raises(SettingsError, match="damaged"):
        Ledger(path)
