"""Ledgers as earlier versions left them: a row of every kind that their tables knew."""

from __future__ import annotations

import json
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.records.coding import digest
from bot.store.ledger import Ledger, RecordedFile, Work
from bot.store.queue import Queue
from bot.store.queue_tables import Event, QueuedRelease
from bot.store.schema import MIGRATIONS
from bot.store.sightings import Feed, Past, Sighting, Sightings

NOW = 1_790_000_000.0
INPUTS = {"source": "abc", "chunks": 3}
FACTS = {"listed": {"created_at": "2026-01-01T00:00:00Z"}}
STEP = Work(
    job="job", step="quantize I-Mini", inputs=digest(INPUTS), value="35.9",
    files=(RecordedFile(path="jobs/a/file.gguf", bytes=11, changed=5, sha256="f" * 64),),
)  # fmt: skip
SEEN = (
    Sighting(repo="lab/Dense", commit="a" * 40, kind="skip", outcome="not_moe", weights=None,
             weights_at=None, look_at=None, first_seen=NOW),
    Sighting(repo="lab/Empty", commit="b" * 40, kind="wait", outcome="no_weights_yet", weights=None,
             weights_at=None, look_at=NOW + 9, first_seen=NOW),
    Sighting(repo="lab/Model", commit="c" * 40, kind="build", outcome="eligible", weights="w" * 64,
             weights_at=NOW - 5, look_at=NOW + 99, first_seen=NOW),
    Sighting(repo="lab/Resting", commit="d" * 40, kind="wait", outcome="settling", weights=None,
             weights_at=None, look_at=None, first_seen=NOW),
)  # fmt: skip
DECIDED = tuple(
    Past(id=number, repo=seen.repo, commit=seen.commit, at=NOW + number, kind=seen.kind,
         outcome=seen.outcome, reason=f"because of {number}", until=None)
    for number, seen in enumerate(SEEN, 1)
)  # fmt: skip
TASK = QueuedRelease(
    id="0123456789abcdef", repo="lab/Model", commit="c" * 40, weights="w" * 64, tiers=("I-Mini",),
    reason="8 experts", state="published", attempts=2, due=NOW, error=None, link="/runs/log",
    created=NOW, changed=NOW + 7,
)  # fmt: skip
LATER: dict[int, dict[str, Any]] = {  # what tasks came to hold with a version
    3: {"page": "https://hub/apex/Model"},
    5: {"look": "busy", "faults": 1},
    6: {"texts": {"config.json": "e" * 40}},
    7: {"stale": "its template was wrong"},
}
EVENT = Event(id=1, at=NOW + 7, kind="published", repo="lab/Model", text="attempt 2", link=None)
FEED = Feed(name="created", mark=NOW, etag="x", looked=NOW + 1)


def old_ledger(path: Path, version: int) -> None:
    """A ledger of a version from 1, with rows; with -wal and -shm put away."""
    with sqlite3.connect(path) as db:
        for statements in MIGRATIONS[:version]:
            db.executescript(statements)
        db.execute(f"PRAGMA user_version={version}")
        files = [vars(file) for file in STEP.files]
        row = (STEP.job, STEP.step, STEP.inputs, json.dumps(files), STEP.value)
        db.execute("INSERT INTO work (job, step, inputs, files, value) VALUES (?, ?, ?, ?, ?)", row)
        if version > 1:
            _watched(db, task_of_version(version))
    db.close()


def task_of_version(version: int) -> QueuedRelease:
    """The task as a version held it."""
    known = [values for since, values in LATER.items() if since <= version]
    return replace(TASK, **{name: value for values in known for name, value in values.items()})


def _watched(db: sqlite3.Connection, task: QueuedRelease) -> None:
    packed = zlib.compress(json.dumps(FACTS).encode())
    for seen in SEEN:
        _insert(db, "releases", {**_row(seen), "commit_id": seen.commit})
    for past in DECIDED:
        _insert(db, "decisions", {**_row(past), "commit_id": past.commit, "facts": packed})
    values = {**_row(task), "commit_id": task.commit, "tiers": json.dumps(task.tiers)}
    values["texts"] = json.dumps(task.texts) if task.texts else None
    _insert(db, "tasks", values)
    _insert(db, "events", _row(EVENT))
    _insert(db, "feeds", _row(FEED))
    _insert(db, "ignored", {"repo": "lab/Bad", "because": "a person said so", "at": NOW})
    _insert(db, "remembered", {"name": "paused", "value": "the disk", "at": NOW})
    _insert(db, "schedule", {"name": "look", "next": NOW + 60})


def _row(record: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name != "commit"}


def _insert(db: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    """What the table has a column for; a column that it lacks must be of a later version."""
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    names = [name for name in values if name in columns]
    assert not {name for name in values if values[name]} - {*columns}
    marks = ", ".join("?" * len(names))
    sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - ours
    db.execute(sql, [values[name] for name in names])


def all_read(ledger: Ledger) -> dict[str, Any]:
    """All that is read of a ledger."""
    queue, sightings = Queue(ledger), Sightings(ledger)
    memory = queue.memory("lab/Bad", "c" * 40, None)
    return {
        "work": ledger.work(),
        "seen": sorted(sightings.known([s.repo for s in SEEN]).values(), key=lambda s: s.repo),
        "decided": [past for seen in SEEN for past in sightings.history(seen.repo)],
        "facts": [sightings.facts(past.id) for past in sightings.since(0)],
        "waiting": [past.repo for past, _ in sightings.waiting(9)],
        "counts": sightings.counts(),
        "due": [sighting.repo for sighting in sightings.due(NOW + 50, 9)],
        "tasks": queue.tasks(("published",)),
        "events": queue.events(9, "lab/Model"),
        "feeds": sightings.feeds(),
        "memory": (memory.ignored, memory.same, memory.same_created),
        "paused": ledger.remembered("paused"),
    }


def expected(version: int) -> dict[str, Any]:
    """What `all_read` must say of a ledger that was made by a version."""
    watched = version > 1
    task = task_of_version(version)
    created = FACTS["listed"]["created_at"]
    return {
        "work": (STEP,),
        "seen": list(SEEN) if watched else [],
        "decided": list(DECIDED) if watched else [],
        "facts": [FACTS] * 4 if watched else [],
        "waiting": ["lab/Resting", "lab/Empty"] if watched else [],
        "counts": {"no_weights_yet": 1, "settling": 1} if watched else {},
        "due": ["lab/Empty"] if watched else [],
        "tasks": [task] if watched else [],
        "events": [EVENT] if watched else [],
        "feeds": [FEED] if watched else [],
        "memory": ("a person said so", task, created) if watched else (None, None, None),
        "paused": ("the disk", NOW) if watched else None,
    }
