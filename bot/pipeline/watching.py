"""The watcher's loop, and a decision as a line."""

from __future__ import annotations

import json
from collections.abc import Callable

from bot.errors import UnreachableError
from bot.pipeline.models import Pipeline
from bot.pipeline.sources import machine
from bot.records import Decision
from bot.watch.feed import look

Seen = Callable[[Decision], None]


def once(pipeline: Pipeline, seen: Seen) -> None:
    """Tell every decision over the Hub's newest models."""
    for decision in look(pipeline.hub, pipeline.settings, machine(pipeline)):
        seen(decision)


def forever(pipeline: Pipeline, seen: Seen, minutes: int) -> None:
    """Look now and then every `minutes` minutes, until interrupted.

    An unreachable Hub is said and waited out; looks that were missed meanwhile become one.
    """
    from datetime import UTC, datetime

    from apscheduler.schedulers.blocking import BlockingScheduler

    def turn() -> None:
        try:
            once(pipeline, seen)
        except UnreachableError as error:
            pipeline.narrator.say(f"{error}")

    scheduler = BlockingScheduler(timezone=UTC)
    scheduler.add_job(
        turn,
        "interval",
        minutes=minutes,
        next_run_time=datetime.now(UTC),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
    )
    scheduler.start()


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
        },
        ensure_ascii=False,
    )
