"""The watcher put together: the Hub behind its budget, the schedule, the queue; a decision told."""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from bot.board import HEARTBEAT
from bot.clock import Clock, SystemClock, iso
from bot.errors import BotError
from bot.pipeline.dispatching import turn
from bot.pipeline.executing import Executor, here
from bot.pipeline.models import Pipeline
from bot.pipeline.on_github import OnGitHub, on_github
from bot.pipeline.sources import machine
from bot.records import Decision, Wait
from bot.watch import notify
from bot.watch.budget import RequestBudget
from bot.watch.watcher import Looked, Watcher

ACT = 15.0  # seconds between looks at the queue
AGAIN = 60.0  # seconds between looks at releases whose time has come

Seen = Callable[[Decision], None]
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


def watcher(pipeline: Pipeline, seen: Seen, clock: Clock, *, rested: float = 0.5) -> Watcher:
    """A watcher over the pipeline's Hub and ledger."""
    budget = RequestBudget(pipeline.ledger, pipeline.settings.watch.budget, clock)
    return Watcher(
        pipeline.gated_hub(budget, clock),
        pipeline.ledger,
        pipeline.settings,
        clock,
        holder=f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        rested=rested,
        machine=lambda: machine(pipeline),
        seen=seen,
        say=pipeline.narrator.say,
    )


def once(pipeline: Pipeline, seen: Seen, begin: Begin | None = None) -> None:
    """Look at all that is new since the last look, and tell every decision."""
    clock = SystemClock()
    executor = begin(clock) if begin is not None else None
    made = watcher(pipeline, seen, clock, rested=0.0)
    made.changed()
    for looked in (*made.created(), *made.modified()):
        pipeline.narrator.say(_as_line(looked))
    made.again()
    _act(pipeline, made, executor, clock)


def forever(pipeline: Pipeline, seen: Seen, begin: Begin | None = None) -> None:
    """Look now and then, as the settings say, until interrupted.

    An unreachable Hub is said and waited out; looks that were missed meanwhile become one.
    """
    from bot.watch.schedule import Turn, scheduler

    clock, settings = StoppableClock(), pipeline.settings.watch
    executor = begin(clock) if begin is not None else None
    made = watcher(pipeline, seen, clock)

    def careful(work: Callable[[], object]) -> Callable[[], None]:
        def careful_work() -> None:
            try:
                work()
            except BotError as error:
                pipeline.narrator.say(str(error))
            except Stopped:
                return

        return careful_work

    def look() -> None:
        made.changed()
        for looked in (*made.created(), *made.modified()):
            if looked.decided:
                pipeline.narrator.say(_as_line(looked))

    def act() -> None:
        _act(pipeline, made, executor, clock)

    day = 86_400.0
    turns = (
        Turn(name="look", every=settings.every_minutes * 60, work=careful(look), lane="looking"),
        Turn(name="again", every=AGAIN, work=careful(made.again), lane="looking"),
        Turn(
            name="trending",
            every=settings.trending_minutes * 60,
            work=careful(made.trending),
            lane="looking",
        ),
        Turn(name="sweep", every=day, work=careful(made.sweep), lane="looking"),
        Turn(name="act", every=ACT, work=careful(act), lane="acting"),
    )
    schedule = scheduler(pipeline.ledger, turns)
    try:
        schedule.start()
    finally:
        clock.stop()
        schedule.shutdown(wait=False)


def _act(pipeline: Pipeline, made: Watcher, executor: Executor | None, clock: Clock) -> None:
    """What is done about decisions: a sign of life, builds, notifications."""
    name = f"{socket.gethostname()} {os.getpid()}"
    pipeline.ledger.remember(HEARTBEAT, name, clock.now())
    if executor is not None:
        turn(made.queue, executor, pipeline.settings.policy, clock, pipeline.narrator)
    url = notify.address()
    if url is not None:
        notify.tell(made.queue, pipeline.settings.watch, url, clock)
    if isinstance(executor, OnGitHub):
        executor.show()


def chosen_executor(pipeline: Pipeline, config: Path | None, clock: Clock) -> Executor:
    """Builds by the workflows of github.repo where that is set, else on this machine."""
    github = pipeline.settings.github
    if github.repo is not None:
        hub = pipeline.settings.hub.endpoint
        return on_github(github, pipeline.ledger, pipeline.narrator.say, clock, hub=hub)
    return here(pipeline.workspace.root.absolute() / "runs", config)


def _as_line(looked: Looked) -> str:
    pages = "page" if looked.pages == 1 else "pages"
    return (
        f"{looked.feed}: {looked.rows} models in {looked.pages} {pages}, {looked.decided} decided"
    )


def as_line(decision: Decision) -> str:
    """The decision for people: what, which, why."""
    kind = type(decision).__name__
    return f"{kind:<5}  {decision.release.repo_id}  {decision.reason}"


def as_json(decision: Decision) -> str:
    """The decision for machines, on one line."""
    return json.dumps(
        {
            "decision": type(decision).__name__.lower(),
            "repo_id": decision.release.repo_id,
            "commit": decision.release.commit,
            "outcome": decision.outcome,
            "reason": decision.reason,
            "until": iso(decision.until) if isinstance(decision, Wait) else None,
        },
        ensure_ascii=False,
    )
