"""The local Hub's SQLite file: its tables, and transactions that are safe from any thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

SCHEMA = """
create table if not exists settings (name text primary key, value text not null);
create table if not exists users (
    name text primary key collate nocase,
    kind text not null check (kind in ('user', 'org'))
);
create table if not exists tokens (
    sha256 text primary key,
    user text not null references users(name)
);
create table if not exists publishers (
    id integer primary key autoincrement,
    repo integer not null references repos(id) on delete cascade,
    issuer text not null,
    keys text not null,
    claims text not null
);
create table if not exists lent (
    sha256 text primary key,
    repo integer not null references repos(id) on delete cascade,
    name text not null,
    expires real not null
);
create table if not exists members (
    org text not null references users(name),
    user text not null references users(name),
    primary key (org, user)
);
create table if not exists repos (
    id integer primary key autoincrement,
    owner text not null collate nocase references users(name),
    name text not null collate nocase,
    private integer not null,
    gated text check (gated in ('auto', 'manual')),
    created_at text not null,
    unique (owner, name)
);
create table if not exists trees (id text primary key, entries text not null);
create table if not exists commits (
    repo integer not null references repos(id) on delete cascade,
    sha text not null,
    parent text,
    tree text not null references trees(id),
    author text not null,
    time text not null,
    title text not null,
    message text not null,
    facts text not null,
    primary key (repo, sha)
);
create table if not exists refs (
    repo integer not null references repos(id) on delete cascade,
    kind text not null check (kind in ('branch', 'tag')),
    name text not null,
    sha text not null,
    primary key (repo, kind, name)
);
create table if not exists holdings (
    repo integer not null references repos(id) on delete cascade,
    sha256 text not null,
    size integer not null,
    primary key (repo, sha256)
);
create table if not exists xet_hashes (sha256 text primary key, xet text not null);
create index if not exists holdings_by_content on holdings (sha256);
create table if not exists pulls (
    repo integer not null references repos(id) on delete cascade,
    number integer not null,
    title text not null,
    author text not null,
    status text not null check (status in ('open', 'closed', 'merged')),
    sha text not null,
    base text not null,
    merged text,
    created_at text not null,
    primary key (repo, number)
);
create table if not exists pull_events (
    id integer primary key autoincrement,
    repo integer not null references repos(id) on delete cascade,
    number integer not null,
    kind text not null check (kind in ('comment', 'commit', 'status-change')),
    author text not null,
    time text not null,
    text text not null,
    sha text
);
create table if not exists collections (
    id integer primary key autoincrement,
    slug text not null unique,
    owner text not null collate nocase references users(name),
    title text not null,
    private integer not null,
    updated_at text not null,
    unique (owner, title)
);
create table if not exists collected (
    id integer primary key autoincrement,
    collection integer not null references collections(id) on delete cascade,
    repo integer not null references repos(id) on delete cascade,
    note text,
    unique (collection, repo)
);
"""


class Database:
    """One SQLite file in WAL mode; every operation has a connection of its own."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with closing(self._connect()) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.executescript(SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=60, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("pragma foreign_keys = on")
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent snapshot."""
        with closing(self._connect()) as connection:
            connection.execute("begin")
            yield connection
            connection.execute("rollback")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; one writer at a time over all threads and processes."""
        with closing(self._connect()) as connection:
            connection.execute("begin immediate")
            try:
                yield connection
            except BaseException:
                connection.execute("rollback")
                raise
            connection.execute("commit")
