"""The Hub's feed: every listed model becomes one decision with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bot.errors import BotError, SourceError
from bot.records import Decision, Release, Skip, Wait
from bot.watch.policy import decide, glance

if TYPE_CHECKING:
    from bot.clients.hub import Hub
    from bot.clients.replies import Listed
    from bot.settings import Settings

CONFIG = "config.json"


def look(hub: Hub, settings: Settings) -> Iterator[Decision]:
    """Decide about the newest models of a Hub, newest first, each model once.

    One request per page of the listing; a model that the listing does not rule out costs one
    more, and one for config.json where it has that file. With watch.owners set, the listing is
    asked of each owner. A model that cannot be read is a decision too; only a listing that
    cannot be read raises (UnreachableError, AccessError).
    """
    watch = settings.watch
    for owner in watch.owners or (None,):
        for listed in hub.newest(watch.limit, watch.page, author=owner):
            yield _decided(hub, listed, watch.owners)


def _decided(hub: Hub, listed: Listed, owners: tuple[str, ...]) -> Decision:
    seen = _as_listed(listed)
    settled = glance(
        seen,
        owners=owners,
        disabled=listed.disabled,
        model_type=listed.model_type,
        architectures=listed.architectures,
        quant_method=listed.quant_method,
    )
    if settled:
        return settled
    try:
        return _examined(hub, seen, owners)
    except SourceError as error:
        return Skip(release=seen, reason=str(error))
    except BotError as error:
        return Wait(release=seen, reason=str(error))


def _examined(hub: Hub, seen: Release, owners: tuple[str, ...]) -> Decision:
    release = hub.release(seen.repo_id, seen.commit or "main")
    has_config = any(file.path == CONFIG for file in release.files)
    config = hub.read_json(release.repo_id, release.commit, CONFIG) if has_config else None
    return decide(release, config, owners=owners)


def _as_listed(listed: Listed) -> Release:
    return Release(
        repo_id=listed.repo_id,
        commit=listed.commit or "",
        created_at=listed.created_at,
        last_modified=listed.last_modified,
        private=listed.private,
        gated=listed.gated,
        tags=listed.tags,
        pipeline_tag=listed.pipeline_tag,
    )
