"""The last stretch: a finished job → a repository that holds just what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bot.clients.hub.changes import Writer
from bot.clients.hub.community import HubPull
from bot.clients.hub.hub import Hub
from bot.clock import SystemClock, iso
from bot.disk.folders import GATE
from bot.disk.paths import slug
from bot.errors import BotError, PublishError, SourceError
from bot.lint.card_rules import astray
from bot.progress import Report
from bot.publish.approval import (
    ask_people,
    evaluation_comment,
    measured_files,
    pull_of,
    tell_people,
)
from bot.publish.aside import publish_aside
from bot.publish.held import Unfit, read_as_written
from bot.publish.reclaim import TAG
from bot.publish.standing import standing
from bot.publish.update import Update, plan_update, rollback_files
from bot.publish.upload import CARD, Pushed, open_private, open_public, publish_commit
from bot.records.built import Built
from bot.records.releases import Release
from bot.settings.advisories import Advisory, load_advisories
from bot.wording.blocks import front_matter_of
from bot.workplace.asked import Order
from bot.workplace.provenance import is_whole, provenance_of
from bot.workplace.workplace import Workplace

RESULTS = "results.json"
HISTORY = 1000  # commits that are looked through


@dataclass(frozen=True, kw_only=True)
class Published:
    """How a publication ended. `changed` is empty when the Hub held everything already.

    `waiting` is the pull request that a person has to merge first, `shown` whether the repository
    was private until now, `reclaimed` the bytes of the Hub's storage that were given back.
    """

    repo_id: str
    url: str
    commit: str
    public: bool
    changed: tuple[str, ...]
    files: tuple[str, ...]
    folder: str
    shown: bool = False
    waiting: str | None = None
    reclaimed: int = 0
    lacks: tuple[str, ...] = ()  # parts of the model that could not be converted, and why


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """How a rollback ended. `changed` is empty when the files were as they should be."""

    repo_id: str
    url: str
    commit: str
    revision: str
    changed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Version:
    """A build that a repository had; `bot rollback` takes its name or commit."""

    name: str
    commit: str
    current: bool


def held_already(
    workplace: Workplace, repo_id: str, order: Order, *, private: bool, superset: bool = False
) -> Published | None:
    """What a repository holds when all of this order is published there; else None.

    Two requests. Whoever made it: all inputs were the same, and every file is as its provenance
    says. With `superset` it may hold more tiers, leave out what its gate refused, and describe them
    otherwise.
    """
    try:
        release = workplace.hub.release(repo_id)
    except SourceError:
        return None
    if release.private and not private:
        return None
    statement = provenance_of(workplace.hub, release)
    if statement is None or not is_whole(release, statement):
        return None
    if not (statement.asked.holds(order.asked) if superset else statement.is_of(order.asked)):
        return None
    return Published(
        repo_id=repo_id,
        url=f"{workplace.hub.endpoint}/{repo_id}",
        commit=release.commit,
        public=not release.private,
        changed=(),
        files=tuple(file.path for file in release.files),
        folder=str(order.paths(workplace.folders).release),
    )


def send_release(
    workplace: Workplace,
    repo_id: str,
    files: Mapping[str, Built],
    message: str,
    key: str,
    *,
    private: bool,
) -> Published:
    """One commit, checked against the Hub's own hashes, and only then made public.

    The files lie in one folder, `key` is of the job that made them. Raises PublishError when the
    Hub holds something else than was sent; the repository then stays as private as it was;
    GateError when a person refused it. With `publish.approval` nothing becomes visible before a
    person merged the pull request that is opened. Where another machine published the same build
    meanwhile, its commit is the one.
    """
    hub = workplace.publisher(repo_id)
    with workplace.narrator.work(f"publishing {repo_id}") as report:
        report(0, 3)
        aside = workplace.settings.publish.hidden == "pull-request"
        before = (open_public if aside and not private else open_private)(hub, repo_id)
        try:
            published = _sent(workplace, before, files, message, key, report, private=private)
        except PublishError:
            before = hub.release(repo_id)
            standing_files = standing(hub, before, files)
            # else it is another machine's build, with times of its own
            if standing_files is None or RESULTS in standing_files:
                raise
            published = _sent(workplace, before, files, message, key, report, private=private)
    if published.waiting is None:
        tag(workplace, repo_id, f"build-{key[:12]}", published.commit)
    return published


def _sent(
    workplace: Workplace,
    before: Release,
    files: Mapping[str, Built],
    message: str,
    key: str,
    report: Report,
    *,
    private: bool,
) -> Published:
    """One attempt on a repository as it was."""
    repo_id, settings = before.repo_id, workplace.settings.publish
    hub = workplace.publisher(repo_id)
    release, aside = Path(files[CARD].path).parent, settings.hidden == "pull-request"
    advisories = load_advisories(workplace.settings.watch.advisories)
    update = _update(hub, before, files, message, advisories)
    if settings.approval == "pull-request":
        pull = ask_people(hub, before, update, key, _evaluation(release))
        if pull is not None and pull.status == "open":
            return _waiting(workplace, repo_id, pull, release)
        if pull is not None and before.private:
            update = replace(update, files=measured_files(update), deletions=())
    pushed, held = _commit(
        hub, before, update, files, key if aside else None, report, private=private
    )
    for note in update.notes:
        workplace.narrator.say(f"{repo_id}: {note}")
    return Published(
        repo_id=repo_id,
        url=f"{hub.endpoint}/{repo_id}",
        commit=pushed.commit,
        public=not (private and held.private),
        changed=pushed.changed,
        files=tuple(update.files),
        folder=str(release),
        shown=before.private and not private,
    )


def _update(
    hub: Hub,
    before: Release,
    files: Mapping[str, Built],
    message: str,
    advisories: Sequence[Advisory],
) -> Update:
    """What is to be changed: nothing where the repository holds this build already."""
    standing_files = standing(hub, before, files)
    if standing_files is not None:
        return Update(files=standing_files, deletions=(), message=message, notes=())
    folder = Path(files[CARD].path).parent.with_name("merged")
    return plan_update(hub, before, files, message, folder, _today(), advisories)


def _commit(
    hub: Hub,
    before: Release,
    update: Update,
    files: Mapping[str, Built],
    aside: str | None,
    report: Report,
    *,
    private: bool,
) -> tuple[Pushed, Release]:
    """Straight to main, or through a pull request of the build with the key `aside`."""

    def report_step(step: int) -> None:
        report(step, 3)

    def look(held: Release) -> None:
        _look(hub, held, files, update.files)

    if aside is not None:
        return publish_aside(
            hub, before, update, aside, private=private, report_step=report_step, look=look
        )
    return publish_commit(
        hub,
        before.repo_id,
        update.files,
        update.message,
        private=private,
        deletions=update.deletions,
        before=before,
        report_step=report_step,
        look=look,
    )


def _look(hub: Hub, held: Release, files: Mapping[str, Built], sent: Mapping[str, Built]) -> None:
    """Whether the Hub reads the card as it was meant, and its commands fetch our files there.

    A card of somebody else's says what it likes. Raises Unfit.
    """
    if CARD not in sent:
        return
    text = Path(sent[CARD].path).read_text(encoding="utf-8")
    read_as_written(held.repo_id, front_matter_of(text), hub.card_data(held.repo_id, held.commit))
    ours, paths = tuple(files), tuple(file.path for file in held.files)
    card = Path(files[CARD].path).read_text(encoding="utf-8")
    if (wrong := astray(card, held.repo_id, ours, paths)) is not None:
        raise Unfit(held.repo_id, CARD, f"{wrong}; rename the other file there")


def waits(workplace: Workplace, repo_id: str, order: Order) -> Published | None:
    """How it stands with a build that people were asked about; None where work is to be done.

    Raises GateError for one that a person refused.
    """
    hub = workplace.hub
    if workplace.settings.publish.approval == "none" or not hub.exists(repo_id):
        return None
    pull, release = pull_of(hub, repo_id, order.key), order.paths(workplace.folders).release
    if pull is None or pull.status != "open":
        return None
    tell_people(hub, repo_id, pull, _evaluation(release))
    return _waiting(workplace, repo_id, pull, release)


def _evaluation(release: Path) -> str:
    """The comment for people; empty where card and verdict are not made here."""
    card, gate = release / CARD, release.with_name(GATE)
    if not card.is_file() or not gate.is_file():
        return ""
    return evaluation_comment(card.read_text(encoding="utf-8"), gate.read_text(encoding="utf-8"))


def _waiting(workplace: Workplace, repo_id: str, pull: HubPull, release: Path) -> Published:
    proposed = workplace.hub.release(repo_id, pull.ref)
    return Published(
        repo_id=repo_id,
        url=f"{workplace.hub.endpoint}/{repo_id}",
        commit=proposed.commit,
        public=not proposed.private,
        changed=(),
        files=tuple(file.path for file in proposed.files),
        folder=str(release),
        waiting=pull.url,
    )


def tag(workplace: Workplace, repo_id: str, name: str, commit: str) -> None:
    """Name a commit after its job, for `bot rollback`; without a tag the release is as good."""
    try:
        workplace.publisher(repo_id).tag(repo_id, name, commit)
    except BotError as error:
        workplace.narrator.say(f"{repo_id} got no tag: {error}")


def back(workplace: Workplace, repo_id: str, revision: str) -> RolledBack:
    """Return the bot's files of a repository to what they were at an earlier revision.

    A commit may be named by its first digits. Raises SourceError for a revision that is none,
    PublishError when it cannot be done.
    """
    hub = workplace.publisher(repo_id)
    named = _unshortened(hub, repo_id, revision)
    with workplace.narrator.work(f"returning {repo_id} to {revision}"):
        folder = workplace.folders.root / "rollbacks" / slug(repo_id)
        commit, changed = rollback_files(hub, repo_id, named, folder, _today())
    return RolledBack(
        repo_id=repo_id,
        url=f"{workplace.hub.endpoint}/{repo_id}",
        commit=commit,
        revision=revision,
        changed=changed,
    )


def _unshortened(hub: Hub, repo_id: str, revision: str) -> str:
    """A commit by its first digits, as ours are printed; anything else as it is."""
    if not re.fullmatch(r"[0-9a-f]{7,39}", revision):
        return revision
    writer = Writer(hub)
    if any(ref.name == revision for ref in writer.refs(repo_id)):
        return revision
    commits = [commit for commit in writer.history(repo_id, HISTORY) if commit.startswith(revision)]
    if len(commits) > 1:
        raise SourceError(f"{repo_id} has {len(commits)} commits {revision}…; name more digits")
    return commits[0] if commits else revision


def published_builds(workplace: Workplace, repo_id: str) -> tuple[Version, ...]:
    """The builds that a repository had, by the tags that the bot gave them; the newest first."""
    writer = Writer(workplace.hub)
    named = writer.tags(repo_id)
    order = writer.history(repo_id, HISTORY)
    ours = [(name, commit) for name, commit in named.items() if name.startswith(TAG)]
    if order[0] not in named.values():  # made again with other names or card: the tag stays back
        ours.append(("main", order[0]))
    ours.sort(key=lambda build: order.index(build[1]) if build[1] in order else HISTORY)
    return tuple(
        Version(name=name, commit=commit, current=commit == order[0]) for name, commit in ours
    )


def _today() -> str:
    return (iso(SystemClock().now()) or "")[:10]
