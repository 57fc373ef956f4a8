"""What lies in the working folder, whether it is over, and giving its disk back.

Each place is of a model by its name: jobs by their folder's, sources and 16-bit files by their
repository's, measures by the note of their reference. A build is over when it is published, or the
watcher gave it up since. What a running bot works with is known by its locks, and stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.disk.folders import MEASURED, WORK, JobFolder
from bot.disk.locks import ALONE, USED, unused
from bot.disk.paths import inside, remove, slug
from bot.errors import SourceError
from bot.jobs.orders import Folder, Sent
from bot.records.releases import REPO_ID
from bot.store.queue import Queue
from bot.store.queue_tables import OPEN, QueuedRelease
from bot.workplace import names
from bot.workplace.workplace import Workplace

GIVEN_UP = ("failed", "ignored")
SHARED = ("sources", "converted")
LONGEST_NOTE = 4_000  # bytes


@dataclass(frozen=True, kw_only=True)
class WantedCleaning:
    """What shall go. `before`: only what did not change since then, seconds since the epoch."""

    model: str | None = None  # ORG/NAME, a name, or a path: of this one, all of it
    everything: bool = False
    before: float | None = None
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Cleanable:
    """A file or folder, from the working folder; what it takes, and why it goes or stays."""

    path: str
    bytes: int
    goes: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What was removed and what stays. `freed`: bytes, of a dry run those it would free."""

    folder: str
    dry_run: bool
    freed: int
    places: tuple[Cleanable, ...]


@dataclass(frozen=True)
class _Found:
    """A place before it is known whether anybody works with it."""

    path: Path
    name: str  # of the model, "" for what all share
    over: bool
    reason: str
    locks: tuple[str, ...] = (ALONE, USED)
    guard: Path | None = None  # whose locks they are; none: its own


def clean_folders(workplace: Workplace, request: WantedCleaning) -> Cleaned:
    """Remove what is over and nobody works with; nothing outside of the working folder goes."""
    root = workplace.folders.root
    shelf = _Shelf(workplace, request)
    cleanables = tuple(shelf.settle(place) for place in shelf.found())
    return Cleaned(
        folder=str(root),
        dry_run=request.dry_run,
        freed=sum(cleanable.bytes for cleanable in cleanables if cleanable.goes),
        places=cleanables,
    )


