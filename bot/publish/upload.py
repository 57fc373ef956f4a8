"""A folder of measured files → one commit on the Hub, seen by others only once it is verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub
from bot.errors import BotError, PublishError
from bot.publish.held import Differs, differing, verify_held
from bot.records.built import Built
from bot.records.releases import Release

CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """Where the files are now. `changed` names what this push wrote; empty: nothing was to do."""

    repo_id: str
    commit: str
    changed: tuple[str, ...]


def publish_commit(
    hub: Hub,
    repo_id: str,
    files: Mapping[str, Built],
    message: str,
    *,
    private: bool,
    deletions: Sequence[str] = (),
    before: Release | None = None,
    report_step: Callable[[int], None] = lambda _step: None,
    look: Callable[[Release], None] = lambda _held: None,
) -> tuple[Pushed, Release]:
    """Upload, verify, and only then show a repository; what it holds in the end.

    `look` is a second look at what the Hub holds by then: it raises Differs for what must not be
    shown.

    A new repository is private until it is verified. One that everybody sees already is verified
    at once, and put back where it does not hold what was sent. Raises PublishError then. `before`
    is the repository that the files were compared with: it must not have changed.
    """
    before = before or open_private(hub, repo_id)
    pushed = upload(hub, before, files, message, deletions)
    report_step(1)
    try:
        held = verify_held(hub, repo_id, pushed.commit, files)
        look(held)
    except Differs as error:
        if before.private or not pushed.changed:
            raise
        _put_back(hub, before, pushed, error)
    report_step(2)
    if held.private and not private:
        hub.make_public(repo_id)
    report_step(3)
    return pushed, held


def _put_back(hub: Hub, before: Release, pushed: Pushed, error: Differs) -> NoReturn:
    """Return a repository that everybody sees to what it held. Always raises PublishError."""
    repo_id, was = before.repo_id, before.commit[:12]
    message = f"Back to {was}: {error.path} is not there as it was meant"
    try:
        Writer(hub).restore(hub.release(repo_id, pushed.commit), before, message, pushed.changed)
    except BotError as trouble:
        raise PublishError(
            f"{repo_id} does not show {error.path} as it was meant ({error.why}) and could not be "
            f"put back ({trouble}); run `bot rollback {repo_id} {was}`"
        ) from error
    raise PublishError(
        f"{repo_id} is back at what it held at {was}: {error.path}: {error.why}; publish it again"
    ) from error


def open_private(hub: Hub, repo_id: str) -> Release:
    """The repository as it is now, made private where there was none."""
    if not hub.exists(repo_id):
        hub.create_private(repo_id)
    return hub.release(repo_id)


def open_public(hub: Hub, repo_id: str) -> Release:
    """The repository as it is now; where there was none an empty one that everybody sees."""
    if not hub.exists(repo_id):
        hub.create_public(repo_id)
    return hub.release(repo_id)


def upload(
    hub: Hub,
    before: Release,
    files: Mapping[str, Built],
    message: str,
    deletions: Sequence[str] = (),
) -> Pushed:
    """Make the repository hold `files`, by path in it, and `deletions` no more.

    Only what differs is sent, all of it in one commit on `before`; a repository that changed
    meanwhile is an error of the Hub client, never overwritten.
    """
    changed = differing(before, files)
    held_paths = {file.path for file in before.files}
    deleted = tuple(path for path in deletions if path in held_paths and path not in files)
    if not changed and not deleted:
        return Pushed(repo_id=before.repo_id, commit=before.commit, changed=())
    order = order_of(changed)
    paths = {path: Path(files[path].path) for path in order}
    commit = hub.commit(before.repo_id, paths, message, parent=before.commit, deletions=deleted)
    return Pushed(repo_id=before.repo_id, commit=commit, changed=(*order, *deleted))


def order_of(paths: Iterable[str]) -> list[str]:
    """Paths as they stand in a commit: the card comes last, after the files that it names."""
    return sorted(paths, key=lambda path: (path == CARD, path))
