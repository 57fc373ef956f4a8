"""A folder of measured files → one commit on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.clients.hub import Hub
from bot.publish.verify import differing
from bot.records import Built


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """Where the files are now. `changed` names what this push wrote; empty: nothing was to do."""

    repo_id: str
    commit: str
    changed: tuple[str, ...]


def upload(hub: Hub, repo_id: str, files: Mapping[str, Built], message: str) -> Pushed:
    """Make `repo_id` (private when it is new) hold `files`, by path in the repository.

    Only what differs is sent, all of it in one commit on the commit that was compared with; a
    repository that changed meanwhile is an error of the Hub client, never overwritten.
    """
    if not hub.exists(repo_id):
        hub.create_private(repo_id)
    release = hub.release(repo_id)
    changed = differing(release, files)
    if not changed:
        return Pushed(repo_id=repo_id, commit=release.commit, changed=())
    # the card comes last in the commit, after the files that it names
    order = sorted(changed, key=lambda path: (path == "README.md", path))
    paths = {path: Path(files[path].path) for path in order}
    commit = hub.commit(repo_id, paths, message, parent=release.commit)
    return Pushed(repo_id=repo_id, commit=commit, changed=tuple(order))
