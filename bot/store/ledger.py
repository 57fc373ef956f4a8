"""SQLite: the file, its versions and copies, and finished work, keyed by all its inputs.

A step of a job is finished when its row names the same inputs and every file it made is still
there with the recorded content. Files are hashed once; later only size and time are looked at,
and the hash once more when the time differs. What was made is noted before it is hashed: killed in
between, it is found again by size and time. A row that is damaged is none. Files of the
working folder are named from there, so that finished work can be known in another one, too.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bot import rights
from bot.disk.hashes import sha256
from bot.disk.paths import inside
from bot.disk.space import free_disk, require_free
from bot.disk.writing import writing
from bot.errors import BotError, BusyError, CapacityError, SettingsError
from bot.records.built import Built
from bot.records.coding import digest
from bot.store.schema import MIGRATIONS, VERSION

_KEEP = "INSERT OR REPLACE INTO work (job, step, inputs, files, value) VALUES (?, ?, ?, ?, ?)"
WORTH = 0.01  # of the rows that are left: less room is not given back
SCANT = 1 << 20  # bytes free where SQLite's words for a file it cannot write mean a full disk


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A step that is done: its files, and what it returned."""

    files: tuple[Built, ...]
    value: Any


@dataclass(frozen=True, kw_only=True)
class RecordedFile:
    """A file as a row names it."""

    path: str  # from the working folder where it lies in there, else absolute
    bytes: int
    changed: int  # time of its last change, ns
    sha256: str  # empty for what is made and not hashed yet


@dataclass(frozen=True, kw_only=True)
class Work:
    """A finished step: a row of the ledger, as other ledgers take it."""

    job: str
    step: str
    inputs: str  # digest
    files: tuple[RecordedFile, ...]
    value: str  # JSON


