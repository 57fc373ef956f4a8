"""Users, organizations and tokens of the local Hub; a token itself is never stored.

A trusted publisher is no user: a job that proved who it is holds a token for one repository and a
while (huggingface.co/docs/hub/trusted-publishers).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bot.errors import SettingsError
from bot.localhub.files.repository import Repo

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Who asks: a user with the organizations they act for, or a publisher of `only` one repo."""

    name: str
    orgs: tuple[str, ...] = ()
    only: int | None = None  # the row of the repository

    def may_write(self, owner: str) -> bool:
        """Whether what this user or organization owns is theirs to change."""
        return self.only is None and owner.lower() in {
            name.lower() for name in (self.name, *self.orgs)
        }

    def may_change(self, repo: Repo) -> bool:
        """Whether the files of a repository are theirs to change."""
        return repo.row == self.only or self.may_write(repo.owner)


def valid_name(name: object) -> bool:
    """Whether this can name a user, an organization or a repository."""
    return (
        isinstance(name, str)
        and NAME.fullmatch(name) is not None
        and ".." not in name
        and "--" not in name
        and not name.endswith(".git")
    )


def valid_ref(name: str) -> bool:
    """Whether this can name a branch or a tag: names in folders, and not git's own folder."""
    parts = name.split("/")
    return len(name) <= 244 and all(map(valid_name, parts)) and parts[0] != "refs"


def may_read(repo: Repo, viewer: Viewer | None) -> bool:
    """Whether this viewer may see the repository at all."""
    return not repo.private or (viewer is not None and viewer.may_change(repo))


def add_user(db: sqlite3.Connection, name: str, orgs: Sequence[str]) -> str:
    """A new token for a user; see Store.add_user."""
    token = f"hf_{secrets.token_urlsafe(32)}"
    _ensure_account(db, name, "user")
    db.execute("insert into tokens values (?, ?)", (_token_hash(token), name))
    for org in orgs:
        _ensure_account(db, org, "org")
        db.execute("insert or ignore into members values (?, ?)", (org, name))
    return token


def find_account(db: sqlite3.Connection, token: str) -> Viewer | None:
    """Whose token this is."""
    row = db.execute(
        "select users.name from tokens join users on users.name = tokens.user"
        " where tokens.sha256 = ?",
        (_token_hash(token),),
    ).fetchone()
    if row is None:
        return _publisher(db, token)
    orgs = db.execute("select org from members where user = ? order by org", (row["name"],))
    return Viewer(name=row["name"], orgs=tuple(org["org"] for org in orgs))


def lend(db: sqlite3.Connection, repo: Repo, name: str, seconds: int) -> str:
    """A token for one repository that holds for some seconds."""
    token, now = f"hf_jwt_{secrets.token_urlsafe(32)}", time.time()
    db.execute("delete from lent where expires < ?", (now,))
    db.execute(
        "insert into lent values (?, ?, ?, ?)", (_token_hash(token), repo.row, name, now + seconds)
    )
    return token


def _publisher(db: sqlite3.Connection, token: str) -> Viewer | None:
    row = db.execute(
        "select name, repo from lent where sha256 = ? and expires > ?",
        (_token_hash(token), time.time()),
    ).fetchone()
    return None if row is None else Viewer(name=row["name"], only=row["repo"])


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _ensure_account(db: sqlite3.Connection, name: str, kind: str) -> None:
    if not valid_name(name):
        raise SettingsError(f"{name!r} cannot be a name on a Hub; use letters, digits, - _ .")
    db.execute("insert or ignore into users values (?, ?)", (name, kind))
    row = db.execute("select kind from users where name = ?", (name,)).fetchone()
    if row["kind"] != kind:
        raise SettingsError(f"{name} already is the name of a {row['kind']}; choose another")
