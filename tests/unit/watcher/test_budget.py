"""The request budget: never more in any five minutes, whoever asks."""

from __future__ import annotations

import random
from pathlib import Path

from bot.settings.running import Budget
from bot.store.ledger import Ledger
from bot.watcher.budget import NAP, WINDOW, RequestBudget
from tests.hand_clock import HandClock


def test_no_five_minutes_ever_hold_more_than_the_budget(tmp_path: Path) -> None:
    clock, spread = HandClock(), random.Random(1)  # noqa: S311 - spreads requests
    ledger = Ledger(tmp_path / "l.sqlite")
    gates = [RequestBudget(ledger, Budget(api=10), clock) for _ in range(2)]
    passed = []
    for _ in range(120):
        spread.choice(gates).pass_one("api")
        passed.append(clock.now())
        clock.time += spread.choice((0, 0.5, 7, 40))
    most = max(sum(start <= at < start + WINDOW for at in passed) for start in passed)
    assert most == 10
    assert max(clock.slept) <= NAP


def test_buckets_are_counted_apart_and_slept_for_only_when_full(tmp_path: Path) -> None:
    clock = HandClock()
    gate = RequestBudget(Ledger(tmp_path / "l.sqlite"), Budget(api=10, resolvers=20), clock)
    for _ in range(10):
        gate.pass_one("api")
    for _ in range(20):
        gate.pass_one("resolvers")
    assert clock.slept == []
    assert (gate.spent("api"), gate.spent("resolvers")) == (10, 20)
    clock.time += WINDOW + 20
    assert gate.spent("api") == 0


def test_what_the_hub_demands_holds_for_all(tmp_path: Path) -> None:
    clock = HandClock()
    ledger = Ledger(tmp_path / "l.sqlite")
    one, other = (RequestBudget(ledger, Budget(), clock) for _ in range(2))
    start = clock.now()
    one.limited("api", 100)
    one.limited("api", 5)  # a shorter demand takes nothing back
    other.pass_one("resolvers")
    assert clock.now() == start
    other.pass_one("api")
    assert clock.now() == start + 100
