"""What the Hub holds against what was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bot.clients.hub import Hub
from bot.errors import PublishError
from bot.records import Built, Release, RepoFile


def differing(release: Release, files: Mapping[str, Built]) -> tuple[str, ...]:
    """Paths whose content on the Hub is not the local file's, in the order of `files`."""
    held = {file.path: file for file in release.files}
    return tuple(path for path, built in files.items() if not _same(held.get(path), built))


def _same(held: RepoFile | None, built: Built) -> bool:
    """By sha256 where the Hub keeps one (LFS), else by git's own hash of the content."""
    if held is None or held.size != built.bytes:
        return False
    if held.sha256 is not None:
        return held.sha256 == built.sha256
    return held.blob_id == git_blob_id(Path(built.path))


def git_blob_id(path: Path) -> str:
    """sha1 that git gives a small file's content (`git hash-object`)."""
    return blob_id(path.read_bytes())


def blob_id(content: bytes) -> str:
    """The same of the content itself."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


class Differs(PublishError):
    """The Hub holds something else; `path` names the first such file."""

    def __init__(self, repo_id: str, path: str) -> None:
        super().__init__(
            f"{repo_id} does not hold the measured {path}; it stays private, publish it again"
        )
        self.path = path


def verify(hub: Hub, repo_id: str, commit: str, files: Mapping[str, Built]) -> Release:
    """The repository at `commit`, if it holds exactly `files`.

    Raises Differs naming the first file that does not hold.
    """
    release = hub.release(repo_id, commit)
    wrong = differing(release, files)
    if wrong:
        raise Differs(repo_id, wrong[0])
    return release
