"""A watcher in simulated time: the real one, with the clock of the simulation."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

from bot.actions.executing import Attempt
from bot.clients.hub.hub import Hub
from bot.errors import BotError, UnreachableError
from bot.progress import Narrator
from bot.settings.settings import Settings, load
from bot.store.ledger import Ledger
from bot.store.queue_tables import QueuedRelease
from bot.watcher.budget import RequestBudget
from bot.watcher.dispatching import queue_turn
from bot.watcher.watcher import Watcher

NOW, FIRST = 0, 1  # places in the shared array: the time, then when each watcher wakes
TICK = 0.0003  # seconds of real time between looks at the simulated clock
TIMEOUT = 0.3  # seconds for a reply


class SimulatedClock:
    """The simulation's time. It stands still as long as anybody is awake."""

    def __init__(self, shared: Any, slot: int) -> None:
        self._shared, self._slot = shared, FIRST + slot

    def now(self) -> float:
        """POSIX seconds."""
        return float(self._shared[NOW])

    def sleep(self, seconds: float) -> None:
        """Return when the simulation has come so far."""
        until = self.now() + max(seconds, 0.001)
        self._shared[self._slot] = until
        while self._shared[NOW] < until:
            time.sleep(TICK)


class Elsewhere:
    """An executor in another system, reached over HTTP that fails now and then."""

    def __init__(self, url: str) -> None:
        self._url = url

    def find(self, task: QueuedRelease) -> Attempt | None:
        """The run of this attempt."""
        reply = self._ask(task, None)
        if reply is None:
            return None
        return Attempt(good=reply["good"], error="it failed" if reply["good"] is False else None)

    def start(self, task: QueuedRelease) -> str | None:
        """Start this attempt."""
        self._ask(task, {"repo": task.repo, "commit": task.commit})
        return f"http://127.0.0.1/{task.id}"

    def _ask(self, task: QueuedRelease, body: dict[str, str] | None) -> dict[str, Any] | None:
        data = json.dumps(body).encode() if body else None
        address = f"{self._url}/dispatch/{task.id}-{task.attempts}"
        request = urllib.request.Request(address, data=data)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                found: dict[str, Any] = json.loads(reply.read())
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
            raise UnreachableError(f"status {error.code}") from error
        except (OSError, HTTPException) as error:
            raise UnreachableError(str(error)) from error


def settings(**policy: Any) -> Settings:
    """What the simulated watchers are told."""
    return load(
        None,
        watch={"limit": 100, "page": 100, "every_minutes": 20, "sweep_days": 25},
        policy={"at_once": 10, "per_hour": 50, **policy},
    )


def run(slot: int, shared: SynchronizedArray[float], url: str, folder: str, memory: Any) -> None:
    """Watch until killed."""
    clock = SimulatedClock(shared, slot)
    chosen = settings()
    ledger = Ledger(Path(folder) / "ledger.sqlite")
    budget = RequestBudget(ledger, chosen.watch.budget, clock)
    hub = Hub(url, None, pause=1.0, timeout=TIMEOUT, clock=clock, gate=budget)
    jitter = random.Random()  # noqa: S311 - a simulation
    watcher = Watcher(hub, ledger, chosen, clock, holder=f"{slot}-{jitter.random()}")
    executor, narrator = Elsewhere(url), Narrator(quiet=True)

    def act() -> None:
        queue_turn(watcher.queue, executor, chosen.policy, clock, narrator)

    def remember() -> None:
        status = Path("/proc/self/status").read_text()
        memory[:] = [*memory[1:], float(status.split("VmRSS:")[1].split()[0])]

    works: list[tuple[float, Callable[[], object]]] = [
        (1_200, watcher.created),
        (600, watcher.again),
        (3_600, watcher.trending),
        (7_200, watcher.sweep),  # rests by itself for most of a day
        (1_200, act),
        (86_400, remember),
    ]
    due = [clock.now()] * len(works)
    while True:
        for number, (every, work) in enumerate(works):
            if due[number] <= clock.now():
                with suppress(BotError):  # the next turn makes up for it, as with a schedule
                    work()
                due[number] = clock.now() + every * jitter.uniform(1.0, 1.1)
        clock.sleep(max(min(due) - clock.now(), 600.0))
