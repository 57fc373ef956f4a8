"""A published release whose source has other metadata by now: headers rewritten, in one commit.

Nothing is quantized or measured: every tensor stays bit for bit, numbers are kept and say which
metadata they were made with. What depends on a header is looked at again: files, template, speech;
card, sums and provenance are made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.errors import SourceError
from bot.gate.gating import require_licence
from bot.publish.afterwards import follow
from bot.publish.publication import Published, send_release
from bot.records.releases import Release
from bot.refresh import metadata
from bot.refresh.metadata import KeyChange
from bot.refresh.sources import SourceChange, compared
from bot.release.refreshed_files import NewHeaders, described, rewritten_tiers
from bot.source.without_weights import keys_of_release
from bot.workplace import asked
from bot.workplace.asked import Order, Pinned
from bot.workplace.names import target_of
from bot.workplace.pinning import pin
from bot.workplace.provenance import AskedFor, Provenance, is_whole, provenance_of
from bot.workplace.workplace import Workplace


class NotRefreshable(SourceError):
    """Headers alone will not do: there is nothing published, or it has to be built anew."""


@dataclass(frozen=True, kw_only=True)
class Stale:
    """A published release, and its source at the commit that it was made of and as it is now."""

    pinned: Pinned
    published: Release
    statement: Provenance
    before: Release
    after: Release
    change: SourceChange


@dataclass(frozen=True, kw_only=True)
class RefreshedRelease:
    """What became of a release, or, `commit` being None, what would.

    `tensors` has for each rewritten file the digest of its tensors' hashes, equal before and after;
    `changed` is what the commit wrote, nothing where the release was as it should be.
    """

    repo_id: str
    url: str
    source: str  # ORG/MODEL@COMMIT that its metadata is of
    before: str  # and the commit that it was of until then
    texts: tuple[str, ...]  # the source's files that changed
    keys: tuple[KeyChange, ...]
    tensors: Mapping[str, str]
    commit: str | None = None
    changed: tuple[str, ...] = ()
    waiting: str | None = None
    lacks: tuple[str, ...] = ()


def find_stale(workplace: Workplace, model: str, revision: str, to: str | None) -> Stale:
    """What is published of a model, held against its source now. Requests alone, no download.

    Raises NotRefreshable where it has to be published, or built, instead.
    """
    pinned = pin(workplace, model, revision)
    if pinned.release is None:
        raise NotRefreshable(f"{model} is a file; say --template or --from, or name a repository")
    repo_id, hub, after = target_of(workplace, pinned, to), workplace.hub, pinned.release
    if not hub.exists(repo_id):
        raise NotRefreshable(f"{repo_id} is not published yet; run `bot publish {model}`")
    published = hub.release(repo_id)
    statement = provenance_of(hub, published)
    if statement is None or not is_whole(published, statement):
        raise NotRefreshable(f"{repo_id} holds no whole build; run `bot publish {model}`")
    source, _, commit = statement.source.partition("@")
    if source != after.repo_id:
        raise NotRefreshable(f"{repo_id} was made of {statement.source}; run `bot publish {model}`")
    try:
        before = hub.release(source, commit)
    except SourceError as error:
        raise NotRefreshable(
            f"{source} has its commit {commit[:12]} no more, with which it could be compared; run "
            f"`bot publish {model}`"
        ) from error
    return Stale(
        pinned=pinned,
        published=published,
        statement=statement,
        before=before,
        after=after,
        change=compared(before, after),
    )


def refresh_release(
    workplace: Workplace, model: str, revision: str, to: str | None, *, dry_run: bool = False
) -> RefreshedRelease:
    """Give a published release its source's metadata of today, in one verified commit.

    A repository that is private stays so. Raises NotRefreshable where it has to be built, GateError
    where it may not be handed on any more, and what publishing raises.
    """
    stale = find_stale(workplace, model, revision, to)
    if (reason := stale.change.needs_build) is not None:
        raise NotRefreshable(f"{stale.after.repo_id}: {reason}; run `bot publish {model}`")
    require_licence(stale.after, workplace.settings.gate)
    if not stale.change.texts:
        return _told(workplace, stale, {}, {})
    texts = ", ".join(stale.change.texts)
    workplace.narrator.say(f"{stale.after.repo_id}: {texts} changed, no weights")
    keys = [keys_of_release(workplace, release) for release in (stale.before, stale.after)]
    edits = metadata.between(*keys)
    if dry_run:
        return _told(workplace, stale, keys[0], edits)
    return _refreshed(workplace, stale, keys[0], edits)


def refreshed_if_possible(
    workplace: Workplace, model: str, revision: str, to: str | None
) -> RefreshedRelease | None:
    """As `refresh_release`; None, with the reason said, where the release has to be built."""
    try:
        refreshed = refresh_release(workplace, model, revision, to)
    except SourceError as error:  # if it cannot be built either, the build says so
        workplace.narrator.say(f"to be built: {error}")
        return None
    return refreshed if refreshed.changed or refreshed.waiting else None


def _refreshed(
    workplace: Workplace, stale: Stale, keys: metadata.Keys, edits: metadata.Edits
) -> RefreshedRelease:
    workplace.require_publisher()
    order = _order(workplace, stale)
    paths = order.paths(workplace.folders)
    headers = NewHeaders(
        published=stale.published,
        statement=stale.statement,
        release=stale.after,
        edits=edits,
        texts=stale.change.texts,
        order=order,
    )
    with paths.locked():
        tiers = rewritten_tiers(workplace, headers, paths)
        files = described(workplace, headers, tiers, paths)
        repo_id = stale.published.repo_id
        private = workplace.settings.publish.private or stale.published.private
        message = f"Metadata of {stale.after.repo_id} at {stale.after.commit[:12]}"
        published = send_release(workplace, repo_id, files, message, order.key, private=private)
        published = follow(workplace, published)
    return _told(workplace, stale, keys, edits, tiers.tensors, published)


def _told(
    workplace: Workplace,
    stale: Stale,
    keys: metadata.Keys,
    edits: metadata.Edits,
    tensors: Mapping[str, str] | None = None,
    published: Published | None = None,
) -> RefreshedRelease:
    repo_id = stale.published.repo_id
    return RefreshedRelease(
        repo_id=repo_id,
        url=f"{workplace.hub.endpoint}/{repo_id}",
        source=f"{stale.after.repo_id}@{stale.after.commit}",
        before=stale.before.commit,
        texts=stale.change.texts,
        keys=metadata.changes_of(keys, edits),
        tensors=tensors or {},
        commit=published.commit if published else None,
        changed=published.changed if published else (),
        waiting=published.waiting if published else None,
    )


def _order(workplace: Workplace, stale: Stale) -> Order:
    """The order that the refreshed release answers: of the new commit, with what was asked before.

    A tier that today's settings would make otherwise stays as it was asked for: the next
    publication makes it anew.
    """
    settings, statement = workplace.settings, stale.statement
    tiers = tuple(statement.recipes)
    before = Pinned(name=stale.pinned.name, commit=stale.before.commit, release=stale.before)
    old, new = (asked.order_of(settings, pinned, tiers) for pinned in (before, stale.pinned))
    same = {
        tier: new.asked.tiers[tier] if old.asked.tiers[tier] == was else was
        for tier, was in statement.asked.tiers.items()
        if tier in new.asked.tiers
    }
    rest = new.asked.rest if old.asked.rest == statement.asked.rest else statement.asked.rest
    return Order(pinned=stale.pinned, key=new.key, asked=AskedFor(tiers=same, rest=rest))
