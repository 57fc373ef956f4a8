"""A busy month, simulated: how long releases wait, by the rule that says which goes first.

    PYTHONPATH=. python bench/bench_busy_month.py          all tables: a quarter of an hour
    PYTHONPATH=. python bench/bench_busy_month.py --seeds 5 --runners 2 --slower 1

Sixty releases of real sizes, 3 to 1,026 thousand million parameters, half of them on days with
four of them; 1 to 8 runners, which die, a Hub that refuses, a GitHub that does not answer, jobs
with limits of time. The queue, its order and what becomes of failures are the bot's own
(tests/simulation/busy_month.py says what is simulated, month_releases.py how long a release takes
on a box). The same seeds give the same tables. Waiting is all time from being queued to being
published that a release does not need: with the repairs, refusals and repeated steps.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from statistics import fmean

from bot.settings.policies import Policy
from bot.settings.running import GitHubSettings
from tests.simulation.busy_month import Month, busy_month
from tests.simulation.month_releases import (
    CLASSES,
    DAY,
    HOUR,
    MONTH,
    TIER_BITS,
    lanes,
    months,
)

NEVER = 1e6  # hours a terabyte: what is smaller always goes first
PLACE = Policy().small_gb
RULES: dict[str, tuple[float, float]] = {  # policy.hours_per_tb, policy.small_gb
    "first come": (0.0, 0.0),
    "shortest": (NEVER, 0.0),
    "shortest, a place kept": (NEVER, PLACE),
    "with aging": (Policy().hours_per_tb, 0.0),
    "with aging, a place kept": (Policy().hours_per_tb, PLACE),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Months that are simulated alike."""

    runners: int
    slower: float
    length: int  # months, one after another
    rule: str


def simulated(case: Case, seed: int) -> Month:
    """One of the case's simulations."""
    hours_per_tb, small_gb = RULES[case.rule]
    arrivals = months(seed, case.length, slower=case.slower)
    with tempfile.TemporaryDirectory(prefix="bench-busy-month-") as folder:
        return busy_month(
            Path(folder), arrivals, case.runners, seed=seed, hours_per_tb=hours_per_tb,
            small_gb=small_gb,
        )  # fmt: skip


def main() -> None:
    """Simulate and print."""
    asked = _asked()
    seeds = range(1, asked.seeds + 1)
    _print_releases()
    with Pool(asked.processes) as pool:

        def of(case: Case) -> list[Month]:
            return pool.map(partial(simulated, case), seeds, chunksize=1)

        for slower in asked.slower:
            for runners in asked.runners:
                _print_rules(runners, slower, 1, of)
        for runners in asked.runners:
            if asked.months > 1 and runners <= 2:
                _print_rules(runners, 1.5 * runners, asked.months, of)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="months of each case")
    parser.add_argument("--runners", type=int, nargs="+", default=[1, 2, 3, 8])
    parser.add_argument("--slower", type=float, nargs="+", default=[1.0, 4.0], help="than the box")
    parser.add_argument("--months", type=int, default=4, help="of the last tables; 1: none")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def _print_releases() -> None:
    """What is built, and its hours on one box: by lane, in all, and by job of release.yml."""
    columns = ("release", "times", "10^9 parameters", "active", "down", "CPU", "GPU", "up", "all")
    print(f"| {' | '.join((*columns, 'prepare', 'a quantize job'))} |")
    print("|---" * (len(columns) + 2) + "|")
    work = sent = 0.0
    for kind in MONTH:
        on = lanes(kind.sixteen, kind.active * 1e9)
        times = (on.down, on.cpu, on.gpu, on.up, on.seconds, on.prepare, on.quantize)
        hours = " | ".join(f"{seconds / HOUR:.2f}" for seconds in times)
        print(f"| {kind.name} | {kind.times} | {kind.parameters:g} | {kind.active:g} | {hours} |")
        work += kind.times * on.seconds
        sent += kind.times * kind.parameters * 1e9 * TIER_BITS / 8
    print(f"\nAll sixty: {work / HOUR:.0f} hours of one box, {sent / 1e12:.0f} TB sent.")
    polls = 3600 / GitHubSettings().poll_seconds
    print(f"GitHub is asked {polls:.0f} times an hour for each run.")


def _print_rules(
    runners: int, slower: float, length: int, of: Callable[[Case], Sequence[Month]]
) -> None:
    """A row for each rule: hours waited (median, 95 %, worst) by class, and what it costs."""
    boxes = "1 runner" if runners == 1 else f"{runners} runners"
    print(f"\n{boxes}, each {slower:g} times as slow as the box, {length} month(s)\n")
    columns = ["rule", *CLASSES, "utilisation", "days until all is done", "starved a month"]
    print(f"| {' | '.join([*columns, 'given up'])} |")
    print("|---" * (len(columns) + 1) + "|")
    for rule, (_hours, small_gb) in RULES.items():
        if runners == 1 and small_gb:
            continue  # of one place none is kept
        done = of(Case(runners=runners, slower=slower, length=length, rule=rule))
        print(f"| {rule} | {' | '.join(_row(done, length))} |", flush=True)


def _row(done: Sequence[Month], length: int) -> list[str]:
    waits = []
    for size in CLASSES:
        of_class = sorted(wait for month in done for wait in month.waits(size))
        last = len(of_class) - 1
        waits.append(", ".join(f"{of_class[int(part * last)]:.1f}" for part in (0.5, 0.95, 1)))
    fates = [fate for month in done for fate in month.fates]
    return [
        *waits,
        f"{100 * fmean(month.utilisation for month in done):.0f} %",
        f"{fmean(month.ended for month in done) / DAY:.1f}",
        f"{sum(fate.starved for fate in fates) / len(done) / length:.1f}",
        f"{sum(fate.waited is None for fate in fates)} of {len(fates):,}",
    ]


if __name__ == "__main__":
    main()
