"""A busy month, event by event: the bot's queue and turns, runners that die, a Hub that refuses.

What is simulated is the world: releases that come, machines, GitHub and the Hub. Which task is
next, what becomes of a failed attempt and when it comes again says the bot's ledger, on a clock
that goes from one event to the next.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.actions.executing import Attempt
from bot.errors import UnreachableError
from bot.progress import Narrator
from bot.settings.policies import Policy
from bot.store.ledger import Ledger
from bot.store.queue import STARTING, Queue
from bot.store.queue_tables import QueuedRelease
from bot.store.sightings import Decided
from bot.watcher.dispatching import queue_turn
from tests.hand_clock import HandClock
from tests.simulation.month_releases import DAY, HOUR, Arrival, Class

START = 1_790_000_000.0
YEAR = 365.0
OPEN = ("queued", "starting", "running")


@dataclass(frozen=True, kw_only=True)
class Troubles:
    """How often something fails; a mean is of intervals that are exponentially distributed."""

    runner_days: float = 10.0  # between deaths of a runner
    repair_hours: float = 4.0  # until it is back
    noticed: float = 900.0  # seconds until GitHub says that it lost a runner
    lost: float = 0.05  # of a release's work at most: the step in which the runner died
    hub_days: float = 15.0  # between times in which the Hub answers 429 or 503 for longer
    hub_hours: float = 2.0  # than its client waits, mean
    github_days: float = 10.0  # between times in which GitHub's API refuses (403, 429, 503)
    github_hours: float = 1.0  # mean; its primary limit starts anew each hour
    job_hours: float = 96.0  # `timeout-minutes` of release-single.yml; GitHub's own are five days
    queued_hours: float = 24.0  # GitHub cancels what no runner took until then


@dataclass(frozen=True, kw_only=True)
class Span:
    """A time in which something is away."""

    start: float
    end: float


@dataclass(kw_only=True)
class Run:
    """An attempt: where it runs, when it ends, and what is seen of it then."""

    task: QueuedRelease
    asked: float
    runner: int | None = None
    freed: float = 0.0  # when it leaves its runner
    seen: float = 0.0  # when GitHub tells of its end
    end: Attempt | None = None


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of a release."""

    arrival: Arrival
    waited: float | None  # seconds until it was published beyond those that it takes; None: never

    @property
    def starved(self) -> bool:
        """Later than a day and than five times what it takes; or never."""
        return self.waited is None or self.waited > max(DAY, 5 * self.arrival.seconds)


@dataclass(frozen=True, kw_only=True)
class Month:
    """What a simulated month gave."""

    fates: tuple[Fate, ...]
    busy: float  # seconds of work on all runners
    ended: float  # seconds after the month's beginning at which all was done
    runners: int
    attempts: int
    troubles: int  # attempts that ended otherwise than well

    @property
    def utilisation(self) -> float:
        """Part of the runners' time until the last release."""
        return self.busy / (self.runners * self.ended)

    def waits(self, size: Class) -> list[float]:
        """Hours that releases of a class waited, least first."""
        of_class = [fate for fate in self.fates if fate.arrival.size == size]
        return sorted(fate.waited / HOUR for fate in of_class if fate.waited is not None)


