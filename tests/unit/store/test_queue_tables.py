"""Rows of the queue: read strictly, changed only from the state that they were seen in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import (
    LARGEST,
    OPEN,
    QueuedRelease,
    change_state,
    is_original,
    reset_attempts,
    task_by_id,
    twin_of,
    write_event,
)
from bot.store.sightings import Decided

NOW = 1_790_000_000.0
DECIDED = Decided(
    repo="lab/M", commit="c" * 40, kind="build", outcome="eligible", reason="x", until=None,
    look_at=None, weights="w", weights_at=1.0, facts={"listed": {"created_at": "2026-01-01"}},
)  # fmt: skip


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(Ledger(tmp_path / "l.sqlite"))


@pytest.fixture
def task(queue: Queue) -> QueuedRelease:
    proposed = queue.propose(DECIDED, ["Mini"], NOW, needs_approval=False)
    assert proposed is not None
    return proposed


def test_a_state_changes_once_and_keeps_what_is_not_said(queue: Queue, task: QueuedRelease) -> None:
    with queue.ledger.writing() as db:
        assert change_state(db, task.id, "queued", "running", NOW + 1, link="http://run")
        assert not change_state(db, task.id, "queued", "failed", NOW + 2, error="no")
        running = task_by_id(db, task.id)
    assert (running.state, running.link, running.error) == ("running", "http://run", None)
    assert (running.due, running.changed) == (task.due, NOW + 1)


def test_attempts_are_counted_anew(queue: Queue, task: QueuedRelease) -> None:
    claimed = queue.claim(NOW, at_once=1, per_hour=1)
    assert claimed is not None
    queue.failed(claimed, "no", None, NOW, attempts=9, final=False)
    with queue.ledger.writing() as db:
        reset_attempts(db, task.id, NOW + 5)
        again = task_by_id(db, task.id)
    assert (again.attempts, again.faults, again.error, again.created) == (0, 0, None, NOW + 5)


def test_a_twin_has_the_commit_or_the_weights_under_another_name(
    queue: Queue, task: QueuedRelease
) -> None:
    with queue.ledger.reading() as db:
        for commit, weights in ((task.commit, None), ("d" * 40, "w")):
            twin = twin_of(db, "lab/Other", commit, weights)
            assert twin is not None
            assert twin["id"] == task.id
        assert twin_of(db, "lab/M", task.commit, "w") is None
        assert twin_of(db, "lab/Other", "d" * 40, "other") is None


def test_the_older_is_the_original_unless_the_other_was_begun(
    queue: Queue, task: QueuedRelease
) -> None:
    assert is_original("2025-01-01", task, "2026-01-01")
    assert not is_original("2026-01-02", task, "2026-01-01")
    assert not is_original(None, task, "2026-01-01")
    claimed = queue.claim(NOW, at_once=1, per_hour=1)
    assert claimed is not None
    assert not is_original("2025-01-01", claimed, "2026-01-01")


def test_words_of_an_event_hide_nothing(queue: Queue) -> None:
    with queue.ledger.writing() as db:
        write_event(db, NOW, "failed", "lab/M", "no\x1b[2J\nroom")
    [event] = queue.events(9)
    assert event.text.isprintable()


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("tiers", ["", "{", "7", "{}", '"Mini"', "[1]", "[" * 50_000])
def test_a_task_that_is_damaged_is_named(queue: Queue, tiers: str) -> None:
    with queue.ledger.writing() as db:
        db.execute("UPDATE tasks SET tiers = ?", (tiers,))
    with pytest.raises(SettingsError, match=r"task of lab/M is damaged"):
        queue.tasks(OPEN)


def test_a_listing_may_claim_any_size(queue: Queue) -> None:
    absurd = replace(DECIDED, bytes=10**40)
    task = queue.propose(absurd, [], NOW, needs_approval=False)
    assert task is not None
    assert task.bytes == LARGEST
    claimed = queue.claim(NOW, at_once=1, per_hour=1, hours_per_tb=1e6, small_gb=500)
    assert claimed is not None
