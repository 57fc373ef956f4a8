"""Changes to a repository beyond a plain commit: what is rare, and needs a Hub's help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

from bot.clients.hub import Hub
from bot.records import Release

ATTRIBUTES = ".gitattributes"  # the Hub's own: it follows from the files


class Writer:
    """Changes that one Hub makes for us without files of this machine."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def restore(
        self,
        now: Release,
        then: Release,
        message: str,
        paths: Iterable[str],
        files: Mapping[str, Path] | None = None,
    ) -> str:
        """One commit on `now` that gives `paths` the content they had at `then`.

        The Hub copies large files itself; only `files`, by their path, are sent. Returns the
        commit's sha, `now`'s where nothing differs. Raises what `Hub.commit` raises.
        """
        wanted = {file.path: file for file in then.files if file.path != ATTRIBUTES}
        there = {file.path: file for file in now.files if file.path != ATTRIBUTES}
        among = set(paths)
        copied = sorted(p for p in among & wanted.keys() if wanted[p] != there.get(p))
        removed = sorted(among & there.keys() - wanted.keys())
        if not copied and not removed and not files:
            return now.commit
        operations = [
            *(CommitOperationAdd(p, str(file)) for p, file in (files or {}).items()),
            *(CommitOperationCopy(p, p, src_revision=then.commit) for p in copied),
            *(CommitOperationDelete(path_in_repo=path) for path in removed),
        ]

        def landed(found: Release) -> bool:
            held = {file.path: file for file in found.files}
            return all(held.get(path) == wanted.get(path) for path in (*copied, *removed))

        return self._hub.settle(
            now.repo_id,
            lambda: self._hub.send(now.repo_id, operations, message, now.commit),
            landed,
            now.commit,
        )
