"""Contents of files ahead of the commit that will name them: nothing becomes visible."""

from __future__ import annotations

from collections.abc import Mapping

from bot.clients.hub.hub import Hub
from bot.publish.held import differing
from bot.publish.upload import open_private, open_public
from bot.records.built import Built


def send_files(
    hub: Hub, repo_id: str, files: Mapping[str, Built], *, private: bool = True
) -> tuple[str, ...]:
    """Send what `repo_id` does not hold of `files`, by path in it; returns the paths.

    A repository that does not exist is made, empty. Its files stay as they are until a commit,
    which then sends these no more.
    """
    before = open_private(hub, repo_id) if private else open_public(hub, repo_id)
    missing = differing(before, files)
    hub.preupload(repo_id, {path: files[path] for path in missing})
    return missing