class _Shelf:
    """The working folder as it is now."""

    def __init__(self, workplace: Workplace, request: WantedCleaning) -> None:
        self._space, self._request = workplace.folders, request
        self._root = workplace.folders.root
        has_ledger = self._space.ledger.is_file()  # without one nobody watched here
        queue = Queue(workplace.ledger) if has_ledger else None
        self._open: Sequence[QueuedRelease] = queue.tasks(OPEN) if queue else ()
        self._given_up: Sequence[QueuedRelease] = queue.tasks(GIVEN_UP) if queue else ()
        self._needed = {_called(task.repo) for task in self._open}  # names of what is not over
        self._over = set[str]()
        self._held = set[str]()  # names of models that a bot works with
        self._seen = set[tuple[int, int]]()  # files by their inode: a link takes no room

    def found(self) -> Iterator[_Found]:
        """All places, jobs first: what they need is known by them."""
        yield from self._jobs()
        for kind in SHARED:
            for path in _folders(self._root / kind, "*/*"):
                yield from self._source(path)
        yield from self._measures()
        for path in _folders(self._root / "texts", "*/*") if not self._is_named else ():
            yield self._common(path)
        yield from self._runs()
        yield from self._orders()

    def settle(self, place: _Found) -> Cleanable:
        """Remove a place that is over, unless somebody works with it or it is too young."""
        size, changed = self._measure(place.path)
        goes, reason = place.over, place.reason
        if goes and self._request.before is not None and changed >= self._request.before:
            goes, reason = False, "changed since"
        if goes:
            goes, reason = self._give_back(place)
        if not goes and place.name:
            self._needed.add(place.name)
        path = inside(self._root, place.path)
        return Cleanable(path=path, bytes=size, goes=goes, reason=reason)

    def _give_back(self, place: _Found) -> tuple[bool, str]:
        """Remove a place that nobody works with; whether it went, or would, and why."""
        guard, path = place.guard or place.path, place.path
        dry = self._request.dry_run  # which leaves no lock behind
        with unused(guard, [n for n in place.locks if not dry or (guard / n).exists()]) as free:
            if not free:
                self._held.add(place.name)
                return False, "a bot works with it"
            if dry:
                return True, place.reason
            try:
                remove(path, self._root / path.relative_to(self._root).parts[0])
            except SourceError:
                return False, "a link on its way leads elsewhere"
        return not path.exists(), "it cannot be removed" if path.exists() else place.reason

    # ── what there is ───────────────────────────────────────────────────────────────────────

    def _jobs(self) -> Iterator[_Found]:
        for path in _folders(self._root / "jobs", "*"):
            name = path.name.rpartition("-")[0]
            if not self._is_asked(name):
                continue
            repo_id = _published(JobFolder(path))
            given_up = self._when_given_up(name)
            if repo_id is not None:
                verdict = True, f"published as {repo_id}"
            elif given_up is not None and _changed(path) <= given_up:
                verdict = True, "the watcher gave it up"
            else:
                verdict = self._by_wish("it is not published")
            if verdict[0]:
                self._over.add(name)
            yield _Found(path, name, *verdict, ("lock",))

    def _source(self, path: Path) -> Iterator[_Found]:
        """The files of a repository at a commit, and what a killed conversion left there."""
        name = _called(path.parent.name.replace("--", "/", 1))
        if not self._is_asked(name, path.parent.name):
            return
        for work in sorted(path.glob(f"*{WORK}")):
            reason = "left by a conversion that was killed"
            yield _Found(work, "", True, reason, (ALONE,), path)
        yield self._of_model(path, name)

    def _measures(self) -> Iterator[_Found]:
        for path in _folders(self._root / "measures", "*"):
            name = self._reference(path)
            if self._request.model is None and name is None:
                yield self._common(path)
            elif name is not None and self._is_asked(name):
                yield self._of_model(path, name)

    def _of_model(self, path: Path, name: str) -> _Found:
        repo = path.parent.name
        ends = [t for t in self._given_up if slug(t.repo) == repo and t.commit == path.name]
        if self._is_needed(name):
            return _Found(path, "", False, "a build that is not over needs it")
        if name in self._over or ends:
            return _Found(path, "", True, "its builds are over")
        return _Found(path, "", *self._by_wish("no build of it was published"))

    def _common(self, path: Path) -> _Found:
        """A place that models share: it goes when no build is open, or with --all."""
        if self._held or (self._needed and not self._request.everything):
            return _Found(path, "", False, "a build that is not over may need it")
        return _Found(path, "", True, "no build needs it")

    def _runs(self) -> Iterator[_Found]:
        """Attempts of the watcher: their logs."""
        for path in _folders(self._root / "runs", "*-*-*") if not self._is_named else ():
            running = any(path.name.startswith(f"{task.id}-") for task in self._open)
            reason = "its task is open" if running else "its attempt ended"
            yield _Found(path, "", not running, reason, ("lock",))

    def _orders(self) -> Iterator[_Found]:
        for path in _folders(self._root / "orders", "*"):
            repo = path.name.rpartition("-")[0]
            name, folder = _called(repo.replace("--", "/", 1)), Folder(path)
            if not self._is_asked(name, repo):
                continue
            prepared, sent = folder.known, folder.read(Sent)
            is_same_plan = prepared is not None and sent is not None and prepared.key == sent.key
            if self._is_needed(name):
                yield _Found(path, "", False, "a build that is not over needs it", ())
            elif is_same_plan and sent is not None and sent.whole and not sent.waiting:
                for file in sorted((*path.glob("*.sqlite"), *_folders(path, "headers"))):
                    yield _Found(file, "", True, "all of the order is published", ())
            else:
                verdict = self._by_wish("the order is not known to be published")
                yield _Found(path, "", *verdict, ())

    # ── what it means ───────────────────────────────────────────────────────────────────────

    @property
    def _is_named(self) -> bool:
        return self._request.model is not None

    def _is_needed(self, name: str) -> bool:
        """Whether a build needs a model's places; a name or --all overrule it unless a bot runs."""
        by_wish = self._is_named or self._request.everything
        return name in self._held or (name in self._needed and not by_wish)

    def _is_asked(self, name: str, repo: str | None = None) -> bool:
        """Whether a place is of the model that was named, by repository or name; else all are."""
        model = self._request.model
        if model is None:
            return True
        owned = REPO_ID.fullmatch(model) is not None
        return slug(model) == repo if owned and repo is not None else _called(model) == name

    def _by_wish(self, reason: str) -> tuple[bool, str]:
        """Whether a place that is not over goes, named or by --all; and why it goes or stays."""
        if self._is_named:
            return True, "it was named"
        return (True, "--all") if self._request.everything else (False, reason)

    def _when_given_up(self, name: str) -> float | None:
        """When the watcher gave the last build of a model up; None where it did not."""
        if any(_called(task.repo) == name for task in self._open):
            return None
        times = [task.changed for task in self._given_up if _called(task.repo) == name]
        return max(times, default=None)

    def _reference(self, folder: Path) -> str | None:
        """The name of the model that a measure is against, where that is noted."""
        try:
            with (folder / MEASURED).open("rb") as file:
                path = Path(file.read(LONGEST_NOTE).decode().strip())
        except (OSError, ValueError):
            return None
        if path.parts[:1] in {(kind,) for kind in SHARED} and len(path.parts) > 2:
            return _called(path.parts[1].replace("--", "/", 1))
        return _called(names.stem_of(path)) if path.name else None

    def _measure(self, path: Path) -> tuple[int, float]:
        """Bytes of the disk that a place takes, each file once; its last change."""
        size, changed = 0, 0.0
        for status in _files(path):
            key = status.st_dev, status.st_ino
            if key not in self._seen:
                self._seen.add(key)
                size += status.st_blocks * 512  # stat(2)
            changed = max(changed, status.st_mtime)
        return size, changed


