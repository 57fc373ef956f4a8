"""CPU time of one card of 20 rows: words alone, and with all plots.

    python bench/bench_card.py [--rows 20] [--repeat 5]

Each is measured in turn, `--repeat` times in one process that has its libraries loaded; the median
is printed. The first card of a process also loads matplotlib, which is told apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bot.card.tables.cells import CardFile
from bot.records.measured import Speed
from bot.records.results import Results
from tests.unit.card import samples


def with_rows(count: int) -> Results:
    """So many measured rows, a fifth of them baselines, the others half with importance matrix."""
    made = []
    for i in range(count):
        name = f"{'I-' if i % 2 else ''}T{i // 2}"
        found = samples.divergence(0.004 * 1.25**i, 0.00004 * 1.25**i)
        row = samples.row(name, 33_000_000_000 - 1_200_000_000 * i, found)
        speed = (Speed(name="tg128", mean=60.0 + i, spread=0.4, repetitions=5),)
        made.append(replace(row, scores=replace(row.scores, speed=speed)))
    baselines = tuple(replace(row, name=f"Q{i}_K") for i, row in enumerate(made[::5]))
    tiers = tuple(row for i, row in enumerate(made) if i % 5)
    return replace(samples.nine_tiers(), tiers=tiers, baselines=baselines)


def cpu(work: Callable[[], object]) -> float:
    """Seconds of this process's CPU."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    results = with_rows(given.rows)
    listed: list[CardFile] = samples.files(results)

    def words() -> None:
        samples.rendered(results, repo_id=samples.REPO, files=listed, about=samples.ABOUT)

    def whole(folder: Path) -> None:
        shown, _ = samples.drawn(results, folder)
        given = {"repo_id": samples.REPO, "files": listed, "about": samples.ABOUT}
        samples.rendered(results, plots=shown, **given)

    with tempfile.TemporaryDirectory() as place:
        first = cpu(words), cpu(lambda: whole(Path(place) / "plots"))
        rounds = [
            (cpu(words), cpu(lambda: whole(Path(place) / "plots"))) for _ in range(given.repeat)
        ]
        files = sorted(Path(place).glob("plots/*"))
    without, plots = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{given.rows} rows, {len(files)} files of plots; CPU s, median of {given.repeat}")
    print(f"card without plots  {without:.3f}   (first of the process {first[0]:.3f}; limit 0.3)")
    print(f"card and all plots  {plots:.3f}   (first of the process {first[1]:.3f}; limit 3)")


if __name__ == "__main__":
    main()
