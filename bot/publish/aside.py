"""A build that lies on a pull request of ours until it is verified, and is merged at once.

It takes no private storage, of which accounts have little, and the main branch never shows what
was not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bot.clients.hub.community import Community, HubPull
from bot.clients.hub.hub import Hub
from bot.clients.hub.refusals import moved_on
from bot.errors import PublishError
from bot.publish.approval import mark
from bot.publish.held import differing, verify_held
from bot.publish.update import Update
from bot.publish.upload import Pushed, order_of
from bot.records.releases import Release


def publish_aside(
    hub: Hub,
    before: Release,
    update: Update,
    key: str,
    *,
    private: bool,
    report_step: Callable[[int], None] = lambda _step: None,
    look: Callable[[Release], None] = lambda _held: None,
) -> tuple[Pushed, Release]:
    """As `upload.publish_commit`, through a pull request of the build with this key.

    What is not as it was measured is never merged: its pull request is closed, and Differs raised.
    Raises PublishError where somebody else changed the repository meanwhile.
    """
    repo_id, community = before.repo_id, Community(hub)
    held_paths = {file.path for file in before.files}
    deletions = tuple(path for path in update.deletions if path in held_paths)
    changed = order_of(differing(before, update.files))
    if changed or deletions:
        pull = _proposed(hub, before, update, key, changed, deletions)
        report_step(1)
        try:
            look(verify_held(hub, repo_id, pull.ref, update.files))
            report_step(2)
            if hub.head(repo_id) != before.commit:
                raise moved_on(repo_id)
            community.merge(repo_id, pull)
        except PublishError as error:
            community.close(repo_id, pull, f"Not merged: {error}")
            raise
    held = verify_held(hub, repo_id, "main", update.files)
    if not changed and not deletions:
        look(held)
    if held.private and not private:
        hub.make_public(repo_id)
    report_step(3)
    return Pushed(repo_id=repo_id, commit=held.commit, changed=(*changed, *deletions)), held


def _proposed(
    hub: Hub,
    before: Release,
    update: Update,
    key: str,
    changed: Sequence[str],
    deletions: Sequence[str],
) -> HubPull:
    """The build's open pull request: that of a stopped run, if it holds just this, or a new one."""
    repo_id, community = before.repo_id, Community(hub)
    pull = community.pull(repo_id, mark(key))
    if pull is not None and pull.status == "open":
        if not differing(hub.release(repo_id, pull.ref), update.files):
            return pull
        community.close(repo_id, pull, "Made again otherwise.")
    title, _, description = update.message.partition("\n\n")
    paths = {path: Path(update.files[path].path) for path in changed}
    return community.propose(
        repo_id, paths, title, description, before.commit, mark(key), deletions
    )
