"""The local Hub on disk: users and tokens, repositories, refs, immutable commits and trees.

<folder>/hub.sqlite   names, history, who holds what
<folder>/objects/     contents by sha256
<folder>/incoming/    transfers under way
<folder>/xet/<n>/     upload areas of repository n
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from bot.localhub.files import accounts, pulls, xet_contents
from bot.localhub.files.accounts import Viewer, may_read, valid_name, valid_ref
from bot.localhub.files.database import Database
from bot.localhub.files.objects import Incoming, Objects
from bot.localhub.files.repository import (
    COMMIT,
    Commit,
    Entry,
    Ref,
    Repo,
    read_tree,
    to_commit,
    to_repo,
)
from bot.serving.refusal import Refusal, repository_not_found, revision_not_found

ABANDONED = 7 * 24 * 3600  # seconds before a transfer that never ended is removed


class Store:
    """All of one local Hub. Safe to use from many threads, and beside a running server."""

    def __init__(self, folder: Path, *, deduplicates: bool = False) -> None:
        """Open a folder, or make it. `deduplicates`: chunks that Xet sent are not sent again."""
        self._deduplicates = deduplicates
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self.objects = Objects(self.folder)
        self.database = Database(self.folder / "hub.sqlite")
        self.objects.sweep(time.time() - ABANDONED)

    @cached_property
    def secret(self) -> bytes:
        """The key that signs upload addresses; made once for a folder."""
        with self.database.writing() as db:
            db.execute(
                "insert or ignore into settings values ('secret', ?)", (secrets.token_hex(32),)
            )
            row = db.execute("select value from settings where name = 'secret'").fetchone()
        return bytes.fromhex(row["value"])

    # ── users ───────────────────────────────────────────────────────────────────────────────

    def add_user(self, name: str, orgs: Sequence[str] = ()) -> str:
        """A new token for a user, who is made when unknown, as member of `orgs`.

        The token is returned once; only its sha256 is kept. Raises SettingsError for names that
        the Hub does not allow or that already mean something else.
        """
        with self.database.writing() as db:
            return accounts.add_user(db, name, orgs)

    def has_tokens(self) -> bool:
        """Whether anybody can prove who they are."""
        with self.database.reading() as db:
            return db.execute("select 1 from tokens limit 1").fetchone() is not None

    def viewer(self, token: str) -> Viewer | None:
        """Whose token this is."""
        with self.database.reading() as db:
            return accounts.find_account(db, token)

    # ── repositories ────────────────────────────────────────────────────────────────────────

    def find(self, repo_id: str) -> Repo | None:
        """The repository of that id, whoever may see it."""
        owner, _, name = repo_id.partition("/")
        with self.database.reading() as db:
            row = db.execute(
                "select * from repos where owner = ? and name = ?", (owner, name)
            ).fetchone()
        return None if row is None else to_repo(row)

    def readable(self, repo_id: str, viewer: Viewer | None) -> Repo:
        """A repository whose page this viewer may see. Raises Refusal RepoNotFound."""
        repo = self.find(repo_id)
        if repo is None or not may_read(repo, viewer):
            raise repository_not_found(repo_id, anonymous=viewer is None)
        return repo

    def writable(self, repo_id: str, viewer: Viewer | None) -> Repo:
        """A repository that this viewer may change. Raises Refusal."""
        repo = self.readable(repo_id, viewer)
        if viewer is None:
            raise Refusal(401, "Writing needs a token; send Authorization: Bearer <token>")
        if not viewer.may_change(repo):
            raise Refusal(403, f"{viewer.name} may not write to {repo.id}")
        return repo

    def owned(self, repo_id: str, viewer: Viewer | None) -> Repo:
        """A repository whose settings this viewer may change, too. Raises Refusal."""
        repo = self.writable(repo_id, viewer)
        if viewer is None or not viewer.may_write(repo.owner):
            raise Refusal(403, f"The settings of {repo.id} are its owner's")
        return repo

    def repositories(self, viewer: Viewer | None) -> list[tuple[Repo, Commit]]:
        """All repositories that this viewer may see, with main's newest commit, oldest first."""
        with self.database.reading() as db:
            rows = db.execute(
                "select repos.id, repos.owner, repos.name, repos.private, repos.gated,"
                " repos.created_at, commits.* from repos"
                " join refs on refs.repo = repos.id and refs.kind = 'branch' and refs.name = 'main'"
                " join commits on commits.repo = repos.id and commits.sha = refs.sha"
                " order by repos.id"
            ).fetchall()
        heads = [(to_repo(row), to_commit(row)) for row in rows]
        return [(repo, commit) for repo, commit in heads if may_read(repo, viewer)]

    def update(self, repo: Repo, *, private: bool, gated: str | None) -> None:
        """Change who may see a repository and its files."""
        with self.database.writing() as db:
            db.execute(
                "update repos set private = ?, gated = ? where id = ?", (private, gated, repo.row)
            )

    def move(self, repo: Repo, owner: str, name: str) -> None:
        """Give a repository another owner or name. Raises Refusal 400 or 409."""
        if not valid_name(name):
            raise Refusal(400, f"{name[:100]!r} cannot name a repository")
        with self.database.writing() as db:
            try:
                db.execute(
                    "update repos set owner = ?, name = ? where id = ?", (owner, name, repo.row)
                )
            except sqlite3.IntegrityError as error:
                raise Refusal(409, f"There is a repository {owner}/{name} already") from error

    def delete(self, repo: Repo) -> None:
        """Remove a repository, and the contents that no other one holds."""
        with self.database.writing() as db:
            holdings = db.execute(
                "select sha256 from holdings where repo = ?", (repo.row,)
            ).fetchall()
            db.execute("delete from repos where id = ?", (repo.row,))
            for row in holdings:
                other = db.execute(
                    "select 1 from holdings where sha256 = ? limit 1", (row["sha256"],)
                )
                if other.fetchone() is None:
                    self.objects.remove(row["sha256"])
        shutil.rmtree(self.xet_folder(repo), ignore_errors=True)

    # ── history ─────────────────────────────────────────────────────────────────────────────

    def refs(self, repo: Repo) -> list[Ref]:
        """Branches and tags, by name."""
        with self.database.reading() as db:
            rows = db.execute(
                "select kind, name, sha from refs where repo = ? order by kind, name", (repo.row,)
            ).fetchall()
        return [Ref(kind=row["kind"], name=row["name"], sha=row["sha"]) for row in rows]

    def add_ref(self, repo: Repo, ref: Ref, *, overwrite: bool = False) -> None:
        """A new branch or tag. Raises Refusal 409 when the name is taken and stays."""
        if not valid_ref(ref.name):
            raise Refusal(400, f"Invalid {ref.kind} name")
        with self.database.writing() as db:
            if overwrite:
                db.execute(
                    "delete from refs where repo = ? and kind = ? and name = ?",
                    (repo.row, ref.kind, ref.name),
                )
            try:
                db.execute(
                    "insert into refs values (?, ?, ?, ?)", (repo.row, ref.kind, ref.name, ref.sha)
                )
            except sqlite3.IntegrityError as error:
                raise Refusal(409, f"Reference {ref.name} already exists") from error

    def remove_ref(self, repo: Repo, kind: str, name: str) -> None:
        """Delete a branch or tag; main stays."""
        if (kind, name) == ("branch", "main"):
            raise Refusal(403, "Branch main cannot be deleted")
        with self.database.writing() as db:
            cursor = db.execute(
                "delete from refs where repo = ? and kind = ? and name = ?", (repo.row, kind, name)
            )
            if cursor.rowcount == 0:
                raise revision_not_found(name)

    def commit(self, repo: Repo, revision: str) -> Commit:
        """The commit of a branch, tag, refs/pr/N or full sha. Raises Refusal RevisionNotFound."""
        revision = "main" if revision == "HEAD" else revision
        with self.database.reading() as db:
            revision = pulls.head(db, repo, revision) or revision
            row = db.execute(
                "select commits.* from commits join refs on refs.repo = commits.repo"
                " and refs.sha = commits.sha where refs.repo = ? and refs.name = ?"
                " order by refs.kind",
                (repo.row, revision),
            ).fetchone()
            if row is None and COMMIT.fullmatch(revision):
                row = db.execute(
                    "select * from commits where repo = ? and sha = ?", (repo.row, revision)
                ).fetchone()
        if row is None:
            raise revision_not_found(revision)
        return to_commit(row)

    def history(self, repo: Repo, head: Commit, limit: int) -> list[Commit]:
        """Up to `limit` commits from `head` back to the first, newest first."""
        commits = [head]
        with self.database.reading() as db:
            while commits[-1].parent is not None and len(commits) < limit:
                row = db.execute(
                    "select * from commits where repo = ? and sha = ?",
                    (repo.row, commits[-1].parent),
                ).fetchone()
                commits.append(to_commit(row))
        return commits

    def length(self, repo: Repo, head: Commit) -> int:
        """How many commits lead to `head`, itself included."""
        with self.database.reading() as db:
            row = db.execute(
                "with recursive back (sha, parent) as ("
                " select sha, parent from commits where repo = :repo and sha = :sha"
                " union select commits.sha, commits.parent from commits"
                " join back on commits.repo = :repo and commits.sha = back.parent)"
                " select count(*) as count from back",
                {"repo": repo.row, "sha": head.sha},
            ).fetchone()
        return int(row["count"])

    def tree(self, commit: Commit) -> dict[str, Entry]:
        """Every file of a commit by its path, in the order of the paths."""
        with self.database.reading() as db:
            return read_tree(db, commit.tree)

    def pulls(self, repo: Repo) -> list[pulls.Pull]:
        """Pull requests, the newest first."""
        with self.database.reading() as db:
            return pulls.pulls_of(db, repo)

    # ── contents ────────────────────────────────────────────────────────────────────────────

    def xet_folder(self, repo: Repo) -> Path:
        """Where the upload areas of a repository lie."""
        return self.folder / "xet" / str(repo.row)

    def holds(self, repo: Repo, sha256: str) -> int | None:
        """Size of a content that was sent to this repository, or None.

        Knowing a hash is not having the file: what other repositories hold does not count.
        """
        with self.database.reading() as db:
            row = db.execute(
                "select size from holdings where repo = ? and sha256 = ?", (repo.row, sha256)
            ).fetchone()
        return None if row is None else int(row["size"])

    def hold(self, repo: Repo, content: Incoming) -> None:
        """Store a whole, finished content for a repository."""
        with self.database.writing() as db:
            self.place(db, repo.row, content.path, content.sha256, content.size)

    def place(
        self, db: sqlite3.Connection, row: int, partial: Path, sha256: str, size: int
    ) -> None:
        """Record and rename a content inside the caller's transaction, so that `delete` waits."""
        db.execute("insert or ignore into holdings values (?, ?, ?)", (row, sha256, size))
        self.objects.place(partial, sha256)

    def xet_hash(self, sha256: str) -> str | None:
        """Xet's hash of a stored content, read once for it; None where it cannot be said."""
        with self.database.reading() as db:
            row = db.execute("select xet from xet_hashes where sha256 = ?", (sha256,)).fetchone()
        if row is not None:
            return str(row["xet"])
        path = self.objects.path(sha256)
        digest = xet_contents.xet_hash(path) if path.is_file() else None
        if digest is not None:
            with self.database.writing() as db:
                db.execute("insert or ignore into xet_hashes values (?, ?)", (sha256, digest))
        return digest

    def lend(self, source: Repo, target: Repo, sha256: str) -> bool:
        """Have `target` hold a large content of `source` too; False where `source` does not."""
        with self.database.writing() as db:
            row = db.execute(
                "select size from holdings where repo = ? and sha256 = ?", (source.row, sha256)
            ).fetchone()
            if row is not None:
                values = (target.row, sha256, row["size"])
                db.execute("insert or ignore into holdings values (?, ?, ?)", values)
        return row is not None

    def receive_xet(self, repo: Repo, sha256: str, size: int) -> bool:
        """Store a content from the repository's upload areas when its bytes prove the hash."""
        for file in xet_contents.find_upload(self.xet_folder(repo), sha256):
            if file.size != size:
                continue
            with self.objects.incoming() as content:
                xet_contents.extract(file, content)
                if (content.sha256, content.size) != (sha256, size):
                    continue
                content.finish()
                self.hold(repo, content)
            return True
        return False

    def close_areas(self, repo: Repo) -> None:
        """Remove upload areas of which every file is stored by now."""
        folder = self.xet_folder(repo)
        for area in folder.iterdir() if folder.is_dir() else ():
            uploaded = {file.sha256 for file in xet_contents.area_files(area)}
            stored = {sha256 for sha256 in uploaded if self.holds(repo, sha256) is not None}
            if uploaded:
                xet_contents.close_area(area, stored, self._kept(repo))

    def open_area(self, repo: Repo) -> Path:
        """A new area for what Xet uploads into a repository."""
        return xet_contents.open_area(self.xet_folder(repo), self._kept(repo))

    def _kept(self, repo: Repo) -> Path | None:
        folder = self.xet_folder(repo)
        return folder.parent.with_name("chunks") / folder.name if self._deduplicates else None
