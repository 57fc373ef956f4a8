"""SQLite: the file, its versions and copies, and finished work, keyed by all its inputs.

A step of a job is finished when its row names the same inputs and every file it made is still
there with the recorded content. Files are hashed once; later only size and time are looked at,
and the hash again when the time differs. Files of the working folder are named from there, so that
finished work can be known in another one, too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bot.errors import CapacityError, SettingsError
from bot.records import Built, digest
from bot.schema import MIGRATIONS, VERSION
from bot.workspace import inside, sha256, writing

_KEEP = "INSERT OR REPLACE INTO work (job, step, inputs, files, value) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A step that is done: its files, and what it returned."""

    files: tuple[Built, ...]
    value: Any


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file as a row names it."""

    path: str  # from the working folder where it lies in there, else absolute
    bytes: int
    changed: int  # time of its last change, ns
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Work:
    """A finished step: a row of the ledger, as other ledgers take it."""

    job: str
    step: str
    inputs: str  # digest
    files: tuple[Kept, ...]
    value: str  # JSON


class Ledger:
    """The ledger file. Every call is a transaction of its own; many processes may share it."""

    def __init__(
        self, path: Path, *, root: Path | None = None, shared_folder: bool = False
    ) -> None:
        """`root` is the working folder, the file's own unless given.

        `shared_folder`: the file lies on a network, where a write-ahead log cannot be.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._root = path, root or path.parent
        with self._open() as db:
            db.execute(f"PRAGMA journal_mode={'DELETE' if shared_folder else 'WAL'}")
            if self._version(db) < VERSION:
                db.execute("BEGIN IMMEDIATE")  # two that migrate at once: the second finds it done
                for statements in MIGRATIONS[self._version(db) :]:
                    for statement in _split(statements):
                        db.execute(statement)
                db.execute(f"PRAGMA user_version={VERSION}")
                db.execute("COMMIT")

    def _version(self, db: sqlite3.Connection) -> int:
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found > VERSION:
            raise SettingsError(f"{self.path} was made by a newer apex-bot; update this one")
        return found

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        except sqlite3.Error as error:
            raise SettingsError(f"{self.path} cannot be opened ({error}); mend workdir") from error
        try:
            db.row_factory = sqlite3.Row
            yield db
        except sqlite3.IntegrityError:
            raise  # ours, not the file's
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise CapacityError(
                    f"no space left for {self.path}; free some and run it again"
                ) from error
            raise SettingsError(f"{self.path} cannot be used ({error}); mend workdir") from error
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{self.path} is damaged ({error}); move it away") from error
        finally:
            db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent snapshot."""
        with self._open() as db:
            db.execute("BEGIN")
            yield db

    @contextmanager
    def writing(self, *, lazily: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing, one writer at a time over all processes.

        Lazily: may be forgotten when the machine loses power, not when the process dies.
        """
        with self._open() as db:
            if lazily:
                db.execute("PRAGMA synchronous=NORMAL")
            db.execute("BEGIN IMMEDIATE")
            yield db  # an exception closes the connection, which rolls back
            db.execute("COMMIT")

    def backup(self, target: Path) -> None:
        """A whole copy as of now, while others go on. Raises SettingsError if `target` exists."""
        if target.exists():
            raise SettingsError(f"{target} exists; name another file")
        with writing(target) as partial, self._open() as db:
            copy = sqlite3.connect(partial)
            try:
                db.backup(copy)
            finally:
                copy.close()

    def remember(self, name: str, value: str, at: float) -> None:
        """Keep a small value under a name."""
        with self.writing(lazily=True) as db:
            db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", (name, value, at))

    def remember_first(self, name: str, value: str, at: float, *, since: float) -> float | None:
        """Keep a value under a name where none is younger than `since`; None, or that one's time.

        Of any number of processes at once, one keeps its own. On disk for good when this returns.
        """
        with self.writing() as db:
            row = db.execute("SELECT at FROM remembered WHERE name=?", (name,)).fetchone()
            if row is not None and row["at"] > since:
                return float(row["at"])
            db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", (name, value, at))
        return None

    def remembered(self, name: str) -> tuple[str, float] | None:
        """The value under a name and when it was kept."""
        with self.reading() as db:
            row = db.execute("SELECT value, at FROM remembered WHERE name=?", (name,)).fetchone()
        return (row["value"], row["at"]) if row else None

    def forget(self, name: str) -> None:
        """Keep no value under a name."""
        with self.writing() as db:
            db.execute("DELETE FROM remembered WHERE name=?", (name,))

    def work(self) -> tuple[Work, ...]:
        """All finished work."""
        with self.reading() as db:
            rows = db.execute("SELECT * FROM work ORDER BY job, step").fetchall()
        return tuple(
            Work(
                job=row["job"],
                step=row["step"],
                inputs=row["inputs"],
                files=_kept(row["files"]),
                value=row["value"],
            )
            for row in rows
        )

    def take(self, works: Iterable[Work]) -> None:
        """Know finished work of another ledger too."""
        rows = [
            (one.job, one.step, one.inputs, json.dumps([*map(asdict, one.files)]), one.value)
            for one in works
        ]
        with self.writing() as db:
            db.executemany(_KEEP, rows)

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
        files = _kept(row[1])
        if files_too and not all(_holds(self._root / file.path, file) for file in files):
            return None
        return Finished(files=self._built(files), value=json.loads(row[2]))

    def record(
        self, job: str, step: str, inputs: Mapping[str, Any], paths: Sequence[Path], value: Any
    ) -> Finished:
        """Note a step as done; its files are hashed here."""
        files = tuple(_describe(path, self._root) for path in paths)
        told = json.dumps([*map(asdict, files)])
        with self._open() as db:
            db.execute(_KEEP, (job, step, digest(inputs), told, json.dumps(value)))
        return Finished(files=self._built(files), value=value)

    def _built(self, files: Iterable[Kept]) -> tuple[Built, ...]:
        return tuple(
            Built(path=str(self._root / f.path), bytes=f.bytes, sha256=f.sha256) for f in files
        )


def _split(script: str) -> Iterator[str]:
    """Statements one by one: sqlite3's own executescript would commit in between."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _kept(text: str) -> tuple[Kept, ...]:
    return tuple(Kept(**file) for file in json.loads(text))


def _describe(path: Path, root: Path) -> Kept:
    status = path.stat()
    return Kept(
        path=inside(root, path),
        bytes=status.st_size,
        changed=status.st_mtime_ns,
        sha256=sha256(path),
    )


def _holds(path: Path, file: Kept) -> bool:
    if not path.is_file():
        return False
    status = path.stat()
    if status.st_size != file.bytes:
        return False
    return bool(status.st_mtime_ns == file.changed or sha256(path) == file.sha256)
