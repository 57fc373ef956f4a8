"""A simulated month: the Hub, watchers in processes of their own, kills, and what came of it."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bot.store.ledger import Ledger
from tests.simulation import watching
from tests.simulation.hub import LIMITS, SimulatedHub
from tests.simulation.population import DAY, HOUR, START, Population

GRACE = 38 * HOUR  # a sweep or a second look a day, and the hours in which all were dead
LONGEST_DEATH = 2 * HOUR
STUCK = 60.0  # seconds of real time in which nothing happens


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a simulated month came to."""

    eligible: set[tuple[int, int]]
    dispatched: Counter[tuple[int, int]]  # tasks by model and version of its weights
    twice: list[str]  # attempts that were started more than once
    requests: Counter[str]
    most: dict[str, int]  # requests in any five minutes, by bucket
    refused: int  # requests beyond the Hub's limits
    trouble: Counter[str]
    kills: int
    memory: Sequence[float]  # kB, a value a day
    seconds: float

    @property
    def missed(self) -> set[tuple[int, int]]:
        return self.eligible - set(self.dispatched)

    def __str__(self) -> str:
        return (
            f"{len(self.eligible)} eligible, {len(self.missed)} missed, "
            f"{sum(self.dispatched.values())} dispatched, {len(self.twice)} twice; "
            f"requests {dict(self.requests)}, at most {self.most} in five minutes, "
            f"{self.refused} refused; trouble {dict(self.trouble)}; {self.kills} kills; "
            f"memory {[round(kb / 1024, 1) for kb in self.memory[-31:] if kb]} MB; "
            f"{self.seconds:.0f} s"
        )


class World:
    """The simulation. Time goes on when every living watcher sleeps and nobody is answered."""

    def __init__(
        self,
        folder: Path,
        population: Population,
        *,
        watchers: int = 1,
        kills: int = 0,
        every: tuple[int, int] = (1, 100),
        trouble: float = 0.0,
        failing_runs: float = 0.0,
        seed: int = 7,
    ) -> None:
        self._population = population
        self._folder, self._watchers = folder, watchers
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.simulation.watching"])
        self._shared: Any = self._context.RawArray("d", 1 + watchers)
        self._memory: Any = self._context.RawArray("d", 40)
        self._shared[0] = START
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._kills, self._every, self._killed = kills, every, 0
        self._until_kill = self._random.randint(*every)
        self._processes: list[BaseProcess | None] = [None] * watchers
        self._back = [START] * watchers
        self.hub = SimulatedHub(
            population, lambda: float(self._shared[0]), trouble=trouble, failing_runs=failing_runs
        )
        self.hub.between = self._maybe_kill

    def run(self, days: float) -> Outcome:
        """Let the days pass."""
        began = time.monotonic()
        Ledger(self._folder / "ledger.sqlite")
        thread = threading.Thread(target=self.hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            self._pass(START + days * DAY)
        finally:
            for process in self._processes:
                if process is not None:
                    process.kill()
                    process.join()
            self.hub.shutdown()
            thread.join()
            self.hub.server_close()
        return self._outcome(START + days * DAY, time.monotonic() - began)

    def _pass(self, end: float) -> None:
        last, since = -1.0, time.monotonic()
        while self._shared[0] < end:
            now = float(self._shared[0])
            seen = now + sum(self.hub.requests.values())
            if seen != last:
                last, since = seen, time.monotonic()
            assert time.monotonic() - since < STUCK, "nothing happens any more"
            wakes = self._bury_and_raise(now)
            with self.hub.lock:
                if self.hub.in_flight == 0 and all(wake > now for wake in wakes):
                    self._shared[0] = min(*wakes, now + HOUR, end)
                    continue
            time.sleep(watching.TICK)

    def _bury_and_raise(self, now: float) -> list[float]:
        """Start who is due to live; when each slot's next thing happens."""
        wakes = []
        for slot, process in enumerate(self._processes):
            if process is not None and not process.is_alive():
                process.join()
                assert process.exitcode == -signal.SIGKILL, f"a watcher died: {process.exitcode}"
                self._processes[slot] = None
                self._back[slot] = now + self._random.random() * LONGEST_DEATH
            if self._processes[slot] is None and self._back[slot] <= now:
                self._start(slot)
            alive = self._processes[slot] is not None
            wakes.append(float(self._shared[1 + slot]) if alive else self._back[slot])
        return wakes

    def _start(self, slot: int) -> None:
        self._shared[1 + slot] = 0.0  # awake
        given = (slot, self._shared, self.hub.url, str(self._folder), self._memory)
        process = self._context.Process(target=watching.run, args=given, daemon=True)
        process.start()
        self._processes[slot] = process

    def _maybe_kill(self) -> None:
        """Now and then, somewhere in the middle of a request, a watcher dies."""
        with self.hub.lock:
            self._until_kill -= 1
            if self._killed >= self._kills or self._until_kill > 0:
                return
            self._until_kill = self._random.randint(*self._every)
            process = self._random.choice(self._processes)
            if process is None or process.pid is None or not process.is_alive():
                return
            self._killed += 1
        time.sleep(self._random.random() * 0.004)
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    def _outcome(self, end: float, seconds: float) -> Outcome:
        commits = self._population.commits
        tasks = {key.rpartition("-")[0]: run["commit"] for key, run in self.hub.runs.items()}
        dispatched: Counter[tuple[int, int]] = Counter()
        for commit in tasks.values():
            model, version = commits[commit]
            dispatched[model.row, version] += 1
        return Outcome(
            eligible=self._population.eligible(end, GRACE),
            dispatched=dispatched,
            twice=[key for key, count in self.hub.dispatched.items() if count > 1],
            requests=self.hub.requests,
            most={b: max(n for (x, _), n in self.hub.windows.items() if x == b) for b in LIMITS},
            refused=self.hub.refused,
            trouble=self.hub.failed,
            kills=self._killed,
            memory=[kb for kb in self._memory if kb],
            seconds=seconds,
        )
