"""A small month on the bot's own queue: everything is published, and nobody is starved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.settings.policies import Policy
from tests.simulation.busy_month import Month, Troubles, busy_month
from tests.simulation.month_releases import DAY, HOUR, MONTH, Arrival, Class, lanes, month

QUIET = Troubles(runner_days=1e9, hub_days=1e9, github_days=1e9)
FIRST_COME = {"hours_per_tb": 0, "small_gb": 0}


def arrival(name: str, size: Class, gb: float, at: float, hours: float) -> Arrival:
    return Arrival(repo=f"lab/{name}", size=size, bytes=int(gb * 1e9), at=at, seconds=hours * HOUR)


def two_weeks() -> tuple[Arrival, ...]:
    """Three giants on the first day, then a small release every sixth hour."""
    giants = [arrival(f"giant-{n}", "giant", 1_400, n * HOUR, 40) for n in range(3)]
    small = [arrival(f"small-{n}", "small", 60, (3 + 6 * n) * HOUR, 0.5) for n in range(20)]
    return (*giants, *small)


def starved(of_month: Month) -> int:
    return sum(fate.starved for fate in of_month.fates)


def test_small_releases_are_not_starved_behind_giants(tmp_path: Path) -> None:
    before = busy_month(tmp_path, two_weeks(), 2, seed=1, troubles=QUIET, **FIRST_COME)
    after = busy_month(tmp_path, two_weeks(), 2, seed=1, troubles=QUIET)
    assert before.waits("small")[-1] == pytest.approx(38, abs=0.1)  # until two giants are done
    assert starved(before) == 3
    assert after.waits("small")[-1] == pytest.approx(0, abs=0.1)
    assert starved(after) == 0
    assert after == busy_month(tmp_path, two_weeks(), 2, seed=1, troubles=QUIET)
    assert before.busy == after.busy == sum(one.seconds for one in two_weeks())


def test_a_kept_place_starves_no_giant(tmp_path: Path) -> None:
    """Two places, nothing small: the second giant has the second place once its hours are over."""
    giants = two_weeks()[:2]
    kept = busy_month(tmp_path, giants, 2, seed=1, troubles=QUIET, hours_per_tb=10, small_gb=500)
    assert kept.waits("giant") == pytest.approx([0, 14], abs=1)


def test_a_month_with_troubles_ends_with_all_published(tmp_path: Path) -> None:
    """Runners die and the Hub refuses; attempts go on from their record, little is done twice."""
    releases = month(3)[:25]
    often = replace(Troubles(), runner_days=1.5, hub_days=3, github_days=2)
    of_month = busy_month(tmp_path, releases, 2, seed=3, troubles=often, attempts=20)
    assert all(fate.waited is not None for fate in of_month.fates)
    assert of_month.attempts > len(releases)
    assert of_month.troubles > 3
    work = sum(one.seconds for one in releases)
    assert work <= of_month.busy <= 1.25 * work


def test_a_job_that_is_ended_by_its_limit_goes_on_as_another(tmp_path: Path) -> None:
    giant = arrival("giant", "giant", 1_400, 0, 100)
    limited = replace(QUIET, job_hours=30)
    of_month = busy_month(tmp_path, [giant], 1, seed=1, troubles=limited)
    assert (of_month.attempts, of_month.busy) == (4, giant.seconds)
    assert of_month.ended == pytest.approx(100 * HOUR + 600 + 2_400 + 9_600, abs=1)  # retries


def test_the_defaults_are_those_of_the_simulation() -> None:
    assert (Policy().hours_per_tb, Policy().small_gb) == (168, 500)


def test_lanes_grow_with_bytes_and_active_parameters() -> None:
    small, large = lanes(60e9, 3e9), lanes(120e9, 3e9)
    assert large.down == 2 * small.down
    assert (large.cpu, large.up) == pytest.approx((2 * small.cpu, 2 * small.up))
    assert lanes(60e9, 6e9).gpu == pytest.approx(2 * small.gpu)
    assert lanes(2e12, 32e9).gpu > 10 * lanes(160e9, 32e9).gpu  # what the memory does not hold
    assert small.seconds < sum((small.down, small.cpu, small.gpu, small.up))


def test_sixty_releases_come_in_thirty_days() -> None:
    releases = month(1)
    assert len(releases) == sum(kind.times for kind in MONTH) == 60
    assert month(1) == releases != month(2)
    assert 0 <= releases[0].at <= releases[-1].at <= 30 * DAY
    days = [int(release.at // DAY) for release in releases]
    assert max(map(days.count, days)) >= 4
