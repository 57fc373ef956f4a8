"""What follows a publication: the owner's collection, storage given back.

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
from bot.publish.publication import Published
from bot.publish.reclaim import reclaim
from bot.workplace.workplace import Workplace


def follow(workplace: Workplace, done: Published, *, whole: bool = True) -> Published:
    """Do what the settings ask for after a publication; what is done already is left alone.

    What waits for a person is no publication yet; one that is not `whole` goes on.
    """
    if done.waiting:
        return done
    if whole:
        _note(done)
    if done.public:
        _collect(workplace, done.repo_id)
    return replace(done, reclaimed=_prune(workplace, done.repo_id))


def _note(done: Published) -> None:
    """Leave word in the job's folder, by which `bot clean` knows that it is over."""
    job = JobFolder(Path(done.folder).parent)
    if job.release.is_dir():
        told = {"repo_id": done.repo_id, "commit": done.commit, "url": done.url}
        keep_text(job.published, json.dumps(told) + "\n")


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
    wanted = workplace.settings.publish
    if not wanted.prune:
        return 0
    try:
        gone = reclaim(workplace.publisher(repo_id), repo_id, wanted.keep_builds)
    except BotError as error:
        workplace.narrator.say(f"{repo_id} keeps the storage of replaced files: {error}")
        return 0
    for one in gone:
        workplace.narrator.say(f"{repo_id}: gave back {one.path}, {one.bytes} bytes")
    return sum(one.bytes for one in gone)
