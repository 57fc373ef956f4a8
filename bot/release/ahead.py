"""What a publication would meet at its end, found before anything is fetched or made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.clients.llama import library
from bot.errors import PublishError, SettingsError, SourceError
from bot.plan.models import Model, Plan, Sketch
from bot.plan.profiles import load_profiles
from bot.publish.replacing import PROJECTOR
from bot.records.releases import Release
from bot.resolvers.llamacpp import PREDICTION
from bot.resolvers.programs import PROGRAMS, takes_alone
from bot.workplace import names, provenance
from bot.workplace.names import target_of
from bot.workplace.pinning import as_file, as_repo, name_of_file
from bot.workplace.provenance import Provenance
from bot.workplace.workplace import Workplace

RESULTS = "results.json"


@dataclass(frozen=True)
class Called:
    """A model of which no more than its name is known yet."""

    name: str


def require_names(workplace: Workplace, model: str, tiers: Sequence[str], to: str | None) -> None:
    """Raise for names that no Hub or program takes, and for an owner who is not the token's.

    SettingsError, SourceError or AccessError, each naming what to change.
    """
    settings = workplace.settings
    name = model_name(workplace, model)
    profiles = load_profiles(settings.profiles, tiers or None)
    names.require_files(settings.publish, name, profiles)
    owner = target_of(workplace, Called(name), to).partition("/")[0]
    if not settings.publish.trusted_publisher:
        workplace.hub.require_owner(owner)


def model_name(workplace: Workplace, model: str) -> str:
    """The name of a model as files and repository will have it."""
    path = as_file(model)
    return name_of_file(workplace, path) if path else names.name_of(as_repo(model).split("/")[1])


def renamed(model: str) -> Iterator[str]:
    """A line where the published name leaves out labels of a model's own name."""
    path = as_file(model)
    labels = names.labels_in(names.stem_of(path) if path else as_repo(model).split("/")[1])
    if labels is not None:
        yield labels


def outlook(workplace: Workplace, plan: Plan[Sketch], repo_id: str) -> Iterator[str]:
    """What a publication does to its repository, and why, a line each; two requests at most.

    Raises PublishError where a file of somebody else has the name of one of ours, SettingsError
    where a program would take something else than a tier.
    """
    settings, hub = workplace.settings, workplace.hub
    files = [
        names.file_name(settings.publish, plan.model.stem, recipe.tier, recipe.base)
        for recipe in plan.distinct
        if not recipe.plain
    ]
    try:
        held = hub.release(repo_id)
    except SourceError:
        shown = "stays private" if settings.publish.private else "public once it is verified"
        yield f"{repo_id} does not exist yet: it will be made, {shown}, with {len(files)} tiers"
        yield from _refused(repo_id, files)
        yield from _taken(workplace, plan, repo_id, files)
        return
    held_paths = {file.path for file in held.files}
    old = _statement_in(workplace, held) if provenance.NAME in held_paths else None
    foreign = sorted(held_paths & {*files} - set(old.files if old else ()))
    if foreign and RESULTS not in held_paths:  # of before a provenance was written: ours
        raise PublishError(
            f"{repo_id} holds a {foreign[0]} that is not the bot's; rename it there or choose "
            "another repository with --to"
        )
    yield from _update(repo_id, old, plan, held_paths)
    yield from _refused(repo_id, files)
    yield from _taken(workplace, plan, repo_id, files)


def _update(
    repo_id: str, old: Provenance | None, plan: Plan[Sketch], held_paths: set[str]
) -> Iterator[str]:
    if old is None:
        yield f"{repo_id} exists, with {len(held_paths)} files and none of the bot's: they stay"
        return
    why = list(provenance.reasons(old, _planned(plan, old)))
    if why:
        yield f"{repo_id} will be updated: {'; '.join(why)}"
    else:
        yield f"{repo_id} holds these tiers of this source: what is measured anew may change"


def _statement_in(workplace: Workplace, held: Release) -> Provenance | None:
    try:
        name, limit = provenance.NAME, provenance.LIMIT
        document = workplace.hub.read_json(held.repo_id, held.commit, name, limit)
    except SourceError:  # no JSON object: not the bot's
        return None
    return provenance.parse_statement(document)


def _planned(plan: Plan[Sketch], old: Provenance) -> Provenance:
    """What this plan would say of itself; what is not known before is taken to stay."""
    model = plan.model
    source = old.source
    if model.release is not None:
        source = f"{model.release.repo_id}@{model.release.commit}"
    elif isinstance(model, Model):
        source = f"sha256:{model.source.sha256}"
    return Provenance(
        files={},
        source=source,
        llama=library.library_version(),
        recipes={recipe.tier: recipe.hash for recipe in plan.recipes if not recipe.plain},
        calibration=old.calibration,
        evaluation=old.evaluation,
    )


def _refused(repo_id: str, files: Sequence[str]) -> Iterator[str]:
    """Programs that the card has no command for, since names are too long for them."""
    if without := names.without_command(repo_id, files):
        yield (
            f"Ollama takes no name with a part of more than 80 characters: the card has no command "
            f"of its for {without[0]}; shorten publish.file or publish.repository"
        )


def _taken(
    workplace: Workplace, plan: Plan[Sketch], repo_id: str, files: Sequence[str]
) -> Iterator[str]:
    """What programs will take that are given the repository alone, where it is more than one file.

    And prediction layers that are left out, since one would take them. Raises SettingsError where
    it is none of the tiers.
    """

    def left_out(name: str) -> bool:
        return name.startswith(PREDICTION) and bool(takes_alone(repo_id, [*files, name], name))

    for name in filter(left_out, _beside(workplace, plan.model)):
        yield (
            f"{name} will be left out: {takes_alone(repo_id, [*files, name], name)}, given the "
            "repository alone, would take it for the model; have publish.default_tier among the "
            "tiers"
        )
    takers: dict[str, list[str]] = {}
    for program in PROGRAMS:
        beside = [name for name in _beside(workplace, plan.model) if not left_out(name)]
        path = program.alone(repo_id, [*files, *beside]).path
        if path is not None and path not in files:
            raise SettingsError(
                f"{program.name}, given {repo_id} alone, would take {path} for the model; have "
                "publish.default_tier among the tiers"
            )
        if path is not None:
            takers.setdefault(path, []).append(program.name)
    if len(takers) > 1:
        told = (f"{path} is taken by {' and '.join(named)}" for path, named in takers.items())
        yield (
            f"given the repository alone, {', '.join(told)}; with publish.default_tier among the "
            "tiers all take that"
        )


def _beside(workplace: Workplace, model: Sketch) -> list[str]:
    """Parts that will be published beside the tiers, as far as they are known."""
    if isinstance(model, Model):
        return [*model.extras]
    convert = workplace.settings.convert
    seeing = model.architecture.vision or model.architecture.audio
    projector = [PROJECTOR] if seeing and convert.projector != "none" else []
    apart = convert.mtp == "separate" and model.architecture.mtp_layers > 0
    return [*projector, *([f"mtp-{model.name}.gguf"] if apart else [])]
