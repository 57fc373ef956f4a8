"""No question that is asked often reads a whole table, however many models were seen.

By SQLite's own plans (https://www.sqlite.org/eqp.html) of the statements as they were sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.settings.settings import load
from bot.store.board import board
from bot.store.ledger import Ledger
from bot.store.pruning import prune
from bot.store.queue import Queue
from bot.store.sightings import Sightings
from tests.unit.status.status_page import fill

NOW = 1_790_000_000.0
GROWING = ("releases", "decisions", "tasks", "events", "work")
PLANNED = ("SELECT", "UPDATE", "DELETE")
# whole indexes that hold what waits alone, or a short row for each task; the latest events by id
WHOLE = (
    "SCAN releases USING COVERING INDEX releases_waiting",
    "SCAN r USING INDEX releases_waiting",
    "SCAN tasks USING COVERING INDEX tasks_by_state",
    "SCAN events",
    "SCAN work USING INDEX work_since",  # the latest, as many as are wanted
)
Asked = Callable[[Ledger], object]
QUESTIONS: dict[str, Asked] = {
    "the page": lambda ledger: board(ledger, load(), NOW),
    "a page of a listing": lambda ledger: Sightings(ledger).known(["lab/A", "lab/B"]),
    "due again": lambda ledger: Sightings(ledger).due(NOW, 9),
    "a hint": lambda ledger: Sightings(ledger).hint("lab/New", None, NOW),
    "a day's decisions": lambda ledger: list(Sightings(ledger).since(NOW)),
    "why": lambda ledger: [
        Sightings(ledger).history("lab/Asked"), Queue(ledger).events(20, "lab/Asked"),
    ],
    "what bears on a release": lambda ledger: Queue(ledger).memory("lab/A", "a" * 40, "a"),
    "a claim": lambda ledger: Queue(ledger).claim(NOW, at_once=9, per_hour=9),
    "an approval": lambda ledger: Queue(ledger).approve("lab/Asked", NOW),
    "notifications": lambda ledger: Queue(ledger).untold(("asked", "failed"), NOW - 9, 9),
    "a job's work": lambda ledger: ledger.work("job"),
    "paces": lambda ledger: ledger.values("paces", 9),
    "forgetting": lambda ledger: prune(ledger, NOW - 99),
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_question_reads_a_table_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    fill(ledger, NOW)
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*given: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*given, **options)
        db.set_trace_callback(statements.append)
        return db

    with monkeypatch.context() as patched:
        patched.setattr("sqlite3.connect", traced)
        QUESTIONS[name](ledger)
    asked = [text for text in statements if text.startswith(PLANNED)]
    assert asked
    with ledger.reading() as db:
        steps = {
            row["detail"] for text in asked for row in db.execute(f"EXPLAIN QUERY PLAN {text}")
        }
    scans = {step for step in steps if step.startswith("SCAN")}
    growing = {step for step in scans if step.split()[1] in (*GROWING, "r", "d", "old", "later")}
    assert growing - {*WHOLE} == set()


def test_a_plan_that_reads_all_is_seen(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite").reading() as db:
        plan = db.execute("EXPLAIN QUERY PLAN SELECT 1 FROM releases WHERE outcome = 'x'")
        assert [row["detail"] for row in plan] == ["SCAN releases"]
