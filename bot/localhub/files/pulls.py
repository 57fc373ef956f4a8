"""Pull requests of a repository: commits beside main, what people say of them, and merging."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from bot.localhub.files.repository import Entry, Repo, now
from bot.serving.refusal import Refusal

REF = re.compile(r"refs/pr/([1-9][0-9]{0,8})")
TITLE, COMMENT = 500, 65_536  # letters


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A pull request. `sha` is the head of its ref, `base` where it began."""

    number: int
    title: str
    author: str
    status: str  # open, closed, merged
    sha: str
    base: str
    merged: str | None
    created_at: str

    @property
    def ref(self) -> str:
        """The revision that its files are at."""
        return f"refs/pr/{self.number}"


@dataclass(frozen=True, kw_only=True)
class PullEvent:
    """Something that happened to a pull request: a comment, a commit, another status."""

    id: int
    kind: str  # comment, commit, status-change
    author: str
    time: str
    text: str
    sha: str | None = None


def begin_pull(
    db: sqlite3.Connection, repo: Repo, author: str, title: str, description: str, base: str
) -> Pull:
    """A new, open pull request that holds what `base` does."""
    count = db.execute("select count(*) from pulls where repo = ?", (repo.row,)).fetchone()[0]
    db.execute(
        "insert into pulls values (?, ?, ?, ?, 'open', ?, ?, null, ?)",
        (repo.row, count + 1, title[:TITLE], author, base, base, now()),
    )
    pull = find_pull(db, repo, count + 1)
    if description:
        note(db, repo, pull, "comment", author, description[:COMMENT])
    return pull


def find_pull(db: sqlite3.Connection, repo: Repo, number: int) -> Pull:
    """A pull request by its number. Raises Refusal 404."""
    row = db.execute(
        "select * from pulls where repo = ? and number = ?", (repo.row, number)
    ).fetchone()
    if row is None:
        raise Refusal(404, f"{repo.id} has no pull request {number}")
    return _pull(row)


def pulls_of(db: sqlite3.Connection, repo: Repo) -> list[Pull]:
    """All pull requests of a repository, the newest first."""
    rows = db.execute("select * from pulls where repo = ? order by number desc", (repo.row,))
    return [_pull(row) for row in rows]


def head(db: sqlite3.Connection, repo: Repo, ref: str) -> str | None:
    """The commit at refs/pr/N; None for a ref of another kind, or of no pull request."""
    match = REF.fullmatch(ref)
    row = (
        match
        and db.execute(
            "select sha from pulls where repo = ? and number = ?", (repo.row, int(match[1]))
        ).fetchone()
    )
    return str(row["sha"]) if row else None


def move_pulls(
    db: sqlite3.Connection, repo: Repo, ref: str, sha: str, author: str, title: str
) -> None:
    """Give the ref of an open pull request another head. Raises Refusal 400."""
    match = REF.fullmatch(ref)
    if match is None:
        raise AssertionError("only refs of pull requests come here")
    pull = open_pull(db, repo, int(match[1]))
    db.execute(
        "update pulls set sha = ? where repo = ? and number = ?", (sha, repo.row, pull.number)
    )
    note(db, repo, pull, "commit", author, title, sha)


def open_pull(db: sqlite3.Connection, repo: Repo, number: int) -> Pull:
    """An open pull request. Raises Refusal 400 for one that was merged or closed."""
    pull = find_pull(db, repo, number)
    if pull.status != "open":
        raise Refusal(400, f"Pull request {number} is {pull.status}")
    return pull


def settle(
    db: sqlite3.Connection,
    repo: Repo,
    pull: Pull,
    status: str,
    author: str,
    merged: str | None = None,
) -> PullEvent:
    """Give a pull request another status."""
    db.execute(
        "update pulls set status = ?, merged = ? where repo = ? and number = ?",
        (status, merged, repo.row, pull.number),
    )
    return note(db, repo, pull, "status-change", author, status)


def note(
    db: sqlite3.Connection,
    repo: Repo,
    pull: Pull,
    kind: str,
    author: str,
    text: str,
    sha: str | None = None,
) -> PullEvent:
    """Record an event of a pull request."""
    time = now()
    row = db.execute(
        "insert into pull_events (repo, number, kind, author, time, text, sha)"
        " values (?, ?, ?, ?, ?, ?, ?)",
        (repo.row, pull.number, kind, author, time, text, sha),
    ).lastrowid
    return PullEvent(id=row or 0, kind=kind, author=author, time=time, text=text, sha=sha)


def events(db: sqlite3.Connection, repo: Repo, pull: Pull) -> list[PullEvent]:
    """What happened to a pull request, in order."""
    rows = db.execute(
        "select id, kind, author, time, text, sha from pull_events"
        " where repo = ? and number = ? order by id",
        (repo.row, pull.number),
    )
    return [PullEvent(**dict(row)) for row in rows]


def mark_merged(
    base: Mapping[str, Entry], main: Mapping[str, Entry], proposed: Mapping[str, Entry], own: str
) -> dict[str, Entry]:
    """A three-way merge by whole files: changes since `base`, applied to `main`.

    main's file `own` stays. Raises Refusal 409 naming a file that both changed, and differently.
    """
    files = dict(main)
    for path in sorted(base.keys() | proposed.keys()):
        entry = proposed.get(path)
        if entry == base.get(path) or entry == main.get(path) or path == own:
            continue
        if main.get(path) != base.get(path):
            raise Refusal(409, f"{path} was changed on main, too")
        if entry is None:
            del files[path]
        else:
            files[path] = entry
    return files


def _pull(row: sqlite3.Row) -> Pull:
    return Pull(
        number=row["number"],
        title=row["title"],
        author=row["author"],
        status=row["status"],
        sha=row["sha"],
        base=row["base"],
        merged=row["merged"],
        created_at=row["created_at"],
    )
