"""The watcher's state at a glance: what it does, and why it is not well."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.settings.settings import load
from bot.store.board import board, log_of, tail
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from tests.unit.status.status_page import alive, fill

NOW = 1_790_000_000.0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "l.sqlite")


def test_all_states_are_shown(ledger: Ledger) -> None:
    fill(ledger, NOW)
    alive(ledger, NOW)
    shown = board(ledger, load(), NOW)
    assert shown.trouble is None
    assert (shown.heartbeat, shown.looked) == (NOW, NOW)
    assert {task.repo: task.state for task in shown.tasks} == {
        "lab/Failed": "failed", "lab/Asked": "asked", "lab/Queued": "queued",
    }  # fmt: skip
    assert [waiting.decision.repo for waiting in shown.waiting] == ["lab/Waiting"]
    assert shown.waiting_counts == {"settling": 1}
    assert shown.paused is None
    assert shown.allowed == {"api": 400, "resolvers": 2000}


def test_a_watcher_that_is_away_or_reads_nothing_is_trouble(ledger: Ledger) -> None:
    assert board(ledger, load(), NOW).trouble == "no watcher runs"
    alive(ledger, NOW)
    assert board(ledger, load(), NOW + 181).trouble == "no watcher runs"
    ledger.remember("heartbeat", "host 1", NOW + 1801)
    assert board(ledger, load(), NOW + 1800).trouble is None
    late = board(ledger, load(), NOW + 1801)
    assert late.trouble == "the Hub was not read to the end for long"
    of_an_owner = board(ledger, load(watch={"owners": ["lab"]}), NOW)
    assert of_an_owner.looked is None


def test_a_pause_is_shown_with_its_reason(ledger: Ledger) -> None:
    Queue(ledger).pause("the disk is new", NOW)
    assert board(ledger, load(), NOW).paused == "the disk is new"


def test_the_step_of_a_running_build_is_the_last_line_of_its_log(
    ledger: Ledger, tmp_path: Path
) -> None:
    fill(ledger, NOW)
    log = tmp_path / "log"
    log.write_bytes(b"first\nmaking tiers \x1b[2J\n\n")
    queue = Queue(ledger)
    task = queue.claim(NOW, at_once=1, per_hour=9)
    assert task is not None
    queue.started(task, str(log), NOW)
    [running] = queue.running()
    assert log_of(running) == log
    step = board(ledger, load(), NOW).steps[running.id]
    assert step.text.startswith("making tiers")
    assert step.text.isprintable()
    log.unlink()
    assert log_of(running) is None


def test_a_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthree\n")
    assert tail(log, 8) == "three\n"
    assert tail(log, 99) == "one\ntwo\nthree\n"
    assert tail(tmp_path / "gone", 8) == ""
