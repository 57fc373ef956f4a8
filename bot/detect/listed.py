"""A listed model: facts that the Hub gives of it, and the decision that follows from them.

Learning asks the Hub, deciding does not: the same facts lead to the same decision at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from bot.clients.files import gguf, safetensors
from bot.clients.hub.replies import Listed
from bot.detect.buildable import CONFIG, decide, from_config, from_files, glance, looked_into
from bot.detect.foreseen import Foreseen, foresee, keeps_its_bits, sketch_of
from bot.errors import AbsentError, AccessError, BotError, SourceError
from bot.foreign import read_of
from bot.plan.profiles import Profile, load_profiles
from bot.predict.preview import preview
from bot.records.coding import dump, load_record
from bot.records.releases import Decision, Outcome, Release, RepoFile, Skip, Wait
from bot.tensors import weights
from bot.tensors.stored import parts_by_file

if TYPE_CHECKING:
    from bot.clients.hub.hub import Hub
    from bot.clients.hub.replies import Listed
    from bot.settings.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Converter, disk and settings that `decide` is given. None where one is not known."""

    supported: frozenset[str] | None = None
    free_disk: int | None = None
    dropped: frozenset[str] = frozenset({"mtp"})  # parts of a model that are not converted
    tools: str = ""  # versions that a build rests on
    least_saving: float = 0.0  # share of a model's bytes that its smallest tier must save


ANY_MACHINE = Machine()


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a repository could not be looked at."""

    kind: Literal["wait", "skip"]
    outcome: Outcome
    reason: str


@dataclass(frozen=True, kw_only=True)
class ListedFacts:
    """A model's row of a listing, and the Hub's further answers where that was not enough."""

    listed: Listed
    release: Release | None = None
    config: Mapping[str, Any] | None = None
    index: Mapping[str, Sequence[str]] | None = None  # files that its index names, parts in them
    trouble: Trouble | None = None
    foreseen: Foreseen | None = None  # where its headers were read

    @property
    def known_release(self) -> Release:
        """The release as far as it is known."""
        return self.release or as_listed(self.listed)


def look_at_listing(
    hub: Hub, settings: Settings, machine: Machine = ANY_MACHINE
) -> Iterator[Decision]:
    """Decide about the newest models of a Hub, newest first, each model once; nothing is kept.

    One request per page of the listing; a model that the listing does not rule out costs one
    more, one for config.json where it has that file, and one before where it is gated. With
    watch.owners set, the listing is asked of each owner. A model that cannot be read is a
    decision too; only a listing that cannot be read raises (UnreachableError, AccessError).
    """
    watch, profiles = settings.watch, partial(load_profiles, settings.profiles)
    for owner in watch.owners or (None,):
        for listed in hub.newest(watch.limit, watch.page, author=owner):
            facts = learn(hub, listed, owners=watch.owners, profiles=profiles)
            yield conclude(facts, watch.owners, machine)


def config_of(
    hub: Hub, release: Release, *, owners: tuple[str, ...] = (), named: bool = False
) -> dict[str, Any] | None:
    """config.json of a release; None where there is none, or its files and its gate decide."""
    listed = any(file.path == CONFIG for file in release.files)
    if not listed or from_files(release, owners=owners, named=named):
        return None
    if release.gated and not hub.may_read(release.repo_id, release.commit):
        return None
    return hub.read_json(release.repo_id, release.commit, CONFIG)


def index_of(hub: Hub, release: Release, config: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Tensor → file by a checkpoint's index; None where there is none, or it would not matter."""
    if config is None or weights.gguf(release) or isinstance(from_config(release, config), Skip):
        return None
    return hub.index(release)


def with_headers(
    hub: Hub,
    release: Release,
    config: Mapping[str, Any] | None,
    *,
    owners: tuple[str, ...] = (),
) -> Release:
    """The release with types by headers, for files whose names leave them open.

    Asks for a range or two of each file in doubt: there is one, or a GGUF after another until one
    has 16 bits.
    """
    while (file := looked_into(release, config, owners=owners)) is not None:
        stored = _stored(hub, release, file)
        if stored is None:
            return release
        release = weights.with_storage(release, file, stored)
        if not file.path.lower().endswith(".gguf"):
            return release
    return release


def _stored(hub: Hub, release: Release, file: RepoFile) -> str | None:
    """How the weights of a file are stored, by its header."""
    if not file.path.lower().endswith(".gguf"):
        return safetensors.stored_as(hub.safetensors_header(release, file))
    with TemporaryDirectory() as folder:
        target = Path(folder) / "header.gguf"
        hub.gguf_header(release, file, target)
        return weights.gguf_storage(gguf.read_gguf(target).tensors)


