"""The state of a watcher at a glance, for the table, the page and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.legible import legible, legible_block
from bot.progress import Step, step_of
from bot.settings.settings import Settings
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import OPEN, PAUSED, Event, QueuedRelease
from bot.store.sightings import Past, Sightings

HEARTBEAT = "heartbeat"
DEAD = 180.0  # seconds without a heartbeat after which a watcher is taken for dead
SHOWN = 100  # tasks and releases of a kind
LATEST = 30  # published releases and events
LOG = "log"  # name of the file in the folder of a build
WORDS = 4_000  # bytes of a log's end in which its last line is looked for
WINDOW = 300.0  # seconds of the request budget


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A release that waits, and when it is looked at again."""

    decision: Past
    look_at: float | None


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything that is shown. Times are POSIX seconds."""

    now: float
    heartbeat: float | None
    looked: float | None  # when the newest models were last read to the end
    trouble: str | None  # why the watcher is not well
    paused: str | None
    counts: dict[str, int]  # tasks by state
    waiting_counts: dict[str, int]  # releases by what they wait for
    tasks: tuple[QueuedRelease, ...]
    steps: dict[str, Step]  # what a running build last said, by its task
    published: tuple[QueuedRelease, ...]
    waiting: tuple[Waiting, ...]
    events: tuple[Event, ...]
    spent: dict[str, int]  # requests in the last five minutes
    allowed: dict[str, int]


def board(ledger: Ledger, settings: Settings, now: float) -> Board:
    """The state as of now."""
    queue, sightings = Queue(ledger), Sightings(ledger)
    beat, paused = ledger.remembered(HEARTBEAT), ledger.remembered(PAUSED)
    feed_names = {f"created:{owner}" for owner in settings.watch.owners} or {"created"}
    looks = [f.looked for f in sightings.feeds() if f.name in feed_names and f.looked]
    tasks = tuple(queue.tasks((*OPEN, "failed"), SHOWN))
    heartbeat, looked = beat[1] if beat else None, min(looks, default=None)
    return Board(
        now=now,
        heartbeat=heartbeat,
        looked=looked,
        trouble=_trouble(settings, heartbeat, looked, now),
        paused=paused[0] if paused else None,
        counts=queue.counts(),
        waiting_counts=sightings.counts(),
        tasks=tasks,
        steps={task.id: step for task in tasks if (step := _step(task)) is not None},
        published=tuple(queue.tasks(("published",), LATEST)),
        waiting=tuple(Waiting(decision=d, look_at=at) for d, at in sightings.waiting(SHOWN)),
        events=tuple(queue.events(LATEST)),
        spent=_spent(ledger, now),
        allowed=settings.watch.budget.model_dump(),
    )


def _trouble(
    settings: Settings, heartbeat: float | None, looked: float | None, now: float
) -> str | None:
    """Why alerting should say something, or None."""
    if heartbeat is None or now - heartbeat > DEAD:
        return "no watcher runs"
    late = max(3 * settings.watch.every_minutes * 60, 900)
    if looked is None or now - looked > late:
        return "the Hub was not read to the end for long"
    return None


def log_of(task: QueuedRelease) -> Path | None:
    """The log of a build on this machine; None where its link leads elsewhere."""
    path = Path(task.link or "")
    return path if path.name == LOG and path.is_absolute() and path.is_file() else None


def tail(path: Path, size: int) -> str:
    """The end of a file that may be gone or be written to, from its first whole line on, clean."""
    try:
        with path.open("rb") as file:
            start = file.seek(max(path.stat().st_size - size, 0))
            text = file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""
    return legible_block(text.partition("\n")[2] if start else text)


def _step(task: QueuedRelease) -> Step | None:
    path = log_of(task) if task.state == "running" else None
    lines = [line.strip() for line in tail(path, WORDS).splitlines()] if path else []
    last = next((line for line in reversed(lines) if line), None)
    return step_of(legible(last, 300)) if last else None


def _spent(ledger: Ledger, now: float) -> dict[str, int]:
    with ledger.reading() as db:
        rows = db.execute(
            "SELECT bucket, sum(requests) FROM spent WHERE slot * 10 > ? GROUP BY bucket",
            (now - WINDOW,),
        )
        return dict(rows.fetchall())
