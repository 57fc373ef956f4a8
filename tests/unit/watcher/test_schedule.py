"""The schedule: what was missed is made up for once, and times outlive the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from bot.store.ledger import Ledger
from bot.watcher.schedule import Turn, planned, scheduler


def _run(ledger: Ledger, turns: tuple[Turn, ...], until: Callable[[], bool]) -> None:
    """Run a schedule until something holds, at most for a minute."""
    schedule = scheduler(ledger, turns)
    thread = threading.Thread(target=schedule.start, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not until() and time.monotonic() < end:
        time.sleep(0.01)
    schedule.shutdown(wait=True)
    thread.join(timeout=60)
    assert not thread.is_alive()


def _turn(name: str, every: float, done: list[str], lane: str = "a") -> Turn:
    return Turn(name=name, every=every, work=lambda: done.append(name), lane=lane)


def test_the_first_turn_is_at_once_and_the_next_is_planned(tmp_path: Path) -> None:
    ledger, done = Ledger(tmp_path / "l.sqlite"), list[str]()
    before = time.time()
    _run(ledger, (_turn("look", 600, done), _turn("act", 60, done, "b")), lambda: len(done) == 2)
    assert sorted(done) == ["act", "look"]
    times = planned(ledger)
    assert before + 60 <= times["act"] <= time.time() + 66
    assert before + 600 <= times["look"] <= time.time() + 660


def test_a_restart_keeps_the_time_that_was_planned(tmp_path: Path) -> None:
    ledger, done = Ledger(tmp_path / "l.sqlite"), list[str]()
    _run(ledger, (_turn("look", 600, done),), lambda: bool(done))
    kept = planned(ledger)
    _run(ledger, (_turn("look", 600, done), _turn("act", 600, done)), lambda: "act" in done)
    assert done == ["look", "act"]
    assert planned(ledger)["look"] == kept["look"]


def test_what_was_missed_for_days_is_made_up_for_once(tmp_path: Path) -> None:
    ledger, done, before = Ledger(tmp_path / "l.sqlite"), list[str](), time.time()
    with ledger.writing() as db:
        db.execute("INSERT INTO schedule VALUES ('look', ?)", (before - 5 * 86_400,))
    _run(ledger, (_turn("look", 600, done), _turn("act", 600, done)), lambda: len(done) >= 2)
    assert sorted(done) == ["act", "look"]
    assert min(planned(ledger).values()) >= before + 540


def test_a_plan_from_a_clock_that_went_wrong_is_not_waited_for(tmp_path: Path) -> None:
    ledger, done = Ledger(tmp_path / "l.sqlite"), list[str]()
    with ledger.writing() as db:
        db.execute("INSERT INTO schedule VALUES ('look', ?)", (time.time() + 500 * 86_400,))
    _run(ledger, (_turn("look", 1, done),), lambda: bool(done))
    assert done


def test_turns_of_one_lane_never_run_side_by_side(tmp_path: Path) -> None:
    at_work, most, done = 0, 0, list[str]()

    def work() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.05)
        at_work -= 1
        done.append("x")

    turns = tuple(Turn(name=name, every=600, work=work, lane="a") for name in "abc")
    _run(Ledger(tmp_path / "l.sqlite"), turns, lambda: len(done) == 3)
    assert (len(done), most) == (3, 1)
