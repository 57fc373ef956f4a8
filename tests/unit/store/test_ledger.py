import os
import sqlite3
from pathlib import Path

import pytest

from bot.errors import CapacityError, SettingsError
from bot.records.built import Built
from bot.store.ledger import Finished, Ledger

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


def test_a_backup_is_a_ledger_with_all_that_was_there(tmp_path: Path, made: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.record("job", "step", INPUTS, [made], 35.9)
    copy = tmp_path / "copies" / "copy.sqlite"
    ledger.backup(copy)
    assert Ledger(copy, root=tmp_path).finished("job", "step", INPUTS) is not None
    with pytest.raises(SettingsError, match="exists"):
        ledger.backup(copy)


def test_a_backup_is_of_one_instant_while_others_write(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.remember("before", "x", 1.0)
    with ledger.writing() as db:  # begun, and not over when the copy is made
        db.execute("INSERT INTO remembered VALUES ('half', 'x', 1.0)")
        ledger.backup(tmp_path / "copy.sqlite")
    copy = tmp_path / "copy.sqlite"
    assert not list(tmp_path.glob("copy.sqlite?*"))  # one file, without a log
    restored = Ledger(copy)
    assert (restored.remembered("before"), restored.remembered("half")) == (("x", 1.0), None)
    assert ledger.remembered("half") == ("x", 1.0)


def test_a_damaged_ledger_gives_no_backup(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    with ledger.writing() as db:
        rows = ((f"name {number}", "x" * 500, 1.0) for number in range(200))
        db.executemany("INSERT INTO remembered VALUES (?, ?, ?)", rows)
    size = ledger.path.stat().st_size
    with ledger.path.open("rb+") as file:
        file.seek(size - 3 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(SettingsError, match="damaged"):
        ledger.backup(tmp_path / "copy.sqlite")
    assert not list(tmp_path.glob("copy*"))


def test_the_latest_values_of_a_job_come_first(ledger: Ledger) -> None:
    for number in range(5):
        ledger.record("paces", f"{4 - number}", {}, [], number)
        ledger.record("other", f"{number}", {}, [], None)
    assert ledger.values("paces", 3) == (4, 3, 2)
    assert {work.job for work in ledger.work("paces")} == {"paces"}


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")

    def fail() -> None:
        with ledger.writing() as db:
            db.execute("INSERT INTO remembered VALUES ('a', 'b', 1.0)")
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        fail()
    assert ledger.remembered("a") is None


def test_finished_work_is_known_in_another_working_folder(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "jobs").mkdir(parents=True)
        (tmp_path / name / "jobs" / "file").write_text("the same")
    inside = Ledger(tmp_path / "here" / "orders" / "a.sqlite", root=tmp_path / "here")
    inside.record("job", "step", INPUTS, [tmp_path / "here" / "jobs" / "file"], [1.5, None])
    (work,) = inside.work()
    assert [file.path for file in work.files] == ["jobs/file"]
    other = Ledger(tmp_path / "there" / "l.sqlite")
    other.take([work])
    found = other.finished("job", "step", INPUTS)
    assert found is not None
    assert (found.files[0].path, found.value) == (
        str(tmp_path / "there" / "jobs" / "file"), [1.5, None]
    )  # fmt: skip
    (tmp_path / "there" / "jobs" / "file").write_text("another!")
    assert other.finished("job", "step", INPUTS) is None


def test_a_ledger_takes_the_finished_work_of_another(tmp_path: Path, made: Path) -> None:
    ours = Ledger(tmp_path / "ours.sqlite", shared_folder=True)
    theirs = Ledger(tmp_path / "theirs.sqlite", shared_folder=True)
    theirs.record("job", "quantize", INPUTS, [made], None)
    ours.record("job", "evaluate", INPUTS, [made], None)
    ours.take(theirs.work())
    assert ours.finished("job", "quantize", INPUTS) is not None
    assert ours.finished("job", "evaluate", INPUTS) is not None
    assert theirs.finished("job", "evaluate", INPUTS) is None
    assert not list(tmp_path.glob("*-wal"))  # there is no log beside a file on a network


def _row(ledger: Ledger) -> tuple[str, str]:
    with ledger.reading() as db:
        row = db.execute("SELECT files, value FROM work").fetchone()
    return row["files"], row["value"]


def test_a_file_whose_time_changed_is_hashed_once_more(ledger: Ledger, made: Path) -> None:
    ledger.record("job", "quantize", INPUTS, [made], None)
    os.utime(made, ns=(5, 5))
    assert ledger.finished("job", "quantize", INPUTS) is not None
    assert '"changed": 5' in _row(ledger)[0]  # the next look compares times alone
    made.write_bytes(b"TENSOR DATA")
    os.utime(made, ns=(5, 5))
    assert ledger.finished("job", "quantize", INPUTS) is not None


def test_a_step_killed_while_its_files_are_hashed_is_found_again(
    ledger: Ledger, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_path: Path) -> str:
        raise KeyboardInterrupt

    def record() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("bot.store.ledger.sha256", killed)
            with pytest.raises(KeyboardInterrupt):
                ledger.record("job", "convert", INPUTS, [made], 1.5)

    record()
    assert ledger.work() == ()  # nothing that others could check
    done = ledger.finished("job", "convert", INPUTS)
    assert done is not None
    assert (done.value, len(done.files[0].sha256)) == (1.5, 64)
    assert ledger.work()[0].files[0].sha256 == done.files[0].sha256
    record()
    os.utime(made, ns=(5, 5))  # somebody else's by now
    assert ledger.finished("job", "convert", INPUTS) is None
    assert ledger.finished("job", "convert", INPUTS, files_too=False) is None


def test_files_that_are_hashed_already_are_not_read(
    ledger: Ledger, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Built(path=str(made), bytes=made.stat().st_size, sha256="a" * 64)
    with monkeypatch.context() as patched:
        patched.setattr("bot.store.ledger.sha256", None)
        ledger.made("job", [("quantize I-Mini", INPUTS, [built]), ("quantize I-Nano", {}, [built])])
        done = ledger.finished("job", "quantize I-Mini", INPUTS)
        assert done is not None
        assert done.files == (built,)
        assert ledger.finished("job", "quantize I-Nano", {}) is not None


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("files", "[{"), ("files", "[[]]"), ("files", '{"a": 1}'), ("files", '[{"path": "a"}]'),
        ("files", '[{"path": 1, "bytes": "b", "changed": null, "sha256": 2}]'), ("value", "{"),
        ("inputs", ""),
    ],
)  # fmt: skip
def test_a_damaged_row_is_none(ledger: Ledger, made: Path, column: str, text: str) -> None:
    ledger.record("job", "quantize", INPUTS, [made], None)
    with ledger.writing() as db:
        db.execute(f"UPDATE work SET {column}=?", (text,))  # noqa: S608 - a name of ours
    assert ledger.finished("job", "quantize", INPUTS) is None
    assert len(ledger.work()) == (column == "inputs")
    ledger.record("job", "quantize", INPUTS, [made], None)
    assert ledger.finished("job", "quantize", INPUTS) is not None


def test_a_disk_that_fails_below_sqlite_is_the_machines(ledger: Ledger) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with pytest.raises(CapacityError, match="free some"), ledger.reading():
        raise error


def test_a_folder_that_cannot_be_made_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SettingsError, match="mend workdir"):
        Ledger(tmp_path / "file" / "work" / "l.sqlite")


@pytest.mark.parametrize("value", [None, 7, "a", [], {}, {"at": "x"}, {"at": [1, None]}])
def test_a_value_of_another_shape_is_none(ledger: Ledger, value: object) -> None:
    ledger.record("job", "look", INPUTS, [], value)
    assert ledger.finished("job", "look", INPUTS, shape=dict[str, list[int]]) == (
        Finished(files=(), value={}) if value == {} else None
    )
    assert ledger.finished("job", "look", INPUTS) is not None
