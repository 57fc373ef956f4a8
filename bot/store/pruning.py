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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from sqlite3 import Connection
from types import MappingProxyType
from typing import Any

from bot.clock import iso
from bot.store.ledger import Ledger

PART = 2_000  # rows of one transaction
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
    take = _counted if dry_run else _deleted
    rows = {table: take(ledger, table, *_OLD[table], (before,)) for table in _OLD}
    rows["work"] = sum(
        take(ledger, "work", "rowid", "job = ?1 AND finished < ?2", (job, _time(before)))
        for job in _left_behind(ledger, before)
    )
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


def _counted(ledger: Ledger, table: str, key: str, old: str, given: tuple[Any, ...]) -> int:
    with ledger.reading() as db:
        query = f"SELECT count({key}) FROM {table} AS old WHERE {old}"  # noqa: S608 - ours
        return int(db.execute(query, given).fetchone()[0])


def _deleted(ledger: Ledger, table: str, key: str, old: str, given: tuple[Any, ...]) -> int:
    part = f"SELECT {key} FROM {table} AS old WHERE {old} LIMIT {PART}"  # noqa: S608 - ours
    deleted = 0
    while True:
        with ledger.writing(lazily=True) as db:
            query = f"DELETE FROM {table} WHERE {key} IN ({part})"  # noqa: S608 - ours
            rows = db.execute(query, given).rowcount
        deleted += rows
        if rows < PART:
            return deleted


def _left_behind(ledger: Ledger, before: float) -> list[str]:
    """Jobs that have old steps, and none of whose files is here."""
    with ledger.reading() as db:
        # + keeps SQLite from reading all rows in the order of their jobs
        query = "SELECT DISTINCT +job FROM work WHERE finished < ?"
        jobs = [str(row[0]) for row in db.execute(query, (_time(before),))]
        return [job for job in jobs if not any(map(ledger.holds, _files(db, job)))]


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