class MemoryLedger(Ledger):
    """A ledger in memory: one connection, and the steps and statements of any other."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        super().__init__(folder / "ledger")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db
        finally:
            if self._db.in_transaction:  # elsewhere the connection is closed, which does the same
                self._db.execute("ROLLBACK")


class Farm:
    """An executor: runners of one kind, each one run at a time, in the order of GitHub's queue.

    A release's work is kept over its attempts, whichever runner has them.
    """

    def __init__(
        self, arrivals: Sequence[Arrival], runners: int, troubles: Troubles, clock: HandClock,
        seed: int,
    ) -> None:  # fmt: skip
        self._troubles, self._clock = troubles, clock
        self._draw = random.Random(seed)  # noqa: S311 - a simulation
        self._takes = {arrival.repo: arrival.seconds for arrival in arrivals}
        self._left = dict(self._takes)
        mean = troubles.runner_days, troubles.repair_hours
        self._deaths = [list(self._spans(*mean)) for _ in range(runners)]
        self._hub = list(self._spans(troubles.hub_days, troubles.hub_hours))
        self._github = list(self._spans(troubles.github_days, troubles.github_hours))
        self._runs: dict[tuple[str, int, float], Run] = {}
        self._free = [START] * runners  # from when on each is
        self.claims: list[float] = []  # times at which a task was claimed
        self.busy, self.troubled = 0.0, 0

    @property
    def attempts(self) -> int:
        """Runs that were ever started."""
        return len(self._runs)

    def find(self, task: QueuedRelease) -> Attempt | None:
        """The run of the task's present attempt."""
        now = self._clock.now()
        if task.state == "starting":
            self.claims.append(now)
        if self._away(self._github, now):
            raise UnreachableError("GitHub says 403; try again")
        run = self._runs.get(_key(task))
        if run is None:
            return None
        return run.end if run.end and run.seen <= now else Attempt(good=None, link="http://run")

    def start(self, task: QueuedRelease) -> str | None:
        """Queue a run of the present attempt."""
        self._runs[_key(task)] = Run(task=task, asked=self._clock.now())
        return "http://run"

    def turn(self) -> None:
        """Give runs that wait to runners that are free and alive."""
        now = self._clock.now()
        waiting = [run for run in self._runs.values() if run.end is None]
        for run in sorted(waiting, key=lambda run: run.asked):
            free = (n for n, since in enumerate(self._free) if since <= now and self._alive(n, now))
            runner = next(free, None)
            if runner is not None:
                self._take(run, runner, now)
            elif now >= run.asked + self._troubles.queued_hours * HOUR:
                run.seen, run.end = now, Attempt(good=False, error="cancelled: no runner took it")
                self.troubled += 1

    def next(self) -> Iterator[float]:
        """When something changes here."""
        waits = [run.asked for run in self._runs.values() if run.end is None]
        yield from (run.seen for run in self._runs.values() if run.end is not None)
        if waits:
            yield from self._free
            yield from (span.end for spans in self._deaths for span in spans)
            yield min(waits) + self._troubles.queued_hours * HOUR
        yield from (span.end for span in self._github)

    def _take(self, run: Run, runner: int, now: float) -> None:
        """Say now how the run will end: well, or by what comes before that."""
        repo, troubles = run.task.repo, self._troubles
        left, takes = self._left[repo], self._takes[repo]
        ends = [(now + left, 0.0, Attempt(good=True, link=f"http://hub/{repo}"), 0.0)]
        death = next((span for span in self._deaths[runner] if span.start > now), None)
        if death is not None:
            lost = self._draw.uniform(0, troubles.lost) * takes
            said = Attempt(good=False, error=f"lost its runner at {death.start:.0f}")
            ends.append((death.start, troubles.noticed, said, lost))
        hub = next((span for span in self._hub if span.end > now), None)
        if hub is not None:
            refused = Attempt(good=False, passing=True, error="the Hub says 503")
            ends.append((max(hub.start, now + 300), 0.0, refused, 0.0))
        timed_out = Attempt(good=False, error=f"it timed out at {now:.0f}")
        ends.append((now + troubles.job_hours * HOUR, 0.0, timed_out, 0.0))
        at, later, run.end, lost = min(ends, key=lambda end: end[0])
        run.runner, run.freed, run.seen = runner, at, at + later
        self._free[runner], self.busy = at, self.busy + at - now
        self._left[repo] = min(max(left - (at - now), 0.0) + lost, takes)
        self.troubled += run.end.good is not True

    def _alive(self, runner: int, now: float) -> bool:
        return not self._away(self._deaths[runner], now)

    def _away(self, spans: Sequence[Span], now: float) -> bool:
        return any(span.start <= now < span.end for span in spans)

    def _spans(self, days: float, hours: float) -> Iterator[Span]:
        at = START
        while (at := at + self._draw.expovariate(1 / (days * DAY))) < START + YEAR * DAY:
            end = at + self._draw.expovariate(1 / (hours * HOUR))
            yield Span(start=at, end=end)
            at = end


