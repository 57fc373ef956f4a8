"""How files get from one job of a release to the next: a folder that all share, or a Hub.

On a Hub they travel through a private repository of that one order, under the paths that they have
in the working folder. It holds a sentinel, by which it is known as ours: nothing else is written
to, read or deleted. Every job that opens a stranger's model may write there, so nothing that comes
from it decides what is read, written or deleted here: see orders.py and claims.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from bot.clients.hub.changes import ATTRIBUTES, Writer
from bot.clients.hub.hub import Hub
from bot.clients.hub.refusals import MovedOn
from bot.disk.hashes import sha256
from bot.disk.locks import unused
from bot.disk.paths import inside, remove, require_safe
from bot.disk.writing import write_text
from bot.errors import AccessError, PublishError, SettingsError, SourceError
from bot.jobs.orders import LONGEST, Carried, Folder, Group, Prepared
from bot.jobs.recordpath import RecordPath
from bot.plan.models import Model
from bot.publish.held import differing
from bot.records.built import Built, together
from bot.records.coding import digest
from bot.records.releases import Release, RepoFile
from bot.settings.tokens import staging_token
from bot.source.obtain import described
from bot.store.ledger import RecordedFile, Work
from bot.workplace.fetch import FETCHERS, fetch
from bot.workplace.workplace import Workplace

SENTINEL = "apex-bot-staging.json"
TRIES = 20  # commits of other jobs that may come between
GROUPS = 64


class Carrier(Protocol):
    """What the steps of a release ask for between their jobs."""

    apart: bool  # whether a job sees only what it brings

    def open(self) -> None:
        """Be ready to leave files, before hours of work. Raises AccessError, SettingsError."""

    def records(self) -> None:
        """Have the records of earlier jobs in the order's folder."""

    def text(self, path: Path) -> bytes:
        """A small file of the order as it was left; empty without one. Nobody vouches for it."""

    def bring(
        self, files: Sequence[Carried], places: Sequence[str], room: int = 0
    ) -> frozenset[str]:
        """Have files here, with `room` bytes left beside; the paths of those that were verified.

        What is here already is not fetched. Raises CapacityError; SourceError also for a file that
        does not belong below one of `places` of the working folder.
        """

    def model(self, workplace: Workplace, prepared: Prepared) -> Model:
        """The 16-bit model, described; its header alone may be here."""

    def leave(self, files: Iterable[Built], title: str) -> None:
        """Have files reach later jobs; of those that are not here, it must have the content."""

    def holds(self, files: Iterable[Built]) -> bool:
        """Whether later jobs can have these files as they were made."""

    def lend(self, hub: Hub, repo_id: str, files: Mapping[str, Built]) -> None:
        """Let a publication to `repo_id` by `hub` have files that are not here."""

    def over(self) -> bool:
        """Whether nothing is left of what was on the way."""

    def close(self) -> None:
        """Nothing travels any more. Raises SettingsError for what is not ours."""


def carrier_of(workplace: Workplace, folder: Folder) -> Carrier:
    """The way of the settings. Raises AccessError without the token that it takes."""
    jobs = workplace.settings.jobs
    if jobs.travel == "folder" or jobs.staging is None:
        return Shared(folder)
    token = staging_token()
    if token is None:
        raise AccessError(
            f"HF_STAGING_TOKEN is not set; make a token that may write to {jobs.staging} alone"
        )
    hub = Hub(workplace.settings.hub.endpoint, token, variable="HF_STAGING_TOKEN")
    return Staging(hub, f"{jobs.staging}/{staging_name(folder)}", folder, workplace)


def staging_name(folder: Folder) -> str:
    """The name of an order's repository: on a Hub not every name of a release can be one."""
    return f"apex-staging-{digest(folder.name)[:16]}"


@dataclass(frozen=True)
class Shared:
    """All jobs see one folder: there is nothing to do."""

    folder: Folder
    apart = False

    def open(self) -> None:
        """It is there."""

    def records(self) -> None:
        """They are there."""

    def text(self, path: Path) -> bytes:
        """It is here, if it is anywhere."""
        return path.read_bytes() if path.is_file() else b""

    def bring(
        self, files: Sequence[Carried], places: Sequence[str], room: int = 0
    ) -> frozenset[str]:
        """They are there, as ledgers know them."""
        del files, places, room
        return frozenset()

    def model(self, workplace: Workplace, prepared: Prepared) -> Model:
        """The model in the folder."""
        return described(workplace, prepared.model(self.folder.root))

    def leave(self, files: Iterable[Built], title: str) -> None:
        """They stay where they are."""

    def holds(self, files: Iterable[Built]) -> bool:
        """They are here."""
        del files
        return True

    def lend(self, hub: Hub, repo_id: str, files: Mapping[str, Built]) -> None:
        """They are here."""

    def over(self) -> bool:
        """The folder is cleaned by `bot step clean`."""
        return False

    def close(self) -> None:
        """The folder stays."""


