"""When the watcher does what: an APScheduler schedule whose times are kept in the ledger.

A time that passed while nobody watched is made up for once, however often it was missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.blocking import BlockingScheduler

from bot.store.ledger import Ledger

JITTER = 0.1  # part of an interval by which a turn may come later, so that watchers spread


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Something done every so many seconds. Turns of one lane never run side by side."""

    name: str
    every: float
    work: Callable[[], None]
    lane: str


class LedgerTimes(MemoryJobStore):  # type: ignore[misc]  # apscheduler has no types
    """Jobs in memory, their next times in the ledger: no pickles, nothing to unpickle."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def add_job(self, job: Any) -> None:
        """Take a job, at the time that an earlier process planned for it if that is sooner."""
        with self._ledger.reading() as db:
            row = db.execute("SELECT next FROM schedule WHERE name = ?", (job.id,)).fetchone()
        if row is not None:
            noted, now = datetime.fromtimestamp(row["next"], UTC), datetime.now(UTC)
            latest = now + job.trigger.interval * (1 + JITTER)
            # counted from now: from a time long past, turn by turn, it would come again at once
            job._modify(next_run_time=min(max(noted, now), latest))
        super().add_job(job)
        self._keep(job)

    def update_job(self, job: Any) -> None:
        """Note when the job comes next."""
        super().update_job(job)
        self._keep(job)

    def _keep(self, job: Any) -> None:
        with self._ledger.writing(lazily=True) as db:
            db.execute(
                "INSERT OR REPLACE INTO schedule VALUES (?, ?)",
                (job.id, job.next_run_time.timestamp()),
            )


def scheduler(ledger: Ledger, turns: tuple[Turn, ...]) -> BlockingScheduler:
    """A schedule of turns, ready to start."""
    schedule = BlockingScheduler(timezone=UTC, jobstores={"default": LedgerTimes(ledger)})
    for lane in {turn.lane for turn in turns}:
        schedule.add_executor(ThreadPoolExecutor(1), lane)
    now = datetime.now(UTC)
    for turn in turns:
        schedule.add_job(
            turn.work,
            "interval",
            id=turn.name,
            seconds=turn.every,
            jitter=turn.every * JITTER,
            executor=turn.lane,
            next_run_time=now,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    return schedule


def planned(ledger: Ledger) -> dict[str, float]:
    """When each turn comes next, POSIX seconds."""
    with ledger.reading() as db:
        return dict(db.execute("SELECT name, next FROM schedule ORDER BY name").fetchall())
