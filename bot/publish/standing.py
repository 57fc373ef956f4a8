"""Whether a repository holds this very build, made by another machine."""

from __future__ import annotations

from collections.abc import Mapping

from bot.clients.hub.hub import Hub
from bot.publish.held import differing
from bot.records.built import Built
from bot.records.releases import Release
from bot.workplace import provenance
from bot.workplace.provenance import is_whole, provenance_of


def standing(hub: Hub, release: Release, files: Mapping[str, Built]) -> dict[str, Built] | None:
    """Those of `files` that a repository holds, where it holds this very build by another hand.

    What differs between two machines, times above all, is no reason for a commit. None where it
    holds something else, or nothing whole.
    """
    ours, statement = provenance.of_files(files), provenance_of(hub, release)
    if (
        ours is None
        or statement is None
        or not statement.is_of(ours.asked)
        or not is_whole(release, statement)
    ):
        return None
    differing_paths = set(differing(release, files))
    return {path: built for path, built in files.items() if path not in differing_paths}
