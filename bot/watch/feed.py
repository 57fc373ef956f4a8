"""The Hub's feed: every listed model becomes one decision with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import AccessError, BotError, SourceError
from bot.records import Decision, Release, Skip, Wait
from bot.watch.policy import CONFIG, decide, from_files, glance

if TYPE_CHECKING:
    from bot.clients.hub import Hub
    from bot.clients.replies import Listed
    from bot.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What building here can take: see `decide`. None where it is not known."""

    supported: frozenset[str] | None = None
    free_disk: int | None = None


ANY_MACHINE = Machine()


def look(hub: Hub, settings: Settings, machine: Machine = ANY_MACHINE) -> Iterator[Decision]:
    """Decide about the newest models of a Hub, newest first, each model once.

    One request per page of the listing; a model that the listing does not rule out costs one
    more, one for config.json where it has that file, and one before where it is gated. With
    watch.owners set, the listing is asked of each owner. A model that cannot be read is a
    decision too; only a listing that cannot be read raises (UnreachableError, AccessError).
    """
    watch = settings.watch
    for owner in watch.owners or (None,):
        for listed in hub.newest(watch.limit, watch.page, author=owner):
            yield _decided(hub, listed, watch.owners, machine)


def examine(
    hub: Hub,
    repo_id: str,
    revision: str = "main",
    *,
    owners: tuple[str, ...] = (),
    machine: Machine = ANY_MACHINE,
) -> Decision:
    """Decide about one repository: its files, its gate, its config.json. At most three requests.

    Raises SourceError, AccessError, UnreachableError.
    """
    release = hub.release(repo_id, revision)
    return decide(
        release,
        config_of(hub, release, owners=owners),
        owners=owners,
        supported=machine.supported,
        free_disk=machine.free_disk,
    )


def config_of(hub: Hub, release: Release, *, owners: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """config.json of a release; None where there is none, or its files and its gate decide."""
    listed = any(file.path == CONFIG for file in release.files)
    if not listed or from_files(release, owners=owners):
        return None
    if release.gated and not hub.may_read(release.repo_id, release.commit):
        return None
    return hub.read_json(release.repo_id, release.commit, CONFIG)


def _decided(hub: Hub, listed: Listed, owners: tuple[str, ...], machine: Machine) -> Decision:
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
        return examine(hub, seen.repo_id, seen.commit or "main", owners=owners, machine=machine)
    except SourceError as error:
        return Skip(release=seen, reason=str(error), outcome="unreadable")
    except AccessError as error:
        return Wait(release=seen, reason=str(error), outcome="gated_no_access")
    except BotError as error:
        return Wait(release=seen, reason=str(error), outcome="unreadable")


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
