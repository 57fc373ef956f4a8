"""A release's 16-bit GGUF → a file here whose hash is the Hub's."""

from __future__ import annotations

from pathlib import Path

from bot.clients.hub import Hub
from bot.errors import SourceError
from bot.records import Release, RepoFile
from bot.workspace import sha256


def fetch(hub: Hub, release: Release, file: RepoFile, folder: Path) -> Path:
    """Download `file` at the release's commit into `folder`, resuming what is there already.

    Raises SourceError when the bytes differ from what the Hub lists.
    """
    path = hub.download(release.repo_id, release.commit, file.path, folder)
    size = path.stat().st_size
    if size != file.size:
        path.unlink()
        raise SourceError(
            f"{release.repo_id}/{file.path} came with {size} bytes of {file.size}; run again"
        )
    if file.sha256 and sha256(path) != file.sha256:
        path.unlink()
        raise SourceError(f"{release.repo_id}/{file.path} came damaged; run again")
    return path
