"""What jobs of one release tell each other: small JSON files in a folder of the order.

orders/Qwen--Qwen3.6-35B-A3B-0123456789ab/
    prepared.json     the plan, and what must be the same on every machine
    prepare.sqlite    the ledger of that job, and one of each other job
    group-1.json      tiers that are quantized and measured
    described.json    the files that shall be published
    published.json    what was

Paths in them are from the working folder, which need not be the same on all machines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bot.errors import CapacityError, SourceError
from bot.ledger import Ledger, Work
from bot.pipeline.models import REPO_ID
from bot.pipeline.sources import Local
from bot.records import Built, Tools, from_json, to_json
from bot.workspace import Workspace, sha256, write_text

REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
TIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DELIVERY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
TIERS = 64
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Order:
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


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Files that later jobs need and may not see; none where all share a folder."""

    model: tuple[Built, ...] = ()  # the 16-bit one; of which describing reads the header
    quantize: tuple[Built, ...] = ()
    describe: tuple[Built, ...] = ()

    @property
    def all(self) -> tuple[Built, ...]:
        """Each once."""
        return tuple(dict.fromkeys((*self.model, *self.quantize, *self.describe)))


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """prepared.json: what is made once and used by every later job."""

    order: Order
    asked: str  # hash of the order and of the settings that decide what comes of it
    commit: str
    local: Local
    key: str  # of the whole job
    tools: Tools
    evaluation: str  # hash
    recipes: Mapping[str, str]  # hash by tier
    groups: tuple[tuple[str, ...], ...]  # tiers of each job
    room: tuple[int, ...] = ()  # bytes that the tiers of each job take
    logits: str = ""  # file with the reference's log-probabilities, where there is one
    needs: Needs = Needs()
    work: tuple[Work, ...] = ()

    @property
    def tiers(self) -> tuple[str, ...]:
        """All that shall be made."""
        return tuple(tier for group in self.groups for tier in group)


@dataclass(frozen=True, kw_only=True)
class Group:
    """group-N.json: tiers that are quantized and measured."""

    key: str
    tiers: tuple[str, ...]
    work: tuple[Work, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Described:
    """described.json: what shall be published where."""

    key: str
    repo_id: str
    tiers: tuple[str, ...]
    files: Mapping[str, Built]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """published.json: what was published where."""

    key: str
    asked: str
    repo_id: str
    url: str
    commit: str
    tiers: tuple[str, ...]
    whole: bool  # all that was ordered
    files: Mapping[str, str]  # sha256 by path
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
        try:
            return from_json(kind, self.file(kind, group).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def file(self, kind: type, group: int = 0) -> Path:
        """Where a record lies."""
        names: dict[type, str] = {
            Prepared: "prepared", Group: f"group-{group}", Described: "described", Sent: "published"
        }  # fmt: skip
        return self.path / f"{names[kind]}.json"

    @property
    def sentinel(self) -> str:
        """Hash of prepared.json: whoever sees the same file sees the same folder."""
        return sha256(self.file(Prepared, 0))

    def prepared(self, sentinel: str) -> Prepared:
        """What was prepared.

        Raises CapacityError where this machine does not see what the preparing one wrote.
        """
        found = self.read(Prepared)
        if found is None or self.sentinel != sentinel:
            raise CapacityError(
                f"{self.path} is not what the job `prepare` wrote: workdir must be one folder that "
                "all runners share, or jobs.travel be hub; then rerun the failed jobs"
            )
        return found

    def complete(self, prepared: Prepared) -> tuple[str, ...]:
        """Tiers of the plan that are quantized and measured, in its order."""
        found: list[str] = []
        for number, tiers in enumerate(prepared.groups, 1):
            group = self.read(Group, number)
            if group is not None and group.key == prepared.key:
                found += [tier for tier in tiers if tier in group.tiers]
        return tuple(found)


def folder_of(workspace: Workspace, name: str) -> Folder:
    """The folder that `prepare` named. Raises SourceError for what is no such name."""
    if not RELEASE.fullmatch(name) or not name.isascii():
        raise SourceError(f"{name[:100]!r} is no release; take it from the output of `prepare`")
    return Folder(workspace.root / "orders" / name)