class Ledger:
    """The ledger file. Every call is a transaction of its own; many processes may share it."""

    def __init__(
        self, path: Path, *, root: Path | None = None, shared_folder: bool = False
    ) -> None:
        """`root` is the working folder, the file's own unless given.

        `shared_folder`: the file lies on a network, where a write-ahead log cannot be.
        """
        self.path, self._root = path, root or path.parent
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"{path.parent} cannot be made ({error.strerror}); mend workdir"
            ) from error
        with suppress(OSError):  # SQLite itself says what is wrong
            rights.private(path)  # its -wal and -shm get the same rights
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
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise SettingsError(f"{self.path} was made by a newer apex-bot; update this one")
        return version

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            db.row_factory = sqlite3.Row
            yield db
        except sqlite3.IntegrityError:
            raise  # ours, not the file's
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{self.path} is damaged ({error}); move it away") from error
        finally:
            db.close()

    def _unusable(self, error: sqlite3.Error) -> BotError:
        """What keeps SQLite from its file, by the kind of its error (sqlite.org/rescode.html)."""
        kind = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        opening = kind in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if kind == sqlite3.SQLITE_FULL or (opening and _is_full(self.path)):
            return CapacityError(f"no space left for {self.path}; free some and run it again")
        if kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM):
            return CapacityError(
                f"no space left for {self.path}, or its disk fails ({error}); free some or mend "
                "the disk, and run it again"
            )
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return BusyError(f"{self.path} is held by another program ({error}); run it again")
        return SettingsError(f"{self.path} cannot be used ({error}); mend workdir")

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
        """A whole copy as of now, one file, while others go on; it has its name once it is sound.

        Raises SettingsError if `target` exists or the ledger is damaged, CapacityError where the
        disk does not hold it.
        """
        if target.exists():
            raise SettingsError(f"{target} exists; name another file")
        with writing(target) as partial, self._open() as db:
            require_free(partial.parent, _pages(db, "page_count"), 0)
            copy = sqlite3.connect(partial)
            try:
                db.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # no log has to lie beside it
                (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
            finally:
                copy.close()
            if found != "ok":
                partial.unlink()
                raise SettingsError(
                    f"{self.path} is damaged ({found}); put an earlier copy in its place"
                )

    def compact(self) -> None:
        """Give the room of deleted rows back to the disk; others read on, and wait to write.

        By VACUUM, which writes all that is left anew, in order: first into a temporary file, then
        into the ledger's log (https://www.sqlite.org/lang_vacuum.html). Giving back page by page
        (auto_vacuum) would take a map of all pages in every ledger and scatter rows, for room that
        new rows fill anyway. Nothing is done for less than `WORTH` of it.
        Raises CapacityError where the disks do not hold both, and BusyError while others write.
        """
        with self._open() as db:
            free = _pages(db, "freelist_count")
            left = _pages(db, "page_count") - free
            if free < WORTH * left:
                return
            folder, temporary = self.path.parent, _temporary_folder()
            is_same_disk = folder.stat().st_dev == temporary.stat().st_dev
            require_free(folder, 2 * left if is_same_disk else left, 0)
            require_free(temporary, left, 0)
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

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

    def work(self, job: str | None = None) -> tuple[Work, ...]:
        """All finished work, or that of a job."""
        of_one = ("WHERE job = ?", (job,)) if job is not None else ("", ())
        with self.reading() as db:
            rows = db.execute(
                f"SELECT * FROM work {of_one[0]} ORDER BY job, step",  # noqa: S608 - ours
                of_one[1],
            ).fetchall()
        parsed = ((row, _read(row["files"], row["value"])) for row in rows)
        return tuple(
            Work(
                job=row["job"],
                step=row["step"],
                inputs=row["inputs"],
                files=content[0],
                value=row["value"],
            )
            for row, content in parsed
            if content is not None and all(file.sha256 for file in content[0])
        )

    def values(self, job: str, latest: int) -> tuple[Any, ...]:
        """The JSON values of a job's latest finished steps, newest first; without damaged rows."""
        # + keeps SQLite from reading all steps of the job to sort them
        query = (
            "SELECT files, value FROM work WHERE +job=? ORDER BY finished DESC, rowid DESC LIMIT ?"
        )
        with self.reading() as db:
            rows = db.execute(query, (job, latest)).fetchall()
        parsed = (_read(row["files"], row["value"]) for row in rows)
        return tuple(content[1] for content in parsed if content is not None)

    def take(self, works: Iterable[Work]) -> None:
        """Know finished work of another ledger too."""
        rows = [
            (work.job, work.step, work.inputs, json.dumps([*map(asdict, work.files)]), work.value)
            for work in works
        ]
        with self.writing() as db:
            db.executemany(_KEEP, rows)

    def finished(
        self,
        job: str,
        step: str,
        inputs: Mapping[str, Any],
        *,
        files_too: bool = True,
        shape: Any = None,
    ) -> Finished | None:
        """The step's outcome if it was done with these inputs and its files still hold.

        With `files_too` false the value is enough, wherever the files are now. A value that does
        not have the type `shape` is damaged: such a row is none.
        """
        with self._open() as db:
            row = db.execute(
                "SELECT inputs, files, value FROM work WHERE job=? AND step=?", (job, step)
            ).fetchone()
        content = _read(row[1], row[2]) if row is not None else None
        if content is None or row[0] != digest(inputs):
            return None
        files, value = content
        if shape is not None and not _has_shape(value, shape):
            return None
        if files_too or not all(file.sha256 for file in files):
            held = tuple(_held(self._root / file.path, file) for file in files)
            if None in held:
                return None
            now = tuple(file for file in held if file is not None)
            if now != files:  # hashed just now: not again at the next look
                self._keep([(job, step, inputs, now, value)])
            files = now
        return Finished(files=self._built(files), value=value)

    def record(
        self, job: str, step: str, inputs: Mapping[str, Any], paths: Sequence[Path], value: Any
    ) -> Finished:
        """Note a step as done; its files are hashed here, which may take long.

        The step counts as done from the beginning of that: whoever is killed meanwhile finds the
        files again, and hashes them.
        """
        if paths:
            unhashed = tuple(_unhashed(path, self._root) for path in paths)
            self._keep([(job, step, inputs, unhashed, value)])
        files = tuple(_describe(path, self._root) for path in paths)
        self._keep([(job, step, inputs, files, value)])
        return Finished(files=self._built(files), value=value)

    def made(
        self,
        job: str,
        steps: Iterable[tuple[str, Mapping[str, Any], Sequence[Built]]],
    ) -> None:
        """Note all steps, with their inputs and files, as done; their hashes are known."""
        self._keep(
            (
                job,
                step,
                inputs,
                tuple(replace(_unhashed(Path(f.path), self._root), sha256=f.sha256) for f in files),
                None,
            )
            for step, inputs, files in steps
        )

    def holds(self, path: str) -> bool:
        """Whether something is where a row says that a file is."""
        return (self._root / path).exists()

    def _keep(
        self, rows: Iterable[tuple[str, str, Mapping[str, Any], Sequence[RecordedFile], Any]]
    ) -> None:
        encoded = [
            (job, step, digest(inputs), json.dumps([*map(asdict, files)]), json.dumps(value))
            for job, step, inputs, files, value in rows
        ]
        with self.writing() as db:
            db.executemany(_KEEP, encoded)

    def _built(self, files: Iterable[RecordedFile]) -> tuple[Built, ...]:
        return tuple(
            Built(path=str(self._root / f.path), bytes=f.bytes, sha256=f.sha256) for f in files
        )


def _temporary_folder() -> Path:
    """Where SQLite puts temporary files: https://www.sqlite.org/tempfiles.html, section 5."""
    named = (os.environ.get(name, "") for name in ("SQLITE_TMPDIR", "TMPDIR"))
    folders = (*named, "/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - they are SQLite's
    usable = (f for f in folders if f and os.access(f, os.W_OK | os.X_OK) and Path(f).is_dir())
    return Path(next(usable, "."))


def _pages(db: sqlite3.Connection, which: str) -> int:
    """Bytes of a file's pages: all (page_count), or those that hold nothing (freelist_count)."""
    pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in (which, "page_size"))
    return int(pages) * int(size)


def _split(script: str) -> Iterator[str]:
    """Statements one by one: sqlite3's own executescript would commit in between."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _read(files: str, value: str) -> tuple[tuple[RecordedFile, ...], Any] | None:
    """Files and value of a row; None for a damaged one, whose step is done again."""
    try:
        row_files = tuple(RecordedFile(**file) for file in json.loads(files))
        well_typed = all(
            (type(f.path), type(f.bytes), type(f.changed), type(f.sha256)) == (str, int, int, str)
            for f in row_files
        )
        return (row_files, json.loads(value)) if well_typed else None
    except (ValueError, TypeError, RecursionError):
        return None


def _has_shape(value: Any, shape: Any) -> bool:
    """Whether a value of JSON is one of a type."""
    try:
        TypeAdapter(shape).validate_python(value)
    except ValueError:  # pydantic's own is one
        return False
    return True


def _unhashed(path: Path, root: Path) -> RecordedFile:
    status = path.stat()
    return RecordedFile(
        path=inside(root, path), bytes=status.st_size, changed=status.st_mtime_ns, sha256=""
    )


def _describe(path: Path, root: Path) -> RecordedFile:
    return replace(_unhashed(path, root), sha256=sha256(path))


def _held(path: Path, file: RecordedFile) -> RecordedFile | None:
    """A file as it is now where it still holds what it held; hashed where that is not known."""
    if not path.is_file():
        return None
    status = path.stat()
    if status.st_size != file.bytes:
        return None
    same_time = status.st_mtime_ns == file.changed
    if file.sha256 and same_time:
        return file
    if not file.sha256:
        return replace(file, sha256=sha256(path)) if same_time else None
    same = sha256(path) == file.sha256
    return replace(file, changed=status.st_mtime_ns) if same else None


def _is_full(path: Path) -> bool:
    try:
        return free_disk(path) < SCANT
    except OSError:
        return False