def _key(task: QueuedRelease) -> tuple[str, int, float]:
    return task.id, task.attempts, task.created


@dataclass(kw_only=True)
class Desk:
    """A ledger, its queue, and the turns of a watcher that acts."""

    arrivals: Sequence[Arrival]
    queue: Queue
    farm: Farm
    policy: Policy
    clock: HandClock
    came: dict[str, float] = field(default_factory=dict)  # by repository

    def run(self) -> None:
        """From the first release to the end of the last."""
        coming = list(self.arrivals)
        while True:
            while coming and START + coming[0].at <= self.clock.now():
                self._propose(coming.pop(0))
            self.farm.turn()
            queue_turn(self.queue, self.farm, self.policy, self.clock, Narrator(quiet=True))
            self.farm.turn()
            still = self.queue.tasks(OPEN)
            if not coming and not still:
                return
            events = [*self.farm.next(), *self._queue_events(still)]
            events += [START + arrival.at for arrival in coming[:1]]
            self.clock.time = min(at for at in events if at > self.clock.now())

    def _queue_events(self, still: Sequence[QueuedRelease]) -> Iterator[float]:
        yield from (task.due for task in still if task.state == "queued")
        yield from (task.changed + STARTING for task in still if task.state == "starting")
        if any(task.state == "starting" for task in still):
            yield self.clock.now() + STARTING
        yield from (at + HOUR + 1 for at in self.farm.claims[-self.policy.per_hour :])
        waiting = [task for task in still if task.state == "queued"]
        is_full = len(still) - len(waiting) >= self.policy.at_once
        if not is_full and any(task.due <= self.clock.now() for task in waiting):
            yield self.clock.now() + HOUR  # a free place may be theirs by then

    def _propose(self, arrival: Arrival) -> None:
        self.came[arrival.repo] = self.clock.now()
        decided = Decided(
            repo=arrival.repo, commit=f"{len(self.came):040x}", kind="build", outcome="eligible",
            reason="a mixture of experts", until=None, look_at=None, weights=arrival.repo,
            weights_at=None, facts={}, bytes=arrival.bytes,
        )  # fmt: skip
        self.queue.propose(decided, (), self.clock.now(), needs_approval=False)


def busy_month(
    folder: Path,
    arrivals: Sequence[Arrival],
    runners: int,
    *,
    seed: int,
    troubles: Troubles = Troubles(),
    **policy: Any,
) -> Month:
    """A month with so many runners under a policy; its ledger lies in `folder`, which is empty."""
    clock = HandClock(START)
    queue = Queue(MemoryLedger(folder))
    farm = Farm(arrivals, runners, troubles, clock, seed)
    chosen = Policy.model_validate({"at_once": runners, **policy})
    desk = Desk(arrivals=arrivals, queue=queue, farm=farm, policy=chosen, clock=clock)
    desk.run()
    tasks = {task.repo: task for task in queue.tasks(("published", "failed"))}
    fates = []
    for arrival in arrivals:
        task, took = tasks[arrival.repo], START + arrival.at + arrival.seconds
        good = task.state == "published"
        fates.append(Fate(arrival=arrival, waited=task.changed - took if good else None))
    return Month(
        fates=tuple(fates),
        busy=farm.busy,
        ended=max(task.changed for task in tasks.values()) - START,
        runners=runners,
        attempts=farm.attempts,
        troubles=farm.troubled,
    )
