"""Data sets that tasks of the harness name, as folders on this machine, held to bot.lock.

A data set lies where settings say, in the folder `data_from`, or on the Hub: then its files are
fetched at the commit that settings or the lock name, or at the newest one at its first use. What it
was then stands in bot.lock as a whole, under `datasets/ORG/NAME/`; every later use is held to that.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NoReturn

import yaml

from bot.disk.hashes import sha256
from bot.disk.locks import alone
from bot.disk.paths import require_safe
from bot.disk.space import require_free
from bot.errors import SettingsError
from bot.foreign import read_bounded
from bot.kit.lock import LockedFile, add_to_lock, lock_key, read_lock
from bot.legible import legible
from bot.progress import Report
from bot.records.coding import digest
from bot.records.measured import BenchmarkData
from bot.records.releases import RepoFile
from bot.workplace.workplace import Workplace

# what a data set is made of; code that a repository brings is not even fetched
TABLES = {".parquet", ".arrow", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt"}
PACKED = {".gz", ".zip", ".zst", ".xz", ".bz2"}
DATA = frozenset({*TABLES, *PACKED, ".md", ".yaml", ".yml"})
LARGEST = 4 << 30  # bytes of a data set from a Hub
LARGEST_CARD = 1 << 16  # bytes of a data set's eval.yaml
MOST_FILES = 10_000  # of a folder of tasks or data


class DataFolders:
    """Data sets by their names on a Hub, each looked at once."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self._asked_for = workplace.settings.evaluation.benchmarks
        self._known: dict[str, tuple[BenchmarkData, Path, str]] = {}

    def of(self, name: str) -> tuple[BenchmarkData, Path]:
        """What a data set is, and its folder.

        Raises SettingsError for one that is not the lock's, or not where settings say, and what
        `Hub.release` and `Hub.download` raise.
        """
        if name not in self._known:
            place = self._asked_for.data.get(name)
            found = self._held(name) if place is None else self._given(name, place)
            folder, commit, content = found
            facts = BenchmarkData(name=name, commit=commit, registered=_registered(folder))
            self._known[name] = facts, folder, content
        return self._known[name][:2]

    def content(self, name: str) -> str:
        """A hash of all files of a data set that `of` found."""
        return self._known[name][2]

    def _given(self, name: str, place: Path) -> tuple[Path, str | None, str]:
        if not place.is_dir():
            raise SettingsError(f"{place} is no folder; mend evaluation.benchmarks.data")
        folder = place.resolve()
        return folder, self._asked_for.commits.get(name), folder_hash(folder)

    def _held(self, name: str) -> tuple[Path, str | None, str]:
        """From `data_from` or the Hub, held to the lock, where it is recorded now if it was not."""
        settings = self._workplace.settings
        key = lock_key("dataset", name, "")
        row = read_lock(settings.lock_file).get(key)
        if settings.data_from is not None:
            folder, commit = settings.data_from / name, row.commit if row else None
            if not folder.is_dir():
                raise SettingsError(f"{folder} is no folder; put the data set {name} there")
            content = folder_hash(folder.resolve())
        else:
            folder, commit, content = self._fetched(name, row)
        if row is None:
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            self._record(key, LockedFile(commit=commit, sha256=content, bytes=size))
        elif row.sha256 != content:
            raise SettingsError(
                f"{folder} of the data set {name} has the hash {content}, not the "
                f"{row.sha256} of {settings.lock_file}; put back what was there, or remove that "
                "row so that the data set of today is recorded"
            )
        return folder.resolve(), commit, content

    def _record(self, key: str, row: LockedFile) -> None:
        lock = self._workplace.settings.lock_file
        with alone(self._workplace.folders.root / "texts"):
            add_to_lock(lock, {key: row})
        self._workplace.narrator.say(f"recorded in {lock}, to be held to it from now on: {key}")

    def _fetched(self, name: str, row: LockedFile | None) -> tuple[Path, str, str]:
        """Folder, commit and hash of a data set of the Hub, at what settings or the lock name."""
        hub, commit = self._workplace.hub, self._asked_for.commits.get(name)
        if row is not None:
            if commit not in (None, row.commit):
                lock = self._workplace.settings.lock_file
                raise SettingsError(
                    f"evaluation.benchmarks.commits has {name} at {commit}, {lock} at "
                    f"{row.commit}; mend one of them"
                )
            commit = row.commit
        if commit is not None:
            folder = self._folder(name, commit)
            if row is not None and folder.is_dir() and folder_hash(folder) == row.sha256:
                return folder, commit, row.sha256
        release = hub.release(name, commit or "main", kind="dataset")
        files = [file for file in release.files if PurePosixPath(file.path).suffix.lower() in DATA]
        self._bring(name, release.commit, files)
        folder = self._folder(name, release.commit)
        return folder, release.commit, folder_hash(folder)

    def _folder(self, name: str, commit: str) -> Path:
        return self._workplace.folders.texts(name, commit) / "whole"

    def _bring(self, name: str, commit: str, files: list[RepoFile]) -> None:
        """Fetch what is not there yet. Raises SettingsError for more than any benchmark has."""
        folder, total = self._folder(name, commit), sum(file.size for file in files)
        if not files:
            _no_data(name)
        if len(files) > MOST_FILES or total > LARGEST:
            raise SettingsError(
                f"the data set {name} has {len(files):,} files of {total / 1e9:.1f} GB together, "
                f"more than {MOST_FILES:,} or {LARGEST >> 30} GB; fetch what the task needs and "
                "name its folder in evaluation.benchmarks.data"
            )
        with alone(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)
            lacking = [file for file in files if not _is_whole(folder / file.path, file.size)]
            require_free(
                folder, sum(file.size for file in lacking), self._workplace.settings.reserve
            )
            if not lacking:
                return
            with self._workplace.narrator.work(f"fetching {name}", "B") as report:
                self._download(name, commit, folder, lacking, report)

    def _download(
        self, name: str, commit: str, folder: Path, files: list[RepoFile], report: Report
    ) -> None:
        came, total = 0, sum(file.size for file in files)

        def count(size: int) -> None:
            nonlocal came
            came += size
            if came > total:
                raise SettingsError(f"{name} is larger than its listing says; use another copy")
            report(came, total)

        for file in files:
            require_safe(file.path, name)
            self._workplace.hub.download(name, commit, file.path, folder, count, kind="dataset")


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _no_data(name: str) -> NoReturn:
    raise SettingsError(
        f"the data set {name} has no files of data, as those have that are made by code; save it "
        "as parquet or JSON lines and name its folder in evaluation.benchmarks.data"
    )


def _registered(place: Path) -> str | None:
    """The one task that a data set's eval.yaml names (hub-docs, docs/hub/eval-results.md).

    None without such a file, or where it names several: which was run, is not told.
    """
    path = place / "eval.yaml"
    if not path.is_file():
        return None
    try:
        told = yaml.safe_load(read_bounded(path, LARGEST_CARD))
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    tasks = told.get("tasks") if isinstance(told, dict) else None
    ids = [task.get("id") for task in tasks or () if isinstance(task, dict)]
    return legible(ids[0], 100) if len(ids) == 1 and isinstance(ids[0], str) else None


def folder_hash(folder: Path) -> str:
    """A hash of all files of a folder. Raises SettingsError for one of too many."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) > MOST_FILES:
        raise SettingsError(f"{folder} holds more than {MOST_FILES:,} files; name a smaller folder")
    return digest([[str(file.relative_to(folder)), sha256(file)] for file in files])
