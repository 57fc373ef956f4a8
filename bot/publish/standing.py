"""Whether a repository holds a whole build of the bot's, by what its own provenance says of it."""

from __future__ import annotations

from collections.abc import Mapping

from bot.clients.hub.hub import Hub
from bot.errors import SourceError
from bot.publish import provenance
from bot.publish.held import differing
from bot.publish.provenance import Made
from bot.publish.update import BESIDE
from bot.records.built import Built
from bot.records.releases import Release, RepoFile


def said_of(hub: Hub, release: Release) -> Made | None:
    """What the bot said it made of this repository, at this commit; None where it said nothing."""
    if provenance.NAME not in {file.path for file in release.files}:
        return None
    try:
        said = hub.read_json(release.repo_id, release.commit, provenance.NAME, provenance.LIMIT)
    except SourceError:  # no JSON object: not the bot's
        return None
    return provenance.parse(said)


def is_whole(release: Release, made: Made) -> bool:
    """Whether every file of a build is there, with the content that its provenance names.

    Card and changelog need only be there: people may write in them.
    """
    there = {file.path: file for file in release.files}
    return BESIDE - {"CHANGELOG.md"} <= there.keys() and all(
        path in there and _is(there[path], sha256, made.blobs.get(path))
        for path, sha256 in made.files.items()
    )


def _is(file: RepoFile, sha256: str, blob: str | None) -> bool:
    """By sha256 where the Hub keeps one (LFS), else by git's name of the content."""
    return file.sha256 == sha256 if file.sha256 is not None else file.blob_id == blob


def standing(hub: Hub, release: Release, files: Mapping[str, Built]) -> dict[str, Built] | None:
    """Those of `files` that a repository holds, where it holds this very build by another hand.

    What differs between two machines, times above all, is no reason for a commit. None where it
    holds something else, or nothing whole.
    """
    ours, made = provenance.of_files(files), said_of(hub, release)
    if ours is None or made is None or not made.is_of(ours.asked) or not is_whole(release, made):
        return None
    others = set(differing(release, files))
    return {path: built for path, built in files.items() if path not in others}
