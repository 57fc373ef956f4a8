"""A simulated Hub over real HTTP, a clock that goes by hand, and watchers on one ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.clients.hub.hub import Hub
from bot.detect.listed import Machine
from bot.records.releases import Decision, Release
from bot.settings.settings import load
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.sightings import Sightings
from bot.watcher.budget import RequestBudget
from bot.watcher.watcher import Watcher
from tests.hand_clock import HandClock
from tests.simulation.hub import SimulatedHub
from tests.simulation.population import START, Model, Population

MINUTES = 60.0


class World:
    """A Hub, a clock, a ledger and as many watchers as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock(START)
        self.population = Population(known=0, daily=0, days=0, moe=0, seed=1)
        self.hub = SimulatedHub(self.population, self.clock.now)
        self.ledger = Ledger(folder / "l.sqlite")
        self.queue, self.sightings = Queue(self.ledger), Sightings(self.ledger)
        self.said: list[str] = []
        self.machine = Machine()

    def watcher(
        self,
        holder: str = "me",
        on_decision: Callable[[Decision], None] = lambda _decision: None,
        policy: Any = None,
        github: Any = None,
        is_dead: Callable[[str], bool] = lambda _holder: False,
        hours: Callable[[Release, tuple[str, ...]], float | None] = lambda _release, _tiers: None,
        **watch: Any,
    ) -> Watcher:
        settings = load(
            None, watch={"page": 10, "limit": 50, **watch}, policy=policy or {},
            github=github or {}, runners={"box": {}},
        )  # fmt: skip
        gate = RequestBudget(self.ledger, settings.watch.budget, self.clock)
        hub = Hub(self.hub.url, None, pause=0.01, clock=self.clock, gate=gate)
        return Watcher(
            hub, self.ledger, settings, self.clock, holder=holder, rested=0.0,
            machine=lambda: self.machine, on_decision=on_decision, say=self.said.append,
            is_dead=is_dead, hours=hours,
        )  # fmt: skip

    def model(self, *, moe: bool = True, weights: bool = True, ago: float = 0.0) -> Model:
        """A new repository, that may have been private until now."""
        self.population.advance(self.clock.time)
        at = self.clock.time - ago
        model = self.population._add(at, self.clock.time, moe=moe, weights=weights)
        self.population.by_created.remove((model.created, model.row))
        model.created = at  # without the skew of the Hub's clocks
        self.population.by_created.append((at, model.row))
        self.population.by_created.sort()
        return model

    def push(self, model: Model, *, weights: bool) -> None:
        """A commit: new weights, or only a card."""
        self.population.advance(self.clock.time)
        self.population._push(model, weights=weights)

    def last(self, model: Model) -> tuple[str, str]:
        """The latest decision about a model."""
        past = self.sightings.history(model.name)[-1]
        return past.kind, past.outcome

    def queued(self) -> list[str]:
        return sorted(task.repo for task in self.queue.tasks(("queued",)))

    def asked(self) -> int:
        """Requests since the last call."""
        count = self.hub.requests.total()
        self.hub.requests.clear()
        return count


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    thread = threading.Thread(target=world.hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield world
    world.hub.shutdown()
    thread.join()
    world.hub.server_close()
