"""What follows a publication: the owner's collection, a gallery's entries, storage given back.

The release is out by then: what fails here is said, and done by the next run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bot.clients.hub.community import Community
from bot.disk.folders import JobFolder
from bot.disk.writing import keep_text
from bot.errors import BotError
from bot.publish.offering import offer
from bot.publish.publication import Published
from bot.publish.reclaim import reclaim
from bot.workplace.workplace import Workplace


def follow(workplace: Workplace, published: Published, *, complete: bool = True) -> Published:
    """Do what the settings ask for after a publication; what is done already is left alone.

    What waits for a person is no publication yet; one that is not `whole` goes on.
    """
    if published.waiting:
        return published
    if complete:
        _note(published)
    if published.public:
        _collect(workplace, published.repo_id)
        offer(workplace, published)
    return replace(published, reclaimed=_prune(workplace, published.repo_id))


def _note(published: Published) -> None:
    """Leave word in the job's folder, by which `bot clean` knows that it is over."""
    job = JobFolder(Path(published.folder).parent)
    if job.release.is_dir():
        record = {"repo_id": published.repo_id, "commit": published.commit, "url": published.url}
        keep_text(job.published, json.dumps(record) + "\n")


def _collect(workplace: Workplace, repo_id: str) -> None:
    """Add what everybody sees to the owner's collection that the settings name."""
    title = workplace.settings.publish.collection
    if title is None:
        return
    try:
        slug = Community(workplace.hub).collect(repo_id, title)
    except BotError as error:
        workplace.narrator.say(f"{repo_id} is not in the collection {title!r} yet: {error}")
        return
    workplace.narrator.say(f"{repo_id} is in the collection {slug}")


def _prune(workplace: Workplace, repo_id: str) -> int:
    """Bytes of storage given back; none where the settings keep everything."""
    settings = workplace.settings.publish
    if not settings.prune:
        return 0
    try:
        replaced_files = reclaim(workplace.publisher(repo_id), repo_id, settings.keep_builds)
    except BotError as error:
        workplace.narrator.say(f"{repo_id} keeps the storage of replaced files: {error}")
        return 0
    for file in replaced_files:
        workplace.narrator.say(f"{repo_id}: gave back {file.path}, {file.bytes} bytes")
    return sum(file.bytes for file in replaced_files)
