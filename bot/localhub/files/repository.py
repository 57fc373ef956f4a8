"""A repository's nouns - Repo, Ref, Commit, Entry - and how they lie in the database."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Repo:
    """A model repository; `row` is its number on this Hub and is never used again."""

    row: int
    owner: str
    name: str
    private: bool
    gated: str | None  # auto, manual
    created_at: str  # ISO 8601, UTC, milliseconds

    @property
    def id(self) -> str:
        """owner/name."""
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file in a tree. `blob_id` is git's: of the content, or of the pointer of an LFS file."""

    path: str
    size: int
    blob_id: str
    sha256: str
    lfs: bool


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A state of a repository. `facts` is what its files said (see describe.py)."""

    sha: str
    parent: str | None
    tree: str
    author: str
    time: str  # ISO 8601, UTC, milliseconds
    title: str
    message: str
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A branch or a tag."""

    kind: str
    name: str
    sha: str


def now() -> str:
    """The time as the Hub writes it: 2026-11-23T08:56:38.123Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_tree(db: sqlite3.Connection, tree: str) -> dict[str, Entry]:
    """The entries of a stored tree."""
    row = db.execute("select entries from trees where id = ?", (tree,)).fetchone()
    return {entry["path"]: Entry(**entry) for entry in json.loads(row["entries"])}


def write_tree(db: sqlite3.Connection, files: dict[str, Entry]) -> str:
    """Store a tree under the hash of its canonical JSON; returns its id."""
    entries = json.dumps([asdict(files[path]) for path in sorted(files)], separators=(",", ":"))
    tree = hashlib.sha256(entries.encode()).hexdigest()
    db.execute("insert or ignore into trees values (?, ?)", (tree, entries))
    return tree


def to_repo(row: sqlite3.Row) -> Repo:
    """A row of the table repos."""
    return Repo(
        row=row["id"],
        owner=row["owner"],
        name=row["name"],
        private=bool(row["private"]),
        gated=row["gated"],
        created_at=row["created_at"],
    )


def to_commit(row: sqlite3.Row) -> Commit:
    """A row of the table commits."""
    return Commit(
        sha=row["sha"],
        parent=row["parent"],
        tree=row["tree"],
        author=row["author"],
        time=row["time"],
        title=row["title"],
        message=row["message"],
        facts=json.loads(row["facts"]),
    )
