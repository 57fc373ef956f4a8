"""The watcher in a simulated world: nothing eligible missed, nothing dispatched twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.hub import LIMITS
from tests.simulation.population import Population
from tests.simulation.world import Outcome, World

BUDGET = {"api": 400, "resolvers": 2000}  # the defaults of watch.budget
FLAT = 6 * 1024  # kB that a watcher may grow in a month after its first two days


def _well(outcome: Outcome) -> None:
    print(outcome)  # noqa: T201 - pytest shows it with -s, and when something is wrong
    assert len(outcome.eligible) > 5
    assert outcome.missed == set()
    assert outcome.twice == []
    assert set(outcome.dispatched.values()) == {1}
    assert outcome.refused == 0
    assert all(outcome.most[bucket] <= BUDGET[bucket] <= LIMITS[bucket] for bucket in BUDGET)


@pytest.mark.road
def test_some_days(tmp_path: Path) -> None:
    population = Population(known=100, daily=30, days=3, moe=0.3, seed=3)
    _well(World(tmp_path, population).run(3))


@pytest.mark.long
def test_some_days_with_two_watchers_that_are_killed(tmp_path: Path) -> None:
    population = Population(known=100, daily=30, days=3, moe=0.3, seed=4)
    world = World(
        tmp_path, population, watchers=2, kills=10, every=(1, 30), trouble=0.05, failing_runs=0.1
    )
    outcome = world.run(3)
    _well(outcome)
    assert outcome.kills == 10
    assert outcome.trouble.total() > 5


@pytest.mark.long
def test_a_month(tmp_path: Path) -> None:
    population = Population(known=200_000, daily=500, days=30, moe=0.03, seed=3)
    outcome = World(tmp_path, population).run(30)
    _well(outcome)
    assert max(outcome.memory) - outcome.memory[2] < FLAT


@pytest.mark.long
def test_a_month_with_two_watchers_that_are_killed(tmp_path: Path) -> None:
    population = Population(known=200_000, daily=500, days=30, moe=0.03, seed=5)
    world = World(
        tmp_path, population, watchers=2, kills=200, every=(1, 200), trouble=0.05, failing_runs=0.1
    )
    outcome = world.run(30)
    _well(outcome)
    assert outcome.kills == 200