class Staging:
    """A private repository of one order."""

    apart = True

    def __init__(self, hub: Hub, repo_id: str, folder: Folder, workplace: Workplace) -> None:
        self._hub, self.repo_id, self._folder = hub, repo_id, folder
        self._workplace, self._root = workplace, folder.root

    # ── whose it is ─────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Make the repository, or find it as ours. Raises SettingsError for any other."""
        if not self._hub.exists(self.repo_id):
            self._hub.create_private(self.repo_id)
        held = self._hub.release(self.repo_id)
        if held.private and {file.path for file in held.files} <= {ATTRIBUTES}:
            target = self._folder.path / SENTINEL
            write_text(target, json.dumps(self._sentinel, indent=2) + "\n")
            self._hub.commit(
                self.repo_id, {SENTINEL: target}, "On the way to be published", held.commit
            )
        self._ours()

    @property
    def _sentinel(self) -> dict[str, str]:
        return {"made_by": "apex-bot", "release": self._folder.name}

    def _ours(self) -> Release:
        """The repository as it is now. Raises SettingsError unless it is private and ours."""
        held = self._hub.release(self.repo_id)
        marker = self._hub.read_json(self.repo_id, held.commit, SENTINEL, 10_000)
        if not held.private or marker != self._sentinel:
            fault = "is public" if marker == self._sentinel else f"has no {SENTINEL} of this order"
            raise SettingsError(
                f"{self.repo_id} {fault} and is left alone; name another owner in jobs.staging"
            )
        return held

    def over(self) -> bool:
        """Whether the repository is gone: the order is published, or was given up."""
        return not self._hub.exists(self.repo_id)

    def close(self) -> None:
        """Delete the repository for good, if it is ours."""
        if not self.over():
            self._ours()
            Writer(self._hub).delete(self.repo_id)

    # ── to later jobs ───────────────────────────────────────────────────────────────────────

    def leave(self, files: Iterable[Built], title: str) -> None:
        """One commit with what the repository does not hold yet; others may commit meanwhile.

        Raises PublishError for a file that is neither here nor there.
        """
        files_by_path = {inside(self._root, Path(file.path)): file for file in files}
        for path in files_by_path:
            require_safe(path, self.repo_id)
        missing = {path: files_by_path[path] for path in differing(self._ours(), files_by_path)}
        with self._workplace.narrator.work(f"sending {title} to {self.repo_id}"):
            self._hub.preupload(self.repo_id, missing)
            for _ in range(TRIES):
                now = self._hub.release(self.repo_id)
                paths = {
                    path: Path(files_by_path[path].path) for path in differing(now, files_by_path)
                }
                if not paths:
                    return
                try:
                    self._hub.commit(self.repo_id, paths, title, now.commit)
                except MovedOn:
                    continue
        raise PublishError(f"{self.repo_id} is changed all the time; rerun the failed jobs")

    def holds(self, files: Iterable[Built]) -> bool:
        """Whether they lie there under their names, by the hashes that were measured."""
        files_by_path = {inside(self._root, Path(file.path)): file for file in files}
        return not files_by_path or not differing(self._ours(), files_by_path)

    def lend(self, hub: Hub, repo_id: str, files: Mapping[str, Built]) -> None:
        """Have the Hub copy to `repo_id` what is held here, by the hashes that were measured."""
        try:
            held = hub.release(self.repo_id)
        except SourceError as error:
            raise AccessError(
                f"HF_TOKEN may not read {self.repo_id}; give it that right, and rerun"
            ) from error
        stored = {file.sha256: file for file in held.files if file.sha256}
        copied = {path: stored[f.sha256] for path, f in files.items() if f.sha256 in stored}
        for path, file in files.items():
            if path not in copied and not Path(file.path).is_file():
                raise PublishError(
                    f"{self.repo_id} does not hold {path} as it was measured; rerun all jobs"
                )
        hub.copies(repo_id, copied, held)

    # ── from earlier jobs ───────────────────────────────────────────────────────────────────

    def records(self) -> None:
        """Fetch the small files of the order. What an earlier order left here counts no more.

        One that is longer than any record is none, and no reason to leave the others: empty here.
        """
        held = None if self.over() else self._ours()
        sizes = {file.path: file.size for file in held.files} if held is not None else {}
        for path in self._records():
            record_path = inside(self._root, path)
            text = "" if sizes.get(record_path, 0) > LONGEST else None
            if held is not None and record_path in sizes and text is None:
                text = self._hub.read_text(self.repo_id, held.commit, record_path, LONGEST)
            if text is None:
                path.unlink(missing_ok=True)
            else:
                write_text(path, text)

    def text(self, path: Path) -> bytes:
        """A small file as it lies there now."""
        record_path = inside(self._root, path)
        return (
            self._hub.read_text(self.repo_id, self._now.commit, record_path, LONGEST) or ""
        ).encode()

    def _records(self) -> list[Path]:
        groups = [self._folder.file(Group, number) for number in range(1, GROUPS + 1)]
        return [self._folder.file(Prepared), *groups]

    def bring(
        self, files: Sequence[Carried], places: Sequence[str], room: int = 0
    ) -> frozenset[str]:
        """Fetch what is not here, and compare every hash with the one that was recorded."""
        for file in files:
            file.path.below(self._root, *places)
        repo_files = [self._held(file) for file in files]
        with self._workplace.narrator.work(f"fetching from {self.repo_id}", unit="B") as report:
            fetch(
                self._hub,
                self._now,
                repo_files,
                self._root,
                workers=FETCHERS,
                report=report,
                reserve=self._workplace.settings.reserve + room,
            )
        for file, repo_file in zip(files, repo_files, strict=True):
            if repo_file.sha256 is None and sha256(self._root / file.path.text) != file.sha256:
                raise self._other(file)
        return frozenset(file.path.text for file in files)

    def model(self, workplace: Workplace, prepared: Prepared) -> Model:
        """The model told by its header, in a file apart that has nothing else."""
        headers = self._folder.path / "headers"
        headers.mkdir(parents=True, exist_ok=True)
        local, needs = prepared.model(self._root), prepared.needs.model
        for file in needs:
            path = file.path.below(self._root, *prepared.sources)
            self._hub.gguf_header(self._now, self._held(file), headers / path.name)
        header = replace(local, path=headers / local.path.name)
        return described(workplace, header, together([file.built(headers) for file in needs]))

    @cached_property
    def _now(self) -> Release:
        return self._ours()

    def _held(self, file: Carried) -> RepoFile:
        for repo_file in self._now.files:
            is_same_file = (repo_file.path, repo_file.size) == (file.path.text, file.bytes)
            if is_same_file and repo_file.sha256 in (None, file.sha256):
                return repo_file
        raise self._other(file)

    def _other(self, file: Carried) -> SourceError:
        return SourceError(
            f"{self.repo_id} does not hold {file.path.text} as it was prepared; rerun all jobs"
        )


