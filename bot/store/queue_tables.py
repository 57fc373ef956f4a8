"""The queue's tables: their rows as records, and the statements that read and change them.

All but the records take the connection of a transaction that the caller holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Any

from bot.errors import SettingsError
from bot.legible import legible
from bot.records.coding import digest
from bot.store.sightings import Decided, created_of, opened

OPEN = ("asked", "queued", "starting", "running")  # states of what is not over
LARGEST = 10**18  # bytes of weights that are told apart: SQLite's integers end at 2^63
PAUSED = "paused"  # name in the ledger's memory, with the reason as its value


@dataclass(frozen=True, kw_only=True)
class QueuedRelease:
    """A release at one commit that shall be built."""

    id: str
    repo: str
    commit: str
    weights: str
    tiers: tuple[str, ...]
    reason: str
    state: str
    attempts: int
    due: float
    error: str | None
    link: str | None
    created: float
    changed: float
    page: str | None = None  # of the published repository, where its run told
    faults: int = 0  # attempts that failed for a reason of its own
    look: str | None = None  # whose end its next start asks for: a person's, another bot's ("busy")
    texts: Mapping[str, str] | None = None  # hashes beside the weights, by path; None: not known
    stale: str | None = None  # what is known to be wrong with what was published
    bytes: int | None = (
        None  # of the weights that it is built from; None for a task of an older bot
    )


@dataclass(frozen=True, kw_only=True)
class Order:
    """How many builds may begin, and which first; see `Queue.claim`."""

    at_once: int
    per_hour: int
    hours_per_tb: float
    small_gb: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the queue knows that bears on a release."""

    ignored: str | None = None  # because of what
    same: QueuedRelease | None = None  # of the same commit or weights under another name
    same_created: str | None = None  # when that repository was made, ISO 8601, UTC
    own: QueuedRelease | None = None  # the latest of this repository


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that people may want to hear of."""

    id: int
    at: float
    kind: str
    repo: str | None
    text: str
    link: str | None


def is_original(created: str | None, twin: QueuedRelease, twin_created: str | None) -> bool:
    """Whether a repository goes before its twin, each with the time at which it was made.

    The older one does, unless work on the other has begun. Times are ISO 8601 in UTC.
    """
    return twin.state in ("asked", "queued") and bool(
        created and twin_created and created < twin_created
    )


def insert_task(
    db: Connection, decided: Decided, tiers: Sequence[str], state: str, now: float
) -> str:
    """Add the task of a decision to build, due now; its id, which follows from name and commit."""
    task_id = digest([decided.repo, decided.commit])[:16]
    size = None if decided.bytes is None else min(decided.bytes, LARGEST)
    db.execute(
        "INSERT INTO tasks (id, repo, commit_id, weights, tiers, reason, state, due,"
        " created, changed, texts, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            task_id, decided.repo, decided.commit, decided.weights, json.dumps(list(tiers)),
            decided.reason, state, now, now, now, json.dumps(dict(decided.texts)), size,
        ),
    )  # fmt: skip
    return task_id


def twin_of(db: Connection, repo: str, commit: str, weights: str | None) -> Row | None:
    """The task of a commit or weights under another name; one that failed blocks nobody."""
    row: Row | None = db.execute(
        "SELECT * FROM tasks WHERE (commit_id = ? OR weights = ?) AND repo <> ?"
        " AND state NOT IN ('failed', 'ignored') ORDER BY created LIMIT 1",
        (commit, weights, repo),
    ).fetchone()
    return row


def created_at_of(db: Connection, repo: str) -> str | None:
    """When a repository was made, by the latest decision about it."""
    row = db.execute(
        "SELECT facts FROM decisions WHERE repo = ? ORDER BY id DESC LIMIT 1", (repo,)
    ).fetchone()
    try:
        return created_of(opened(row["facts"])) if row else None
    except SettingsError:  # it is not known, which keeps what is queued
        return None


def write_event(
    db: Connection, now: float, kind: str, repo: str | None, text: str, link: str | None = None
) -> None:
    """Keep an event within a transaction."""
    db.execute(
        "INSERT INTO events (at, kind, repo, text, link) VALUES (?, ?, ?, ?, ?)",
        (now, kind, repo, legible(text), link),
    )


def change_state(
    db: Connection,
    task: str,
    before: str,
    after: str,
    now: float,
    *,
    due: float | None = None,
    error: str | None = None,
    link: str | None = None,
    page: str | None = None,
) -> bool:
    """From one state to another; False when somebody else changed it meanwhile."""
    return bool(
        db.execute(
            "UPDATE tasks SET state = ?, changed = ?, lease = NULL, due = coalesce(?, due),"
            " error = coalesce(?, error), link = coalesce(?, link), page = coalesce(?, page),"
            " look = CASE WHEN ?1 IN ('running', 'starting') THEN look END"
            " WHERE id = ? AND state = ?",
            (after, now, due, error and legible(error), link, page, task, before),
        ).rowcount
    )


def reset_attempts(db: Connection, task: str, now: float) -> None:
    """Count attempts and failures of a task from nothing."""
    db.execute(
        "UPDATE tasks SET attempts = 0, faults = 0, error = NULL, created = ? WHERE id = ?",
        (now, task),
    )


def uncount_attempt(db: Connection, task: QueuedRelease, now: float, look: str) -> None:
    """Take back an attempt that turned out to be a look and built nothing.

    Executors know an attempt by its number and `created`: the next gets another time.
    """
    db.execute(
        "UPDATE tasks SET attempts = attempts - 1, created = ?, look = ? WHERE id = ?",
        (now, look, task.id),
    )
    db.execute(
        "UPDATE events SET kind = 'looked' WHERE id = (SELECT max(id) FROM events"
        " WHERE repo = ? AND kind = 'started')",
        (task.repo,),
    )


def next_build(db: Connection, now: float, order: Order) -> Row | None:
    """The queued task whose turn it is, if the limits let another build begin."""
    limits = {
        "now": now,
        "small": order.small_gb * 1e9,
        "second": order.hours_per_tb * 3600 / 1e12,  # for each byte
    }
    building = "state IN ('starting', 'running') AND look IS NOT 'person'"
    busy, large = db.execute(
        f"SELECT count(*), count(*) FILTER (WHERE bytes > :small) FROM tasks WHERE {building}",  # noqa: S608 - ours
        limits,
    ).fetchone()
    if busy >= order.at_once:
        return None
    recent = _count(db, "SELECT count(*) FROM events WHERE kind = 'started' AND at > ?", now - 3600)
    kept = order.small_gb > 0 and large >= order.at_once - 1 > 0
    row: Row | None = db.execute(
        # a size that is not known counts as none
        "SELECT *, coalesce(bytes, 0) AS size, due + coalesce(bytes, 0) * :second AS place"
        " FROM tasks WHERE state = 'queued' AND due <= :now AND look IS NOT 'person'"
        " AND (look = 'busy' OR NOT :looks_only)"
        " AND (size <= :small OR place <= :now OR NOT :kept) ORDER BY place, created LIMIT 1",
        limits | {"looks_only": recent >= order.per_hour, "kept": kept},
    ).fetchone()
    return row


def next_look(db: Connection, now: float) -> Row | None:
    """A task that waits for a person, unless another is looked at now."""
    if _count(
        db,
        "SELECT count(*) FROM tasks WHERE state IN ('starting', 'running') AND look = 'person'",
    ):
        return None
    row: Row | None = db.execute(
        "SELECT * FROM tasks WHERE state = 'queued' AND due <= ? AND look = 'person'"
        " ORDER BY due, created LIMIT 1",
        (now,),
    ).fetchone()
    return row


def is_paused(db: Connection) -> bool:
    row = db.execute("SELECT 1 FROM remembered WHERE name = ?", (PAUSED,)).fetchone()
    return row is not None


def _count(db: Connection, question: str, *parameters: float) -> int:
    return int(db.execute(question, parameters).fetchone()[0])


def task_by_id(db: Connection, task: str) -> QueuedRelease:
    return task_of(db.execute("SELECT * FROM tasks WHERE id = ?", (task,)).fetchone())


def task_of(row: Row) -> QueuedRelease:
    return QueuedRelease(
        id=row["id"],
        repo=row["repo"],
        commit=row["commit_id"],
        weights=row["weights"],
        tiers=_tiers(row),
        reason=row["reason"],
        state=row["state"],
        attempts=row["attempts"],
        due=row["due"],
        error=row["error"],
        link=row["link"],
        created=row["created"],
        changed=row["changed"],
        page=row["page"],
        faults=row["faults"],
        look=row["look"],
        texts=_texts(row),
        stale=row["stale"],
        bytes=row["bytes"],
    )


def _tiers(row: Row) -> tuple[str, ...]:
    tiers = _loaded(row["tiers"])
    if not isinstance(tiers, list) or not all(isinstance(tier, str) for tier in tiers):
        raise _damaged(row)
    return tuple(tiers)


def _texts(row: Row) -> dict[str, str] | None:
    """None for a task of an older bot."""
    if row["texts"] is None:
        return None
    texts = _loaded(row["texts"])
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise _damaged(row)
    return texts or None


def _loaded(text: Any) -> Any:
    """A value of JSON; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def _damaged(row: Row) -> SettingsError:
    return SettingsError(
        f"the ledger's task of {row['repo']} is damaged; put a copy of the ledger in its place "
        "(`bot db backup` makes one)"
    )


def event_of(row: Row) -> Event:
    return Event(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        repo=row["repo"],
        text=row["text"],
        link=row["link"],
    )
