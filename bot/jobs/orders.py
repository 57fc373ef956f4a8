"""What jobs of one release tell each other: small JSON files in a folder of the order.

orders/Qwen--Qwen3.6-35B-A3B-0123456789ab/
    prepared.json     the plan, and what must be the same on every machine
    prepare.sqlite    the ledger of that job, and one of each other job
    group-1.json      tiers that are quantized and measured
    described.json    the files that shall be published
    published.json    what was
    known             the sentinel of the prepared.json that this machine was given

Paths in them are from the working folder, which need not be the same on all machines. The first
and the groups' may come from other machines, which open strangers' files: they are parsed against
these classes with nothing to spare, and believed no further than claims.py and places of this
release allow. What names the right ones (sentinel, seals) travels with the run, never with them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, with_config

from bot.disk.folders import Folders
from bot.disk.paths import slug
from bot.disk.writing import keep_text, write_text
from bot.errors import CapacityError, SourceError
from bot.foreign import has_few_values
from bot.jobs.recordpath import RecordPath
from bot.kit.lock import LockedFile
from bot.plan.models import Local
from bot.records.built import Built
from bot.records.coding import from_json, to_json
from bot.records.measured import Tools
from bot.records.model import Architecture
from bot.records.releases import REPO_ID, Release
from bot.store.ledger import Ledger, Work

REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
TIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DELIVERY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
TIERS = 64
LONGEST = 8_000_000  # bytes of a record of another machine; refusing one takes 40 times as much
T = TypeVar("T")
exact = with_config(ConfigDict(extra="forbid"))
Hash = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
Commit = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{7,64}\z")]
Tier = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\z")]
# a projector or MTP layers, by the name they are published under
Extra = Annotated[str, StringConstraints(pattern=r"\A(mmproj|mtp-)[A-Za-z0-9._-]{0,120}\.gguf\z")]
Bytes = Annotated[int, Field(ge=0, le=1 << 50)]


@exact
@dataclass(frozen=True, kw_only=True)
class JobOrder:
    """What shall be built. Whoever started the run wrote this: nothing in it is believed."""

    model: str  # ORG/NAME
    revision: str
    tiers: tuple[str, ...]  # none: all
    delivery: str  # names the order in the run's title

    def __post_init__(self) -> None:
        """Raises SourceError for what cannot be a model, a revision, a tier or a delivery."""
        for name, pattern, value in (
            ("model", REPO_ID, self.model),
            ("revision", REVISION, self.revision),
            ("delivery", DELIVERY, self.delivery),
            *(("tier", TIER, tier) for tier in self.tiers),
        ):
            if not pattern.fullmatch(value) or not value.isascii() or ".." in value:
                raise SourceError(f"{value[:100]!r} is no {name}; start the workflow with another")
        if len(self.tiers) > TIERS:
            raise SourceError(f"{len(self.tiers)} tiers are too many; name at most {TIERS}")


@exact
@dataclass(frozen=True, kw_only=True)
class Carried:
    """A file that travels between jobs, under the path that it has in every working folder."""

    path: RecordPath
    bytes: Bytes
    sha256: Hash

    def built(self, path: Path) -> Built:
        """The same where it lies on this machine."""
        return Built(path=str(path), bytes=self.bytes, sha256=self.sha256)


@exact
@dataclass(frozen=True, kw_only=True)
class Needs:
    """Files that later jobs need and may not see; none where all share a folder."""

    model: tuple[Carried, ...] = ()  # the 16-bit one; of which describing reads the header
    quantize: tuple[Carried, ...] = ()
    describe: tuple[Carried, ...] = ()

    @property
    def all(self) -> tuple[Carried, ...]:
        """Each once."""
        return tuple(dict.fromkeys((*self.model, *self.quantize, *self.describe)))


@exact
@dataclass(frozen=True, kw_only=True)
class Handed:
    """The 16-bit GGUF of one machine, as others call it."""

    path: RecordPath
    release: Release
    extras: Mapping[Extra, RecordPath]
    told: Architecture | None = None

    @classmethod
    def of(cls, local: Local, root: Path) -> Handed:
        """What `local`, fetched from a Hub, is called elsewhere."""
        if local.release is None:
            raise SourceError(f"{local.path} is of no release; name a model of a Hub")
        extras = (local.extras or {}).items()
        return cls(
            path=RecordPath.of(local.path, root),
            release=local.release,
            extras={name: RecordPath.of(path, root) for name, path in extras},
            told=local.architecture,
        )


@exact
@dataclass(frozen=True, kw_only=True)
class Prepared:
    """prepared.json: what is made once and used by every later job."""

    order: JobOrder
    asked: Hash  # of all inputs, whatever the machine
    commit: Commit
    local: Handed
    key: Hash  # of the whole job
    tools: Tools
    evaluation: Hash
    recipes: Mapping[str, str]  # hash by tier
    groups: tuple[tuple[Tier, ...], ...]  # tiers of each job
    room: tuple[Bytes, ...] = ()  # bytes that the tiers of each job take
    logits: RecordPath | None = None  # the reference's log-probabilities, where they were made
    needs: Needs = Needs()
    work: tuple[Work, ...] = ()
    locked: Mapping[str, LockedFile] = field(default_factory=dict)  # of bot.lock: data sets

    def __post_init__(self) -> None:
        """Raises ValueError for groups that are too many, or share a tier, or another release."""
        tiers = self.tiers
        if len(self.groups) > TIERS or len(set(tiers)) != len(tiers):
            raise ValueError("no plan of ours: a tier is in two groups, or there are too many")
        if (self.local.release.repo_id, self.local.release.commit) != (
            self.order.model,
            self.commit,
        ):
            raise ValueError("no plan of ours: it speaks of two releases")

    @property
    def tiers(self) -> tuple[str, ...]:
        """All that shall be made."""
        return tuple(tier for group in self.groups for tier in group)

    @property
    def sources(self) -> tuple[str, str]:
        """Where the release's own files lie, from the working folder: fetched, converted."""
        at = f"{slug(self.order.model)}/{self.commit}"
        return f"sources/{at}", f"converted/{at}"

    @property
    def job(self) -> str:
        """The folder of the whole job, from the working folder."""
        return f"jobs/{slug(self.order.model.split('/')[1])}-{self.key[:12]}"

    def model(self, root: Path) -> Local:
        """The 16-bit GGUF on this machine. Raises SourceError where it is no file of this release.

        It may not be here.
        """
        handed = self.local
        return Local(
            path=handed.path.below(root, *self.sources),
            release=handed.release,
            extras={name: path.below(root, *self.sources) for name, path in handed.extras.items()}
            or None,
            architecture=handed.told,
        )


