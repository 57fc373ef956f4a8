"""SQLite: finished work, keyed by all its inputs.

A step of a job is finished when its row names the same inputs and every file it made is still
there with the recorded content. Files are hashed once; later only size and time are looked at,
and the hash again when the time differs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.errors import SettingsError
from bot.records import Built, digest
from bot.workspace import sha256

VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS work (
    job TEXT NOT NULL,
    step TEXT NOT NULL,
    inputs TEXT NOT NULL,      -- digest of all that decided the outcome
    files TEXT NOT NULL,       -- JSON: [{path, bytes, sha256, changed}]
    value TEXT NOT NULL,       -- JSON: what the step returned
    finished TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    PRIMARY KEY (job, step)
) STRICT;
"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A step that is done: its files, and what it returned."""

    files: tuple[Built, ...]
    value: Any


class Ledger:
    """The ledger file. Every call is a transaction of its own; many processes may share it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise SettingsError(f"{path} was made by a newer apex-bot; update this one")
            db.executescript(SCHEMA)
            db.execute(f"PRAGMA user_version={VERSION}")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        except sqlite3.Error as error:
            raise SettingsError(f"{self._path} cannot be opened ({error}); mend workdir") from error
        try:
            yield db
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{self._path} is damaged ({error}); move it away") from error
        finally:
            db.close()

    def finished(
        self, job: str, step: str, inputs: Mapping[str, Any], *, files_too: bool = True
    ) -> Finished | None:
        """The step's outcome if it was done with these inputs and its files still hold.

        With `files_too` false the value is enough, wherever the files are now.
        """
        with self._open() as db:
            row = db.execute(
                "SELECT inputs, files, value FROM work WHERE job=? AND step=?", (job, step)
            ).fetchone()
        if row is None or row[0] != digest(inputs):
            return None
        files = json.loads(row[1])
        if files_too and not all(_holds(file) for file in files):
            return None
        built = tuple(Built(path=f["path"], bytes=f["bytes"], sha256=f["sha256"]) for f in files)
        return Finished(files=built, value=json.loads(row[2]))

    def record(
        self, job: str, step: str, inputs: Mapping[str, Any], paths: Sequence[Path], value: Any
    ) -> Finished:
        """Note a step as done; its files are hashed here."""
        files = [_describe(path) for path in paths]
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO work (job, step, inputs, files, value)"
                " VALUES (?, ?, ?, ?, ?)",
                (job, step, digest(inputs), json.dumps(files), json.dumps(value)),
            )
        built = tuple(Built(path=f["path"], bytes=f["bytes"], sha256=f["sha256"]) for f in files)
        return Finished(files=built, value=value)


def _describe(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "path": str(path),
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
        "sha256": sha256(path),
    }


def _holds(file: Mapping[str, Any]) -> bool:
    path = Path(file["path"])
    if not path.is_file():
        return False
    status = path.stat()
    if status.st_size != file["bytes"]:
        return False
    return bool(status.st_mtime_ns == file["changed"] or sha256(path) == file["sha256"])
