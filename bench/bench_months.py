"""What months of watching cost: the ledger's size, its questions, page and verbs; pruning, upgrade.

    bot demo --dir demo
    PYTHONPATH=. python bench/bench_months.py fill months --like demo/work/ledger.sqlite
    PYTHONPATH=. python bench/bench_months.py measure months --keep after.json
    PYTHONPATH=. python bench/bench_months.py measure months --than before.json     ratios
    PYTHONPATH=. python bench/bench_months.py upgrade months
    PYTHONPATH=. python bench/bench_months.py prune months

`fill` makes a ledger of 1,000,000 models and 10,000 builds as bench/make_months.py says, its tables
of version 7. `measure` asks it on a copy, by whatever `bot` is on the path, all in turns: so what
else this machine does meets all of them. Times are milliseconds: the median and the worst; of
verbs, the processor's (user and system) beside the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.make_months import DAY, FOR_BUILDS, fill, life_of, repo_of
from bot.settings.settings import load
from bot.store.board import board
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.schema import VERSION
from bot.store.sightings import Sightings
from tests.unit.status.status_page import running_page

FIRST = 7  # version of the tables that are filled
ROUNDS = 5
KEPT = 180  # days, as watch.keep_days
VERBS = 5  # rounds of verbs, which are processes
Times = dict[str, list[float]]


def main() -> None:
    """The part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=["fill", "measure", "upgrade", "prune"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--like", type=Path, help="a ledger that holds the steps of one build")
    parser.add_argument("--models", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="where the numbers go")
    parser.add_argument("--than", type=Path, help="numbers to compare with")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    parts: Mapping[str, Callable[[argparse.Namespace], None]] = {
        "fill": filled, "measure": measured, "upgrade": upgraded, "prune": pruned,
    }  # fmt: skip
    parts[asked.part](asked)


def filled(asked: argparse.Namespace) -> None:
    """Make the ledger, and say what takes how much room."""
    path = asked.folder / "made.sqlite"
    path.unlink(missing_ok=True)
    began = time.monotonic()
    fill(path, asked.like, asked.models, time.time(), FIRST)
    print(f"filled in {time.monotonic() - began:.0f} s")
    show_sizes(path)


def show_sizes(path: Path) -> None:
    """Rows and bytes of each table and its indexes."""
    with sqlite3.connect(path) as db:
        tables = "SELECT tbl_name, name FROM sqlite_master WHERE type IN ('table', 'index')"
        sizes = dict(db.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
        by_table: dict[str, int] = {}
        for table, name in db.execute(tables):
            by_table[table] = by_table.get(table, 0) + sizes.get(name, 0)
        print(f"{'table':<12}{'rows':>12}{'MB':>10}{'bytes a row':>13}")
        for table, size in sorted(by_table.items(), key=lambda item: -item[1])[:6]:
            (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - ours
            print(f"{table:<12}{rows:>12,}{size / 1e6:>10.1f}{size / max(rows, 1):>13.0f}")
    db.close()
    print(f"{'the file':<24}{path.stat().st_size / 1e6:>10.1f}")


def measured(asked: argparse.Namespace) -> None:
    """Ask everything in turns."""
    folder = copied(asked.folder, "asked")
    ledger = Ledger(folder / "ledger.sqlite")
    times: Times = {}
    for _ in range(ROUNDS):
        for name, question in questions(ledger).items():
            times.setdefault(name, []).append(timed(question))
    with running_page(folder) as page:
        for _ in range(ROUNDS):
            for path in ("/", "/status.json", "/metrics", "/healthz"):
                ask = lambda path=path: page.ask("GET", path)  # noqa: E731
                times.setdefault(f"GET {path}", []).append(timed(ask))
    for _ in range(VERBS):
        for name, words in verbs().items():
            clock, processor = process(words, folder)
            times.setdefault(f"bot {name}", []).append(clock)
            times.setdefault(f"bot {name}, CPU", []).append(processor)
    if asked.keep:
        asked.keep.write_text(json.dumps(times))
    show(times, json.loads(asked.than.read_text()) if asked.than else {})
    print("load:", " ".join(f"{load:.1f}" for load in os.getloadavg()))


def questions(ledger: Ledger) -> dict[str, Callable[[], object]]:
    """What the page, the metrics, verbs and the watcher ask of the ledger."""
    queue, sightings, settings, now = Queue(ledger), Sightings(ledger), load(), time.time()
    builds = [n for n in range(1000) if life_of(n) is FOR_BUILDS]
    repo, job = repo_of(builds[0]), "0" * 64
    page = [repo_of(n) for n in range(0, 100_000, 1000)]
    return {
        "board, all of it": lambda: board(ledger, settings, now),
        "how many wait": sightings.counts,
        "what waits, 100": lambda: sightings.waiting(100),
        "tasks by state": queue.counts,
        "open and failed, 100": lambda: queue.tasks(
            ("asked", "queued", "starting", "running", "failed"), 100
        ),
        "published, 30": lambda: queue.tasks(("published",), 30),
        "events, 30": lambda: queue.events(30),
        "events of one, 20": lambda: queue.events(20, repo),
        "notifications due": lambda: queue.untold(("published", "gave_up"), now - DAY, 10),
        "history of one": lambda: sightings.history(repo),
        "a page of a listing": lambda: sightings.known(page),
        "due again, 200": lambda: sightings.due(now, 200),
        "memory of one": lambda: queue.memory(repo, "0" * 40, "0" * 64),
        "a hint": lambda: sightings.hint(repo, "0" * 40, now),
        "a claim": lambda: queue.claim(now, at_once=1, per_hour=4),
        "a day's decisions": lambda: list(sightings.since(now - DAY)),
        "a job's files": lambda: work_of(ledger, job),
    }


def work_of(ledger: Ledger, job: str) -> object:
    """The finished work of a job, as publishing asks for it."""
    if "job" in Ledger.work.__code__.co_varnames[: Ledger.work.__code__.co_argcount]:
        return ledger.work(job)
    return [work for work in ledger.work() if work.job == job]


def verbs() -> dict[str, tuple[str, ...]]:
    """Verbs that read the ledger or say little to it."""
    repo = repo_of(next(n for n in range(1000) if life_of(n) is FOR_BUILDS))
    return {
        "status": ("status",),
        "status --json": ("status", "--json"),
        "why": ("why", repo),
        "watch --explain": ("watch", "--explain", "--since", "1d"),
        "pause": ("pause",),
        "resume": ("resume",),
        "retry": ("retry", repo),
        "clean --dry-run": ("clean", "--dry-run"),
        "--help": ("--help",),
    }


def timed(question: Callable[[], object]) -> float:
    """Milliseconds that a question takes."""
    began = time.perf_counter()
    question()
    return 1000 * (time.perf_counter() - began)


def process(words: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Milliseconds of a verb, by the clock and the processor's."""
    environment = {**os.environ, "BOT_WORKDIR": str(folder)}
    began = time.perf_counter()
    running = subprocess.Popen(
        [sys.executable, "-m", "bot", *words], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    clock = time.perf_counter() - began
    assert running.returncode == 0, words
    return 1000 * clock, 1000 * (used.ru_utime + used.ru_stime)


def show(times: Times, before: Times) -> None:
    """A line each: median, worst, and how many times faster than before."""
    print(f"{'':<28}{'median':>9}{'worst':>9}{'before':>10}{'ratio':>8}")
    for name, taken in times.items():
        median = statistics.median(taken)
        than = statistics.median(before[name]) if name in before else None
        ratio = f"{than:>10.1f}{than / median:>8.1f}" if than is not None else ""
        print(f"{name:<28}{median:>9.2f}{max(taken):>9.2f}{ratio}")


def copied(folder: Path, name: str) -> Path:
    """A working folder with a copy of the ledger."""
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    shutil.copyfile(folder / "made.sqlite", target / "ledger.sqlite")
    return target


def upgraded(asked: argparse.Namespace) -> None:
    """Bring the tables up to date: how long, what it takes of the disk meanwhile and for good."""
    path = copied(asked.folder, "upgraded") / "ledger.sqlite"
    before, began = path.stat().st_size, time.monotonic()
    with sqlite3.connect(path) as reader:  # as long as it is open, the log stays to be measured
        reader.execute("SELECT 1 FROM sqlite_master").fetchone()
        Ledger(path)
        seconds = time.monotonic() - began
        log = path.with_name("ledger.sqlite-wal").stat().st_size
    reader.close()
    grown = path.stat().st_size - before
    print(f"version {FIRST} → {VERSION} in {seconds:.1f} s")
    print(f"{before / 1e6:.0f} MB, {grown / 1e6:+.0f} MB; a log of {log / 1e6:.0f} MB meanwhile")


def pruned(asked: argparse.Namespace) -> None:
    """Forget what is older than 180 days, then another day of it, then give the room back."""
    from bot.store.pruning import prune  # earlier versions, which `measure` may ask, have none

    ledger = Ledger(copied(asked.folder, "pruned") / "ledger.sqlite")
    before = time.time() - KEPT * DAY
    for name, until, compact in (
        (f"all but {KEPT} days", before, False),
        ("the next day", before + DAY, False),
        ("and compacted", before + DAY, True),
    ):
        began = time.monotonic()
        gone = prune(ledger, until, compact=compact)
        seconds = time.monotonic() - began
        sizes = f"{gone.bytes_before / 1e6:.0f} → {gone.bytes_after / 1e6:.0f} MB"
        print(f"{name}: {seconds:.1f} s, {sizes}, {gone}")
    show_sizes(ledger.path)
    began = time.monotonic()
    ledger.backup(asked.folder / "pruned" / "backup.sqlite")
    print(f"a backup, and looked at: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