@exact
@dataclass(frozen=True, kw_only=True)
class Group:
    """group-N.json: tiers that are quantized and measured; `seal` proves which job wrote it."""

    key: Hash
    tiers: tuple[Tier, ...]
    work: tuple[Work, ...] = ()
    seal: str = ""


@exact
@dataclass(frozen=True, kw_only=True)
class Described:
    """described.json: what shall be published where."""

    key: Hash
    repo_id: str
    tiers: tuple[Tier, ...]
    files: Mapping[str, Built]  # paths from the working folder
    verdict: Carried | None = None  # what the gate said, for people who are asked


@exact
@dataclass(frozen=True, kw_only=True)
class Sent:
    """published.json, and what the publishing job tells the later ones of its run."""

    key: Hash
    repo_id: str
    url: str
    commit: Commit
    tiers: tuple[Tier, ...]
    whole: bool  # all that was ordered
    files: Mapping[str, Hash]  # sha256 by path
    waiting: str | None = None  # the pull request that a person has to merge first


@dataclass(frozen=True)
class Folder:
    """The folder of one release's order."""

    path: Path

    @property
    def name(self) -> str:
        """What later jobs call it."""
        return self.path.name

    @property
    def root(self) -> Path:
        """The working folder that it lies in."""
        return self.path.parent.parent

    def ledger(self, job: str) -> Path:
        """The file of a job's ledger: no two machines write the same."""
        return self.path / f"{job}.sqlite"

    def open_ledger(self, job: str) -> Ledger:
        """The ledger of a job."""
        return Ledger(self.ledger(job), root=self.root, shared_folder=True)

    def write(self, record: Prepared | Group | Described | Sent, group: int = 0) -> Path:
        """Leave a record for later jobs; its file."""
        path = self.file(type(record), group)
        write_text(path, to_json(record))
        return path

    def read(self, kind: type[T], group: int = 0) -> T | None:
        """A record that an earlier job left; None where there is none of this version."""
        return parse_record(kind, _bytes(self.file(kind, group)))

    def file(self, kind: type, group: int = 0) -> Path:
        """Where a record lies."""
        names: dict[type, str] = {
            Prepared: "prepared", Group: f"group-{group}", Described: "described", Sent: "published"
        }  # fmt: skip
        return self.path / f"{names[kind]}.json"

    @property
    def sentinel(self) -> str:
        """Hash of prepared.json, by which later jobs of the run know it."""
        return self.hash_of(Prepared)

    def hash_of(self, kind: type) -> str:
        """Hash of a record as it lies here, by which later jobs of the run know it."""
        return hashlib.sha256(_bytes(self.file(kind))).hexdigest()

    def know(self) -> None:
        """What is in prepared.json was made here, or named by the run: it counts as ours."""
        keep_text(self._known, self.sentinel)

    @property
    def known(self) -> Prepared | None:
        """What was prepared, if it is what this machine made or was told of; else None."""
        noted = _bytes(self._known).decode("ascii", "replace")
        return self._named(noted)

    @property
    def _known(self) -> Path:
        return self.path / "known"

    def _named(self, sentinel: str) -> Prepared | None:
        """The record with this hash: one reading serves both looks."""
        text = _bytes(self.file(Prepared))
        is_named = hashlib.sha256(text).hexdigest() == sentinel
        return parse_record(Prepared, text) if is_named else None

    def prepared(self, sentinel: str) -> Prepared:
        """What was prepared, by the sentinel that the run itself carried here.

        Raises CapacityError where this machine does not see what the preparing one wrote.
        """
        record = self._named(sentinel)
        if record is None:
            raise self.not_of("prepare")
        keep_text(self._known, sentinel)
        return record

    def not_of(self, job: str) -> CapacityError:
        """That a record here is not the one that this job of the run wrote."""
        return CapacityError(
            f"{self.path} is not what the job `{job}` wrote: workdir must be one folder that "
            "all runners share, or jobs.travel be hub; then rerun the failed jobs"
        )


def parse_record(kind: type[T], text: bytes) -> T | None:
    """A record by its JSON, with no key and no value that its class does not know; else None."""
    if not text or len(text) > LONGEST or not has_few_values(text):
        return None
    try:
        return from_json(kind, text)
    except (ValidationError, SourceError, RecursionError):
        return None


def _bytes(path: Path) -> bytes:
    """A small file; empty where it is not there, or is no small file."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST + 1)
    except (FileNotFoundError, IsADirectoryError):
        return b""


def order_folder(folders: Folders, name: str) -> Folder:
    """The folder that `prepare` named. Raises SourceError for what is no such name."""
    if not RELEASE.fullmatch(name) or not name.isascii():
        raise SourceError(f"{name[:100]!r} is no release; take it from the output of `prepare`")
    return Folder(folders.root / "orders" / name)
