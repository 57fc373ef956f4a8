"""A person's agreement before a release is shown: a pull request of the Hub, merged or closed.

The Hub alone remembers it: a build's pull request is known by its author and by the end of its
title, so any machine finds it, and nothing is proposed twice.
"""

from __future__ import annotations

import re
from pathlib import Path

from bot.clients.hub.community import Community, HubPull
from bot.clients.hub.hub import Hub
from bot.errors import GateError
from bot.publish.held import differing, verify_held
from bot.publish.update import CHANGES, Update
from bot.publish.upload import CARD, order_of
from bot.records.built import Built
from bot.records.releases import Release
from bot.wording.blocks import sections

EVALUATION = "<!-- apex-bot: evaluation -->"  # by which a comment of ours is known
LONGEST = 60_000  # letters of a comment
_PICTURE = re.compile(r"^(?:<picture|!\[).*$\n?", re.MULTILINE)  # their files are not beside it


def pull_of(hub: Hub, repo_id: str, key: str) -> HubPull | None:
    """The pull request of the build with this key; None where there is none.

    Raises GateError for one that a person closed.
    """
    pull = Community(hub).pull(repo_id, mark(key))
    if pull is not None and pull.status == "closed":
        raise GateError(
            f"{repo_id} is not published: {pull.url} was closed without a merge; "
            "open it again on the Hub, or build something else"
        )
    return pull


def ask_people(
    hub: Hub, before: Release, update: Update, key: str, evaluation: str
) -> HubPull | None:
    """Propose an update to people unless that was done; the pull request as it stands.

    None where the repository holds all of it without one. After a merge into a repository that
    nobody else sees yet, the measured files are verified; card and changelog are as people left
    them. Raises GateError for what a person refused, Differs for what was merged otherwise.
    """
    repo_id, pull = before.repo_id, pull_of(hub, before.repo_id, key)
    held_paths = {file.path for file in before.files}
    deletions = tuple(path for path in update.deletions if path in held_paths)
    changed = differing(before, update.files)
    if pull is not None and pull.status == "merged" and before.private:
        verify_held(hub, repo_id, before.commit, measured_files(update))
        return pull
    if (pull is None or pull.status == "merged") and (changed or deletions):
        title, _, description = update.message.partition("\n\n")
        paths = {path: Path(update.files[path].path) for path in order_of(changed)}
        pull = Community(hub).propose(
            repo_id, paths, title, description, before.commit, mark(key), deletions
        )
    if pull is None and before.private:
        raise GateError(
            f"{repo_id} holds this build already and nobody agreed to it; "
            "show it on the Hub yourself"
        )
    if pull is not None and pull.status == "open":
        tell_people(hub, repo_id, pull, evaluation)
    return pull


def tell_people(hub: Hub, repo_id: str, pull: HubPull, evaluation: str) -> None:
    """Have the evaluation among the comments, once; an empty one is not made here yet."""
    if evaluation:
        Community(hub).comment(repo_id, pull, evaluation, EVALUATION)


def measured_files(update: Update) -> dict[str, Built]:
    """Its files without card and changelog, which are as people merged them."""
    return {path: file for path, file in update.files.items() if path not in (CARD, CHANGES)}


def mark(key: str) -> str:
    """How the title of the pull request for a job's build ends."""
    return f"[build-{key[:12]}]"


def evaluation_comment(card: str, gate: str) -> str:
    """What a person decides on, as a comment: the card's benchmarks and the gate's verdict."""
    benchmarks = [text for name, text in sections(card) if name.startswith("benchmark")]
    table = _PICTURE.sub("", "".join(benchmarks)).strip()
    comment = (
        f"{EVALUATION}\n{table}\n\n## Gate\n\n```text\n{gate.strip()}\n```\n\n"
        "Merge this pull request to agree, or close it to refuse; then run the same command again. "
        "After a merge every file is compared with what was measured before the repository is "
        "shown.\n"
    )
    return comment[:LONGEST]