def _folders(place: Path, pattern: str) -> Iterable[Path]:
    """Folders, no links to them."""
    return sorted(p for p in place.glob(pattern) if p.is_dir() and not p.is_symlink())


def _files(path: Path) -> Iterator[os.stat_result]:
    """What lies at a path and below; locks, which every look touches, left out."""
    if not path.is_dir() or path.is_symlink():
        yield path.lstat()
        return
    for folder, _, files in os.walk(path):
        for file in files:
            if file not in ("lock", ALONE, USED):
                try:
                    yield Path(folder, file).lstat()
                except FileNotFoundError:  # a bot that works there gave it its name
                    continue


def _changed(path: Path) -> float:
    return max((status.st_mtime for status in _files(path)), default=0.0)


def _called(name: str) -> str:
    """A model's name as folders have it, by that of its repository or file."""
    stem = name.rpartition("/")[2] if REPO_ID.fullmatch(name) else names.stem_of(Path(name))
    try:
        return slug(names.name_of(stem))
    except SourceError:  # of no model of ours
        return slug(stem)


def _published(job: JobFolder) -> str | None:
    """Where a job was published, by its note."""
    try:
        note = json.loads(job.published.read_bytes()[:LONGEST_NOTE])
    except (OSError, ValueError, RecursionError):
        return None
    repo_id = note.get("repo_id") if isinstance(note, dict) else None
    return repo_id if isinstance(repo_id, str) and REPO_ID.fullmatch(repo_id) else None
