"""A card looked at before it is published: its repository on a local Hub of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bot.errors import SettingsError
from bot.localhub.files.commit_body import REGULAR_LIMIT, Changes, Put, lfs_entry, regular_entry
from bot.localhub.files.commits import commit, create_repo
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Repo
from bot.localhub.server import serve_hub
from bot.records.built import Built
from bot.serving.refusal import Refusal


def show_card(
    folder: Path,
    repo_id: str,
    files: Mapping[str, Built],
    port: int,
    ready: Callable[[str], None],
) -> None:
    """Serve a repository of `files` until interrupted; `ready` gets its address.

    Nothing is copied: large files are linked, so `folder` must be on their disk. What is made there
    is gone at the end.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".preview-") as place:
        fill(Store(Path(place)), repo_id, files)
        serve_hub(Path(place), port, ready=lambda url: ready(f"{url}/{repo_id}"))


def fill(store: Store, repo_id: str, files: Mapping[str, Built]) -> Repo:
    """Put files into a new repository. Raises SettingsError for a name that a Hub does not allow,
    and for files on another disk.
    """
    owner, _, name = repo_id.partition("/")
    try:
        store.add_user(owner)
        repo = create_repo(store, owner, name, author=owner, private=False)
    except Refusal as refusal:
        raise SettingsError(f"{repo_id}: {refusal.message}; choose another --to") from refusal
    puts = [_put(store, repo, path, file) for path, file in sorted(files.items())]
    changes = Changes(title="Preview", message="", parent=None, operations=tuple(puts))
    commit(store, repo, "main", owner, changes)
    return repo


def _put(store: Store, repo: Repo, path: str, file: Built) -> Put:
    source = Path(file.path)
    if file.bytes <= REGULAR_LIMIT:
        data = source.read_bytes()
        entry = regular_entry(path, data)
        _place(store, repo, source, entry.sha256, entry.size, data)
        return Put(entry=entry, staged=None)
    entry = lfs_entry(path, file.sha256, file.bytes)
    _place(store, repo, source, entry.sha256, entry.size, None)
    return Put(entry=entry, staged=None)


def _place(
    store: Store, repo: Repo, source: Path, digest: str, size: int, data: bytes | None
) -> None:
    """Store a content: small ones as a copy, large ones as a second name of the same file."""
    with store.objects.staging() as staging:
        content = staging / "content"
        if data is not None:
            content.write_bytes(data)
        else:
            try:
                os.link(source, content)
            except OSError as error:
                raise SettingsError(
                    f"{source} cannot be linked ({error.strerror}); preview beside the files"
                ) from error
        with store.database.writing() as db:
            store.place(db, repo.row, content, digest, size)
