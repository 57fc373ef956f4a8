"""The watcher put together: the Hub behind its budget, the schedule, the queue."""

from __future__ import annotations

import atexit
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bot.actions.executing import Executor, Here, run_here
from bot.actions.on_github import OnGitHub, on_github
from bot.clock import Clock, SystemClock
from bot.detect.inspection import machine
from bot.errors import BotError
from bot.records.releases import Decision, Release
from bot.store import pruning
from bot.store.board import HEARTBEAT
from bot.store.queue import Queue
from bot.watcher import notify
from bot.watcher.budget import RequestBudget
from bot.watcher.dispatching import queue_turn
from bot.watcher.feeds import Looked
from bot.watcher.presence import Presence
from bot.watcher.schedule import Turn, scheduler
from bot.watcher.watcher import Watcher
from bot.workplace import demo_texts
from bot.workplace.workplace import Workplace

ACT = 15.0  # seconds between looks at the queue
AGAIN = 60.0  # seconds between looks at releases whose time has come
DAY = 86_400.0
UNPUBLISHED = ("asked", "queued", "starting", "running", "failed")

OnDecision = Callable[[Decision], None]
Begin = Callable[[Clock], Executor]  # who builds, and waits on a clock that can be stopped


class StoppableClock(SystemClock):
    """This machine's clock, on which nobody sleeps any more once it was stopped."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`; raise Stopped when there is no more to wait for."""
        if self._stop.wait(seconds):
            raise Stopped

    def stop(self) -> None:
        """Wake all who sleep."""
        self._stop.set()


class Stopped(Exception):
    """The watcher was interrupted."""


def watcher_of(
    workplace: Workplace, on_decision: OnDecision, clock: Clock, *, rested: float = 0.5
) -> Watcher:
    """A watcher over the workplace's Hub and ledger."""
    budget = RequestBudget(workplace.ledger, workplace.settings.watch.budget, clock)
    presence, holder = _present(workplace)
    hub = workplace.gated_hub(budget, clock)
    return Watcher(
        hub,
        workplace.ledger,
        workplace.settings,
        clock,
        holder=holder,
        rested=rested,
        is_dead=presence.is_dead,
        machine=lambda: machine(workplace),
        hours=partial(_hours, workplace.behind(hub)),
        on_decision=on_decision,
        say=workplace.narrator.say,
    )


def _hours(workplace: Workplace, release: Release, tiers: Sequence[str]) -> float | None:
    """What a policy that bounds hours asks for; without one no forecast is ever loaded."""
    from bot.release.forecast.release_hours import build_hours

    return build_hours(workplace, release, tiers)


def _present(workplace: Workplace) -> tuple[Presence, str]:
    """This process as a watcher that others see to live."""
    presence = Presence(workplace.folders.root / "watchers")
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    presence.clear()
    presence.begin(holder)
    atexit.register(presence.end)
    return presence, holder


def once(workplace: Workplace, on_decision: OnDecision, begin: Begin | None = None) -> None:
    """Look at all that is new since the last look, and tell every decision."""
    clock = SystemClock()
    executor = begin(clock) if begin is not None else None
    watcher = watcher_of(workplace, on_decision, clock, rested=0.0)
    watcher.changed()
    for looked in (*watcher.created(), *watcher.modified()):
        workplace.narrator.say(_as_line(looked))
    for name in watcher.busy:
        workplace.narrator.say(f"{name}: another watcher reads it now; nothing was looked at here")
    watcher.again()
    actor = Actor(workplace, watcher.queue, executor, clock)
    actor.turn()
    actor.prune()


def forever(workplace: Workplace, on_decision: OnDecision, begin: Begin | None = None) -> None:
    """Look now and then, as the settings say, until interrupted.

    An unreachable Hub is said and waited out; looks that were missed meanwhile become one.
    """
    clock = StoppableClock()
    executor = begin(clock) if begin is not None else None
    watcher = watcher_of(workplace, on_decision, clock)
    actor = Actor(workplace, watcher.queue, executor, clock)
    schedule = scheduler(workplace.ledger, turns_of(workplace, watcher, actor))
    try:
        schedule.start()
    finally:
        clock.stop()
        schedule.shutdown(wait=False)