def learn(
    hub: Hub,
    listed: Listed,
    *,
    owners: tuple[str, ...] = (),
    profiles: Callable[[], Sequence[Profile]] | None = None,
) -> ListedFacts:
    """Ask the Hub about a listed model until its facts settle the decision.

    Headers of all its files are asked for where the model keeps its own bits below 16: only they
    tell what tiers of `profiles` would save. A model that cannot be read is a `trouble` of its
    facts; nothing raises but SettingsError for profiles that are wrong.
    """
    facts = ListedFacts(listed=listed)
    if ruled_out(facts, owners):
        return facts
    try:
        release = hub.release(listed.repo_id, listed.commit or "main")
        config = config_of(hub, release, owners=owners)
        release = with_headers(hub, release, config, owners=owners)
        index = index_of(hub, release, config)
        named = parts_by_file(config, index) if config and index else None
        foreseen = _foreseen(hub, release, config, index, profiles)
    except AbsentError as error:  # it was listed a moment ago
        trouble = Trouble(kind="wait", outcome="gone", reason=str(error))
    except SourceError as error:
        trouble = Trouble(kind="skip", outcome="unreadable", reason=str(error))
    except AccessError as error:
        trouble = Trouble(kind="wait", outcome="gated_no_access", reason=str(error))
    except BotError as error:
        trouble = Trouble(kind="wait", outcome="unreadable", reason=str(error))
    else:
        return replace(facts, release=release, config=config, index=named, foreseen=foreseen)
    return replace(facts, trouble=trouble)


def _foreseen(
    hub: Hub,
    release: Release,
    config: Mapping[str, Any] | None,
    index: Mapping[str, str] | None,
    profiles: Callable[[], Sequence[Profile]] | None,
) -> Foreseen | None:
    """Sizes of GGUF and tiers by headers; None where these would decide nothing."""
    if profiles is None or config is None or not keeps_its_bits(config) or weights.gguf(release):
        return None
    if isinstance(from_config(release, config), Skip):
        return None
    named = parts_by_file(config, index) if index else None
    chosen = weights.checkpoint(release, named, ("mtp",))
    if not chosen.whole:
        return None
    tensors = hub.safetensors(release, chosen, index)
    with read_of(release.repo_id):
        return foresee(sketch_of(release, preview(config, tensors, release)), profiles())


def conclude(
    facts: ListedFacts, owners: tuple[str, ...] = (), machine: Machine = ANY_MACHINE
) -> Decision:
    """The decision that follows from the facts; nothing is asked."""
    settled = ruled_out(facts, owners)
    if settled:
        return settled
    trouble = facts.trouble
    if trouble is not None:
        kind = Skip if trouble.kind == "skip" else Wait
        return kind(release=facts.known_release, reason=trouble.reason, outcome=trouble.outcome)
    return decide(
        facts.known_release,
        facts.config,
        owners=owners,
        chosen=weights.checkpoint(facts.known_release, facts.index, machine.dropped),
        supported=machine.supported,
        free_disk=machine.free_disk,
        foreseen=facts.foreseen,
        least_saving=machine.least_saving,
    )


def ruled_out(facts: ListedFacts, owners: tuple[str, ...] = ()) -> Skip | None:
    """A skip by the row of the listing alone."""
    listed = facts.listed
    return glance(
        facts.known_release,
        owners=owners,
        disabled=listed.disabled,
        model_type=listed.model_type,
        architectures=listed.architectures,
        quant_method=listed.quant_method,
    )


def packed(facts: ListedFacts) -> dict[str, Any]:
    """Facts as JSON values."""
    return {
        "listed": dict(vars(facts.listed)),
        "release": dump(facts.release) if facts.release else None,
        "config": facts.config,
        "index": facts.index,
        "trouble": dict(vars(facts.trouble)) if facts.trouble else None,
        "foreseen": dump(facts.foreseen) if facts.foreseen else None,
    }


def unpacked(data: Mapping[str, Any]) -> ListedFacts:
    """The facts that `packed` took apart."""
    return ListedFacts(
        listed=load_record(Listed, data["listed"]),
        release=load_record(Release, data["release"]) if data["release"] else None,
        config=data["config"],
        index=data.get("index"),  # facts kept by earlier versions have none
        trouble=load_record(Trouble, data["trouble"]) if data["trouble"] else None,
        foreseen=load_record(Foreseen, data["foreseen"]) if data.get("foreseen") else None,
    )


def as_listed(listed: Listed) -> Release:
    """A row of a listing as a release whose files are not known."""
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
