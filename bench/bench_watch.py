"""What watching costs: CPU seconds and requests for 10,000 listed models, and whether that grows
with the number of models that are known already.

    PYTHONPATH=. python bench/bench_watch.py [known …]    default: 10000 100000 1000000

A simulated Hub over HTTP lists 10,000 models, 3 % of them mixtures of experts. A watcher reads
them twice: first all are new, then all are known. The ledgers that know ever more models take
turns, so that what else this machine does meets all of them; numbers are of the fastest round.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from sqlite3 import Connection

from bot.clients.hub.hub import Hub
from bot.store.ledger import Ledger
from bot.watcher.budget import RequestBudget
from bot.watcher.watcher import Watcher
from tests.hand_clock import HandClock
from tests.simulation.hub import SimulatedHub
from tests.simulation.population import START, Population
from tests.simulation.watching import settings

LISTED = 10_000
ROUNDS = 3
PAGE = 100


def main() -> None:
    """Measure and print."""
    sizes = [int(text) for text in sys.argv[1:]] or [10_000, 100_000, 1_000_000]
    population = Population(known=LISTED, daily=0, days=0, moe=0.03, seed=1)
    clock = HandClock(START)
    hub = SimulatedHub(population, clock.now)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory(prefix="bench-watch-") as folder:
        ledgers = {size: _ledger(Path(folder) / f"{size}.sqlite", size) for size in sizes}
        best: dict[int, tuple[float, float]] = dict.fromkeys(sizes, (1e9, 1e9))
        requests: dict[int, tuple[int, int]] = {}
        for _ in range(ROUNDS):
            for size, ledger in ledgers.items():
                new, known, requests[size] = _round(ledger, hub, clock)
                best[size] = (min(best[size][0], new), min(best[size][1], known))
    hub.shutdown()
    print(f"per {LISTED:,} listed models, pages of {PAGE}")
    print(
        f"{'known':>10}{'CPU s new':>12}{'ratio':>8}{'CPU s known':>13}{'ratio':>8}{'requests':>14}"
    )
    first = best[sizes[0]]
    for size in sizes:
        new, known = best[size]
        asked = " + ".join(str(count) for count in requests[size])
        print(
            f"{size:>10,}{new:>12.2f}{new / first[0]:>8.2f}{known:>13.2f}{known / first[1]:>8.2f}"
            f"{asked:>14}"
        )


def _ledger(path: Path, size: int) -> Ledger:
    """A ledger that knows `size` models with a decision each."""
    ledger = Ledger(path)
    with ledger.writing(lazily=True) as db:
        _fill(db, size)
    return ledger


def _fill(db: Connection, size: int) -> None:
    facts = b"x" * 330  # as large as the facts of a dense model are, compressed
    db.executemany(
        "INSERT INTO releases (repo, commit_id, first_seen, kind, outcome)"
        " VALUES (?, ?, ?, 'skip', 'not_moe')",
        ((f"old{n % 997}/Model-{n}", f"{n:040x}", START) for n in range(size)),
    )
    db.executemany(
        "INSERT INTO decisions (repo, commit_id, at, kind, outcome, reason, facts)"
        " VALUES (?, ?, ?, 'skip', 'not_moe', 'dense: model_type llama has no experts', ?)",
        ((f"old{n % 997}/Model-{n}", f"{n:040x}", START, facts) for n in range(size)),
    )


def _round(
    ledger: Ledger, hub: SimulatedHub, clock: HandClock
) -> tuple[float, float, tuple[int, int]]:
    """CPU seconds to read models that are new, and again; requests of both."""
    with ledger.writing() as db:
        for table in ("releases", "decisions", "tasks"):
            db.execute(f"DELETE FROM {table} WHERE repo LIKE 'org%'")  # noqa: S608 - ours
        db.execute("DELETE FROM feeds")
        db.execute("DELETE FROM remembered")
    chosen = settings()
    watch = chosen.watch.model_copy(update={"limit": LISTED, "page": PAGE})
    chosen = chosen.model_copy(update={"watch": watch})
    gate = RequestBudget(ledger, chosen.watch.budget, clock)
    watcher = Watcher(
        Hub(hub.url, None, clock=clock, gate=gate), ledger, chosen, clock, holder="x", rested=0.0
    )
    times, counts = [], []
    for _ in range(2):
        with ledger.writing() as db:
            db.execute("DELETE FROM feeds")  # so that the whole listing is read again
        hub.requests.clear()
        before = time.thread_time()
        watcher.created()
        times.append(time.thread_time() - before)
        counts.append(hub.requests.total())
    return times[0], times[1], (counts[0], counts[1])


if __name__ == "__main__":
    main()
