"""What a ledger of months need not hold any more, and giving its room back to the disk.

Of what is older than a time these go, a part at a time, so that others may write in between:

    decisions  that a later one replaced; of what was skipped and has no task, the last one too
    releases   that are gone from the Hub, given up, and have no task
    events     all
    notes      about runs on GitHub, which are over
    work       steps whose job has none of its files here any more; measures and paces, which are
               of no job, have none, and what they measured stands in the release's results

What keeps a release from being built twice never goes: tasks with their commits and weights,
`ignored`, every release that the Hub still has, and the last decision about what has a task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from types import MappingProxyType
from typing import Any

from bot.clock import iso
from bot.store.ledger import Ledger

PART = 1_000  # rows of one transaction
# which rows are old at ?1
_DECISIONS = """at < ?1 AND (
    kind = 'skip' AND NOT EXISTS (SELECT 1 FROM tasks WHERE repo = old.repo)
    OR EXISTS (SELECT 1 FROM decisions AS later WHERE later.repo = old.repo AND later.id > old.id)
)"""
_RELEASES = """outcome = 'gone' AND kind = 'skip' AND decided < ?1
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE repo = old.repo)"""
_NOTES = """at < ?1
    AND (name GLOB 'ordered:*' OR name GLOB 'cancelled:*' OR name GLOB 'stalled:*')"""
_OLD: Mapping[str, tuple[str, str]] = MappingProxyType(  # by table; the column that names a row
    {
        "decisions": ("id", _DECISIONS),
        "releases": ("repo", _RELEASES),
        "events": ("id", "at < ?1"),
        "remembered": ("name", _NOTES),
        "work": ("rowid", "finished < ?1"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Rows that went, or in a dry run would, and bytes of the file before and after."""

    decisions: int
    releases: int
    events: int
    notes: int
    work: int
    bytes_before: int
    bytes_after: int  # of a dry run: as it is


def prune(ledger: Ledger, before: float, *, dry_run: bool = False, compact: bool = False) -> Pruned:
    """Forget what is older than `before`, POSIX seconds.

    The room stays the file's, for what comes next, unless `compact`: see `Ledger.compact`.
    """
    size = ledger.path.stat().st_size
    rows = {}
    for table, (key, condition) in _OLD.items():
        at: float | str = _time(before) if table == "work" else before
        keys = _left_behind(ledger, at) if table == "work" else _old(ledger, table, at)
        rows[table] = len(keys) if dry_run else _deleted(ledger, table, key, condition, at, keys)
    if compact and not dry_run:
        ledger.compact()
    return Pruned(
        decisions=rows["decisions"],
        releases=rows["releases"],
        events=rows["events"],
        notes=rows["remembered"],
        work=rows["work"],
        bytes_before=size,
        bytes_after=ledger.path.stat().st_size,
    )


def _old(ledger: Ledger, table: str, at: float | str) -> list[Any]:
    """Keys of rows that are old."""
    key, condition = _OLD[table]
    with ledger.reading() as db:
        query = f"SELECT {key} FROM {table} AS old WHERE {condition}"  # noqa: S608 - ours
        return [row[0] for row in db.execute(query, (at,))]


def _left_behind(ledger: Ledger, at: float | str) -> list[Any]:
    """Old steps, by rowid, of jobs none of whose files is here."""
    by_job: dict[str, list[int]] = {}
    with ledger.reading() as db:
        for row in db.execute("SELECT rowid, job FROM work WHERE finished < ?", (at,)):
            by_job.setdefault(row["job"], []).append(row["rowid"])
        gone = [job for job in by_job if not any(map(ledger.holds, _files(db, job)))]
    return [rowid for job in gone for rowid in by_job[job]]


def _deleted(
    ledger: Ledger, table: str, key: str, condition: str, at: float | str, keys: Sequence[Any]
) -> int:
    """Delete rows that are old, and still are when their part comes to its turn; how many."""
    deleted = 0
    for start in range(0, len(keys), PART):
        part = keys[start : start + PART]
        marks = ",".join("?" * len(part))
        query = f"DELETE FROM {table} AS old WHERE {condition} AND {key} IN ({marks})"  # noqa: S608
        with ledger.writing(lazily=True) as db:
            deleted += db.execute(query, (at, *part)).rowcount
    return deleted


def _files(db: Connection, job: str) -> Iterator[str]:
    """Paths that a job's steps name; of a damaged row none."""
    query = "SELECT files FROM work WHERE job = ? AND files <> '[]'"
    for row in db.execute(query, (job,)):
        try:
            yield from (str(file["path"]) for file in json.loads(row["files"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue


def _time(at: float) -> str:
    """A time as `finished` has it."""
    return str(iso(at))