def turns_of(workplace: Workplace, watcher: Watcher, actor: Actor) -> tuple[Turn, ...]:
    """What a watcher does how often; trouble of one turn is said, and the next comes as planned."""
    settings = workplace.settings.watch

    def look() -> None:
        watcher.changed()
        for looked in (*watcher.created(), *watcher.modified()):
            if looked.decided:
                workplace.narrator.say(_as_line(looked))

    def turn(name: str, every: float, work: Callable[[], object], lane: str = "looking") -> Turn:
        return Turn(name=name, every=every, work=_careful(work, workplace.narrator.say), lane=lane)

    return (
        turn("look", settings.every_minutes * 60, look),
        turn("again", AGAIN, watcher.again),
        turn("trending", settings.trending_minutes * 60, watcher.trending),
        turn("sweep", DAY, watcher.sweep),
        turn("act", ACT, actor.turn, "acting"),
        turn("prune", DAY, actor.prune, "acting"),
    )


def _careful(work: Callable[[], object], say: Callable[[str], None]) -> Callable[[], None]:
    """Work whose trouble is said, and which ends quietly when its watcher is stopped."""

    def careful_work() -> None:
        try:
            work()
        except BotError as error:
            say(str(error))
        except Stopped:
            return

    return careful_work


class Actor:
    """What is done about decisions: a sign of life, builds, the dashboard, notifications.

    Each fails alone; what it complains of is said once.
    """

    def __init__(
        self, workplace: Workplace, queue: Queue, executor: Executor | None, clock: Clock
    ) -> None:
        self._workplace, self._queue, self._executor = workplace, queue, executor
        self._clock, self._complaints = clock, dict[str, str]()

    def turn(self) -> None:
        """One turn of all of them."""
        name = f"{socket.gethostname()} {os.getpid()}"
        self._workplace.ledger.remember(HEARTBEAT, name, self._clock.now())
        for work in (self._build, self._show, self._notify):
            try:
                work()
            except (BotError, OSError) as error:
                self._complain(work.__name__, str(error))
            else:
                self._complaints.pop(work.__name__, None)

    def prune(self) -> None:
        """Forget what is older than the settings keep."""
        days = self._workplace.settings.watch.keep_days
        if days is None:
            return
        before = self._clock.now() - days * DAY
        pruning.prune(self._workplace.ledger, before)
        if isinstance(self._executor, Here):
            self._executor.prune(before, self._queue.tasks(UNPUBLISHED, 10_000))

    def _complain(self, about: str, text: str) -> None:
        if self._complaints.get(about) != text:
            self._workplace.narrator.say(text)
        self._complaints[about] = text

    def _build(self) -> None:
        if self._executor is not None:
            policy, narrator = self._workplace.settings.policy, self._workplace.narrator
            queue_turn(self._queue, self._executor, policy, self._clock, narrator)

    def _show(self) -> None:
        if isinstance(self._executor, OnGitHub):
            self._executor.show()

    def _notify(self) -> None:
        url = notify.address()
        if url is not None:
            watch, say = self._workplace.settings.watch, self._workplace.narrator.say
            notify.post(self._queue, watch, url, self._clock, say)


def chosen_executor(workplace: Workplace, config: Path | None, clock: Clock) -> Executor:
    """Builds by the workflows of github.repo where that is set, else on this machine.

    Raises SettingsError where all builds of this machine would be measured on the demo's texts.
    """
    github = workplace.settings.github
    if github.repo is not None:
        hub = workplace.settings.hub.endpoint
        return on_github(github, workplace.ledger, workplace.narrator.say, clock, hub=hub)
    demo_texts.refuse(workplace.settings, {demo_texts.TEXT, demo_texts.TASKS})
    return run_here(workplace.folders.root.absolute() / "runs", config)


def _as_line(looked: Looked) -> str:
    pages = "page" if looked.pages == 1 else "pages"
    return (
        f"{looked.feed}: {looked.rows} models in {looked.pages} {pages}, {looked.decided} decided"
    )