def carried(root: Path, files: Iterable[Built]) -> tuple[Carried, ...]:
    """Files named from the working folder."""
    return tuple(
        Carried(path=RecordPath.of(Path(f.path), root), bytes=f.bytes, sha256=f.sha256)
        for f in files
    )


def works_here(works: Iterable[Work], brought: frozenset[str], root: Path) -> tuple[Work, ...]:
    """Finished work as of this machine: files that were brought have their time of here."""

    def moved(file: RecordedFile) -> RecordedFile:
        if file.path not in brought:
            return file
        return replace(file, changed=(root / file.path).stat().st_mtime_ns)

    return tuple(replace(work, files=tuple(map(moved, work.files))) for work in works)


def give_back(folder: Folder, prepared: Prepared) -> None:
    """Remove what a release takes here; its records stay. `prepared` is known to be ours."""
    root = folder.root
    for place in (*prepared.sources, prepared.job):
        remove(root / place, root / place.split("/")[0])
    if prepared.logits is not None:
        logits = prepared.logits.below(root, "measures")
        with unused(logits.parent) as ours:  # else whoever works with them removes them
            if ours:
                remove(logits, root / "measures")
    remove(folder.path / "headers", folder.path)
    for ledger in folder.path.glob("*.sqlite"):
        ledger.unlink()


def sweep(workplace: Workplace, own_folder: Folder) -> None:
    """Give back the disk of orders that travelled through here and are over by now.

    Only of those whose plan was made here or named by the run: see `Folder.known`.
    """
    for path in sorted(own_folder.path.parent.iterdir()) if own_folder.path.parent.is_dir() else ():
        folder = Folder(path)
        prepared = folder.known if path.is_dir() and not path.is_symlink() else None
        if path == own_folder.path or prepared is None or not prepared.needs.model:
            continue
        if carrier_of(workplace, folder).over():
            give_back(folder, prepared)
            remove(path, path.parent)
            workplace.narrator.say(f"removed what was left of {path.name}")
