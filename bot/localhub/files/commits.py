"""Making repositories and commits: everything is checked first, then written in one transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

from bot.localhub.files import attributes, pulls
from bot.localhub.files.accounts import valid_name
from bot.localhub.files.card_data import repository_facts
from bot.localhub.files.commit_body import Changes, Delete, Put, regular_entry
from bot.localhub.files.pulls import Pull
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Commit, Entry, Repo, now, read_tree, write_tree
from bot.serving.refusal import Refusal, entry_not_found, revision_not_found


def create_repo(
    store: Store,
    owner: str,
    name: str,
    *,
    author: str,
    private: bool,
    gated: str | None = None,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> Repo:
    """A new repository whose first commit holds .gitattributes, as on the Hub, and `files`.

    Raises Refusal 400 for a name that is not allowed and 409 for one that is taken.
    """
    if not valid_name(name):
        raise Refusal(400, "Repository names are letters, digits, '-', '_' and '.', at most 96")
    created = now()
    with store.database.writing() as db:
        try:
            row = db.execute(
                "insert into repos (owner, name, private, gated, created_at) values (?,?,?,?,?)",
                (owner, name, private, gated, created),
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise Refusal(409, "You already created this model repo") from error
        if row is None:
            raise AssertionError("an insert has a row")
        repo = Repo(
            row=row, owner=owner, name=name, private=private, gated=gated, created_at=created
        )
        texts = {attributes.FILE: attributes.INITIAL.encode(), **files}
        entries = {path: _store(store, db, repo, path, texts[path]) for path in texts}
        first = Changes(title="initial commit", message="", parent=None, operations=())
        _record(store, db, repo, "main", first, _applied(entries, first), None, author)
    return repo


def commit(store: Store, repo: Repo, branch: str, author: str, changes: Changes) -> Commit:
    """Apply `changes` to a branch, all or nothing.

    Raises Refusal: 404 for an unknown branch or deleted path, 412 when the branch has moved on
    from the given parent, 400 when an LFS file was not sent or two paths contradict each other.
    """
    with store.database.reading() as db:
        _check_parent(_head(db, repo, branch), changes)
    _require_all(store, repo, changes)
    with store.database.writing() as db:
        record = _apply(store, db, repo, branch, author, changes)
    store.close_areas(repo)
    return record


def propose_commit(store: Store, repo: Repo, author: str, changes: Changes) -> tuple[Pull, Commit]:
    """A pull request with one commit, on the given parent or on main as it is.

    Raises Refusal as `commit`.
    """
    _require_all(store, repo, changes)
    with store.database.writing() as db:
        base = changes.parent or _head(db, repo, "main")
        _files(db, repo, base)
        pull = pulls.begin_pull(db, repo, author, changes.title, changes.message, base)
        record = _apply(store, db, repo, pull.ref, author, changes)
    store.close_areas(repo)
    return pull, record


def merge_pull(store: Store, repo: Repo, number: int, author: str) -> Commit:
    """Merge a pull request: its changes as one commit on main.

    Raises Refusal: 404 without one, 400 when it is not open, 409 when main changed the same files.
    """
    with store.database.writing() as db:
        pull, main = pulls.open_pull(db, repo, number), _head(db, repo, "main")
        proposed = _files(db, repo, pull.sha)
        files = pulls.mark_merged(
            _files(db, repo, pull.base), _files(db, repo, main), proposed, attributes.FILE
        )
        large = [path for path, entry in proposed.items() if entry.lfs and files.get(path) == entry]
        _cover(store, db, repo, files, large)
        title = f"{pull.title} (#{number})"
        changes = Changes(title=title, message="", parent=main, operations=())
        merged = _record(store, db, repo, "main", changes, files, main, author)
        pulls.settle(db, repo, pull, "merged", author, merged.sha)
    return merged


def _require_all(store: Store, repo: Repo, changes: Changes) -> None:
    for put in _puts(changes):
        if put.entry.lfs:
            _require(store, repo, put.entry)


def _apply(
    store: Store, db: sqlite3.Connection, repo: Repo, branch: str, author: str, changes: Changes
) -> Commit:
    head = _head(db, repo, branch)
    _check_parent(head, changes)
    files = _applied(_files(db, repo, head), changes)
    for put in _puts(changes):
        if put.staged is not None:
            store.place(db, repo.row, put.staged, put.entry.sha256, put.entry.size)
    large = [put.entry.path for put in _puts(changes) if put.entry.lfs and put.entry.path in files]
    _cover(store, db, repo, files, large)
    return _record(store, db, repo, branch, changes, files, head, author)


def _files(db: sqlite3.Connection, repo: Repo, sha: str) -> dict[str, Entry]:
    row = db.execute(
        "select tree from commits where repo = ? and sha = ?", (repo.row, sha)
    ).fetchone()
    if row is None:
        raise revision_not_found(sha)
    return read_tree(db, row["tree"])


def _puts(changes: Changes) -> Iterable[Put]:
    return (operation for operation in changes.operations if isinstance(operation, Put))


def _head(db: sqlite3.Connection, repo: Repo, branch: str) -> str:
    proposed = pulls.head(db, repo, branch)
    if proposed is not None:
        return proposed
    row = db.execute(
        "select sha from refs where repo = ? and kind = 'branch' and name = ?", (repo.row, branch)
    ).fetchone()
    if row is None:
        raise revision_not_found(branch)
    return str(row["sha"])


def _check_parent(head: str, changes: Changes) -> None:
    if changes.parent is not None and changes.parent != head:
        raise Refusal(412, f"A commit has happened since {changes.parent}. The head is now {head}")


def _require(store: Store, repo: Repo, entry: Entry) -> None:
    """Raise Refusal 400 unless the repository holds a content of this hash and size."""
    size = store.holds(repo, entry.sha256)
    if size is None and store.receive_xet(repo, entry.sha256, entry.size):
        return
    if size is None:
        raise Refusal(400, f"The content of {entry.path} was not uploaded: {entry.sha256}")
    if size != entry.size:
        raise Refusal(400, f"{entry.path} has {size} bytes, the commit says {entry.size}")


def _applied(files: dict[str, Entry], changes: Changes) -> dict[str, Entry]:
    for operation in changes.operations:
        match operation:
            case Put():
                files[operation.entry.path] = operation.entry
            case Delete():
                _remove(files, operation)
    for path in files:
        for folder in PurePosixPath(path).parents:
            if str(folder) in files:
                raise Refusal(400, f"{folder} cannot be a file and the folder of {path}")
    return files


def _remove(files: dict[str, Entry], operation: Delete) -> None:
    prefix = f"{operation.path}/"
    names = (
        [path for path in files if path.startswith(prefix)]
        if operation.folder
        else [path for path in files if path == operation.path]
    )
    if not names:
        raise entry_not_found(operation.path)
    for name in names:
        del files[name]


def _cover(
    store: Store, db: sqlite3.Connection, repo: Repo, files: dict[str, Entry], paths: list[str]
) -> None:
    """Name new LFS files in .gitattributes where nothing there covers them."""
    old = files.get(attributes.FILE)
    if not paths or (old is not None and (old.lfs or old.size > attributes.LIMIT)):
        return
    data = b"" if old is None else store.objects.read(old.sha256, attributes.LIMIT)
    text = data.decode("utf-8", "replace")
    covered = attributes.covering(text, paths)
    if covered != text:
        files[attributes.FILE] = _store_attributes(store, db, repo, covered)


def _store_attributes(store: Store, db: sqlite3.Connection, repo: Repo, text: str) -> Entry:
    return _store(store, db, repo, attributes.FILE, text.encode())


def _store(store: Store, db: sqlite3.Connection, repo: Repo, path: str, data: bytes) -> Entry:
    entry = regular_entry(path, data)
    with store.objects.incoming() as content:
        content.write(data)
        content.finish()
        store.place(db, repo.row, content.path, entry.sha256, entry.size)
    return entry


def _record(
    store: Store,
    db: sqlite3.Connection,
    repo: Repo,
    branch: str,
    changes: Changes,
    files: dict[str, Entry],
    parent: str | None,
    author: str,
) -> Commit:
    """Write tree and commit, and move the branch. The sha is over all that the commit says."""
    tree, time = write_tree(db, files), now()
    content = [repo.id, tree, parent, author, time, changes.title, changes.message]
    sha = hashlib.sha1(json.dumps(content).encode(), usedforsecurity=False).hexdigest()
    commit_record = Commit(
        sha=sha,
        parent=parent,
        tree=tree,
        author=author,
        time=time,
        title=changes.title,
        message=changes.message,
        facts=repository_facts(files, store.objects.read),
    )
    db.execute(
        "insert into commits values (?,?,?,?,?,?,?,?,?)",
        (repo.row, sha, parent, tree, author, time, commit_record.title, commit_record.message,
         json.dumps(commit_record.facts)),
    )  # fmt: skip
    if pulls.REF.fullmatch(branch):
        pulls.move_pulls(db, repo, branch, sha, author, commit_record.title)
        return commit_record
    db.execute(
        "insert into refs values (?, 'branch', ?, ?)"
        " on conflict (repo, kind, name) do update set sha = excluded.sha",
        (repo.row, branch, sha),
    )
    return commit_record
