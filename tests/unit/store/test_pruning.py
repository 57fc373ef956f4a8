"""What goes from an old ledger and what stays; nothing that keeps a release from a second build."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot.errors import BusyError, CapacityError
from bot.store import pruning
from bot.store.ledger import Ledger
from bot.store.pruning import prune
from bot.store.queue import Queue
from bot.store.sightings import Decided, Sightings
from tests.stopping import begin

NOW = 1_790_000_000.0
DECIDED = Decided(
    repo="lab/Model", commit="c" * 40, kind="build", outcome="eligible", reason="8 experts",
    until=None, look_at=None, weights="w" * 64, weights_at=NOW,
    facts={"listed": {"created_at": "2026-01-01T00:00:00Z"}},
)  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "work" / "ledger.sqlite")


def decided(repo: str, kind: str, outcome: str, **more: Any) -> Decided:
    return replace(
        DECIDED, repo=repo, kind=kind, outcome=outcome, commit=repo[-1] * 40, weights=None, **more
    )


def went(ledger: Ledger, before: float, **how: bool) -> Mapping[str, int]:
    gone = asdict(prune(ledger, before, **how))
    return {name: count for name, count in gone.items() if count and not name.startswith("bytes")}


def test_decisions_that_were_replaced_or_skipped_go_others_stay(ledger: Ledger) -> None:
    sightings = Sightings(ledger)
    sightings.record([decided("lab/Dense", "skip", "not_moe")], NOW)
    sightings.record([decided("lab/Empty", "wait", "no_weights_yet")], NOW)
    sightings.record([decided("lab/Empty", "wait", "settling")], NOW + 1)
    sightings.record([decided("lab/Young", "skip", "not_moe")], NOW + 9)
    assert went(ledger, NOW + 5, dry_run=True) == {"decisions": 2}
    assert len(list(sightings.since(0))) == 4  # of a dry run all are there
    assert went(ledger, NOW + 5) == {"decisions": 2}
    assert [(past.repo, past.outcome) for past in sightings.since(0)] == [
        ("lab/Empty", "settling"), ("lab/Young", "not_moe"),
    ]  # fmt: skip
    assert sightings.is_known("lab/Dense")  # listed again it is not news
    assert went(ledger, NOW + 5) == {}


def test_a_release_that_vanished_is_forgotten_once_it_is_given_up(ledger: Ledger) -> None:
    sightings = Sightings(ledger)
    for repo, kind in (("lab/Over", "skip"), ("lab/Hoped", "wait")):
        sightings.record([decided(repo, kind, "gone")], NOW)
    assert went(ledger, NOW + 5) == {"decisions": 1, "releases": 1}
    assert [sightings.is_known(repo) for repo in ("lab/Over", "lab/Hoped")] == [False, True]


def test_what_was_built_is_never_built_again_whatever_is_forgotten(ledger: Ledger) -> None:
    queue, sightings = Queue(ledger), Sightings(ledger)
    assert queue.propose(DECIDED, (), NOW, needs_approval=False) is not None
    task = queue.claim(NOW, at_once=1, per_hour=9)
    assert task is not None
    queue.published(task, "/log", NOW + 1, page="https://hub/apex/Model")
    sightings.record([decided("lab/Model", "skip", "gone")], NOW + 2)
    queue.ignore("lab/Bad", "a person said so", NOW)
    before = queue.memory("lab/Copy", "x" * 40, "w" * 64)
    prune(ledger, NOW + 99)
    assert queue.memory("lab/Copy", "x" * 40, "w" * 64) == before  # its weights under another name
    assert queue.memory("lab/Bad", "", None).ignored == "a person said so"
    assert queue.propose(DECIDED, (), NOW + 100, needs_approval=False) is None
    assert queue.claim(NOW + 200, at_once=9, per_hour=9) is None
    assert sightings.is_known("lab/Model")  # though it is gone: it has a task


def test_steps_go_with_the_files_of_their_job(ledger: Ledger, tmp_path: Path) -> None:
    for job in ("here", "cleaned"):
        file = tmp_path / "work" / "jobs" / job / "file.gguf"
        file.parent.mkdir(parents=True)
        file.write_text("tensors")
        ledger.record(job, "quantize", {}, [file], None)
        ledger.record(job, "check", {}, [], None)
    ledger.record("measures", "perplexity", {}, [], 35.9)
    ledger.record("young", "check", {}, [], None)
    shutil.rmtree(tmp_path / "work" / "jobs" / "cleaned")
    _age(ledger, "here", "cleaned", "measures")
    assert went(ledger, NOW, dry_run=True) == {"work": 3}
    assert went(ledger, NOW) == {"work": 3}
    assert {(work.job, work.step) for work in ledger.work()} == {
        ("here", "quantize"), ("here", "check"), ("young", "check"),
    }  # fmt: skip


def test_a_damaged_row_keeps_nothing(ledger: Ledger) -> None:
    ledger.record("job", "check", {}, [], None)
    _age(ledger, "job")
    with ledger.writing() as db:
        db.execute("UPDATE work SET files = '[{]'")
    assert went(ledger, NOW) == {"work": 1}


def _age(ledger: Ledger, *jobs: str) -> None:
    with ledger.writing() as db:
        marks = [(job,) for job in jobs]
        db.executemany("UPDATE work SET finished = '2001-01-01T00:00:00Z' WHERE job = ?", marks)


def test_more_than_a_part_goes_in_several(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "PART", 3)
    queue = Queue(ledger)
    for number in range(7):
        queue.say(NOW + number, "caught_up", f"event {number}")
    assert went(ledger, NOW + 6) == {"events": 6}
    assert [event.text for event in queue.events(9)] == ["event 6"]


def test_room_is_given_back_where_it_is_asked_for(ledger: Ledger) -> None:
    _large(ledger)
    kept = prune(ledger, NOW)
    assert kept.bytes_after >= kept.bytes_before > 1_000_000
    given = prune(ledger, NOW, compact=True)
    assert given.bytes_after < 300_000
    assert prune(ledger, NOW, compact=True).bytes_before == given.bytes_after  # nothing to give
    assert ledger.remembered("paused") == ("x", NOW)
    assert not Path(f"{ledger.path}-wal").exists()


def _large(ledger: Ledger) -> None:
    ledger.remember("paused", "x", NOW)
    with ledger.writing() as db:
        rows = ((NOW - 1, "caught_up", "x" * 1000) for _ in range(2000))
        db.executemany("INSERT INTO events (at, kind, text) VALUES (?, ?, ?)", rows)


PRUNING = """
import sys; from pathlib import Path; from bot.store.ledger import Ledger
from bot.store.pruning import prune
prune(Ledger(Path(sys.argv[1])), float(sys.argv[2]), compact=True)
"""


@pytest.mark.road
def test_what_is_killed_while_it_forgets_leaves_the_ledger_whole(
    tmp_path: Path, stopper: Path
) -> None:
    folder, log = tmp_path / "work", tmp_path / "steps"

    def killed(at: int) -> int:
        shutil.rmtree(folder, ignore_errors=True)
        _large(Ledger(folder / "ledger.sqlite"))
        command = (sys.executable, "-c", PRUNING, str(folder / "ledger.sqlite"), str(NOW))
        told = log if at == 0 else None
        with begin(stopper, command, folder, at=at, log=told) as process:
            return process.wait()

    assert killed(0) == 0
    steps = len(log.read_text().splitlines())
    for at in (steps // 5, steps // 2, steps * 4 // 5, steps):
        assert killed(at) == -signal.SIGKILL
        ledger = Ledger(folder / "ledger.sqlite")
        assert ledger.remembered("paused") == ("x", NOW)
        with ledger.reading() as db:
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert prune(ledger, NOW, compact=True).bytes_after < 300_000  # and goes on


def test_no_room_is_said_before_any_is_taken(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=1_000_000, used=999_900, free=100)
    _large(ledger)
    prune(ledger, NOW)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(CapacityError, match="are free; free some"):
        ledger.compact()
    with pytest.raises(CapacityError, match="are free; free some"):
        ledger.backup(ledger.path.parent / "copy.sqlite")
    assert [path.name for path in ledger.path.parent.iterdir()] == ["ledger.sqlite"]


def test_who_writes_is_waited_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        "bot.store.ledger.sqlite3.connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.01})
    )
    _large(ledger)
    prune(ledger, NOW)
    with ledger.writing(), pytest.raises(BusyError, match="held by another"):
        ledger.compact()
