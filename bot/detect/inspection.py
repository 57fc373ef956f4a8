"""A repository, a folder or a config → decision, experts and sketch; no weights are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bot.clients.files import gguf
from bot.clients.files.shards import local_index, local_release, local_safetensors
from bot.detect.buildable import CONFIG, decide, from_config, from_header
from bot.detect.foreseen import Foreseen, foresee, sketch_of
from bot.detect.listed import Machine, config_of, index_of
from bot.detect.moe import MoeFacts, moe_facts
from bot.disk.space import free_disk
from bot.errors import AccessError, SourceError
from bot.foreign import read_json, read_of, require_within
from bot.plan.models import Candidate, Sketch
from bot.plan.profiles import Profile, load_profiles
from bot.predict.architecture import architecture_of
from bot.predict.preview import preview
from bot.records.releases import Build, Decision, Outcome, Release, RepoFile, Skip
from bot.tensors import weights
from bot.tensors.configs import quant_method
from bot.tensors.stored import FULL_DTYPES, Part, dropped_parts, parts_by_file
from bot.toolchain import toolchain
from bot.workplace.names import name_of

if TYPE_CHECKING:
    from bot.settings.settings import Settings
    from bot.toolchain.toolchain import Toolchain
    from bot.workplace.workplace import Workplace

SKETCHED: tuple[Outcome, ...] = ("eligible", "too_large", "no_gain")


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A repository by its files, config and headers; no weights are read."""

    release: Release
    decision: Decision
    experts: MoeFacts | None  # by config.json alone
    sketch: Sketch | None  # counted from headers, for what can be built
    config: Mapping[str, Any] | None
    candidate: Candidate | None = None  # of a repository that can be built
    foreseen: Foreseen | None = None  # sizes of what would be made of a checkpoint


def look_at(workplace: Workplace, name: str, revision: str, machine: Machine) -> Sight:
    """Look at ORG/MODEL: one request for its files, one for config.json, then headers.

    Raises SourceError when there is no such repository or its headers are damaged.
    """
    with read_of(name):
        return _looked_at(workplace, workplace.hub.release(name, revision), machine)


def candidate(workplace: Workplace, release: Release) -> Candidate:
    """A release that can be built here, by its files, config and headers.

    Raises SourceError or AccessError with the reason where it cannot.
    """
    with read_of(release.repo_id):
        sight = _looked_at(workplace, release, machine(workplace))
    decision = sight.decision
    if decision.outcome == "gated_no_access":
        raise AccessError(f"{release.repo_id} is {decision.reason}; ask for it, then run again")
    if sight.candidate is None:
        raise SourceError(
            f"{release.repo_id} cannot be built ({decision.outcome}): {decision.reason}; "
            "choose another model"
        )
    return sight.candidate


def _looked_at(workplace: Workplace, release: Release, machine: Machine) -> Sight:
    hub = workplace.hub
    named = replace(release, private=False)  # who names a private model means it
    config = config_of(hub, named, named=True)
    sketch = None
    if _may_have_gguf(named, config):
        named, sketch = _of_gguf(workplace, named)
        config = config_of(hub, named, named=True) if config is None and sketch else config
    files = chosen_files(workplace, named, config)
    decision = _decided(named, config, sketch, machine, files)
    facts = moe_facts(config) if config is not None else None
    sight = Sight(
        release=release,
        decision=replace(decision, release=release),
        experts=facts if isinstance(facts, MoeFacts) else None,
        sketch=sketch if decision.outcome in SKETCHED else None,
        config=config,
    )
    if sketch is None and config is not None and decision.outcome in SKETCHED:
        checkpoint_sketch = _of_checkpoint(workplace, release, config, files)
        foreseen = foresee(checkpoint_sketch, load_profiles(workplace.settings.profiles))
        decision = _decided(named, config, sketch, machine, files, foreseen)
        sight = replace(
            sight,
            decision=replace(decision, release=release),
            sketch=checkpoint_sketch,
            foreseen=foreseen,
        )
        sight = _unless_quantized(sight)
    return replace(sight, candidate=_candidate(sight, named, files, of_gguf=sketch is not None))


def _candidate(sight: Sight, named: Release, chosen: Chosen, *, of_gguf: bool) -> Candidate | None:
    if sight.sketch is None or sight.decision.outcome == "no_gain":
        return None
    return Candidate(
        release=replace(named, private=sight.release.private),
        checkpoint=None if of_gguf else chosen.files,
        config=sight.config,
        sketch=sight.sketch,
    )


def _may_have_gguf(release: Release, config: Mapping[str, Any] | None) -> bool:
    """Whether headers of GGUF files are worth a look: config.json does not rule the model out."""
    if config is None:
        barred = decide(release, None, named=True).outcome in ("gated_no_access", "adapter")
    else:
        barred = isinstance(from_config(release, config), Skip)
    return not barred and bool(_likeliest(release))


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A checkpoint's files, and its index where it has one."""

    files: weights.CheckpointFiles
    index: Mapping[str, str] | None = None


def chosen_files(
    workplace: Workplace, release: Release, config: Mapping[str, Any] | None
) -> Chosen:
    """The files that are the model; the index is read unless it can decide nothing."""
    left_out = dropped(workplace.settings)
    index = index_of(workplace.hub, release, config)
    named = parts_by_file(config, index) if config and index else None
    return Chosen(files=weights.checkpoint(release, named, left_out), index=index)


def _decided(
    release: Release,
    config: Mapping[str, Any] | None,
    sketch: Sketch | None,
    machine: Machine,
    chosen: Chosen,
    foreseen: Foreseen | None = None,
) -> Decision:
    """The decision about a model that was named; of its GGUF's header without a config.json."""
    if config is None and sketch is not None:
        counted = sketch.architecture
        return from_header(
            release, counted.experts, counted.experts_active, free_disk=machine.free_disk
        )
    return decide(
        release,
        config,
        chosen=chosen.files,
        supported=machine.supported,
        free_disk=machine.free_disk,
        named=True,
        foreseen=foreseen,
        least_saving=machine.least_saving,
    )


def _unless_quantized(sight: Sight) -> Sight:
    """The sight, or a skip where headers show weights below 16 bits that no config declares."""
    low = _undeclared(sight.sketch, sight.config)
    if low is None:
        return sight
    skip = Skip(release=sight.release, reason=low, outcome="already_quantized")
    return replace(sight, decision=skip, sketch=None)


def _undeclared(sketch: Sketch | None, config: Mapping[str, Any] | None) -> str | None:
    stored = sketch.architecture.source_precision if sketch else ""
    if not stored or stored in FULL_DTYPES or config is None or quant_method(config):
        return None
    return f"itself a quantization: its weights are {stored}, of which config.json says nothing"


def dropped(settings: Settings) -> frozenset[Part]:
    """Parts of a checkpoint that settings leave out."""
    return dropped_parts(settings.convert.mtp, settings.convert.projector)


def look_at_folder(
    path: Path,
    left_out: frozenset[Part] = frozenset({"mtp"}),
    profiles: Sequence[Profile] = (),
    least_saving: float = 0.0,
) -> Sight:
    """Look at a checkpoint's folder here, or at a config.json alone.

    `left_out` are parts that are not converted and may be missing; tiers of `profiles` must save
    `least_saving` of the model. Raises SourceError when there is none, or the headers are damaged.
    """
    with read_of(str(path)):
        if not path.is_dir():
            return _look_at_config(path)
        require_within(path)
        return _look_inside(path, left_out, profiles, least_saving)


def _look_at_config(path: Path) -> Sight:
    release = local_release(path.parent)
    config = read_json(path)
    facts = from_config(release, config)
    if isinstance(facts, Skip):
        return Sight(release=release, decision=facts, experts=None, sketch=None, config=config)
    build = Build(release=release, reason=_alone(facts))
    return Sight(release=release, decision=build, experts=facts, sketch=None, config=config)


def _look_inside(
    folder: Path, left_out: frozenset[Part], profiles: Sequence[Profile], least_saving: float
) -> Sight:
    config_file, index = folder / CONFIG, local_index(folder)
    release = local_release(folder, index)
    config = read_json(config_file) if config_file.exists() else None
    named = parts_by_file(config or {}, index) if index is not None else None
    chosen = weights.checkpoint(release, named, left_out)
    decision = decide(release, config, chosen=chosen, named=True)
    config_facts = moe_facts(config) if config is not None else None
    facts = config_facts if isinstance(config_facts, MoeFacts) else None
    sight = Sight(release=release, decision=decision, experts=facts, sketch=None, config=config)
    if config is None or decision.outcome not in SKETCHED:
        return sight
    model = weights.gguf(release)
    if model:
        header = gguf.read_split(folder / model[0].path)
        return replace(sight, sketch=_from_header(release, header))
    previewed = preview(config, local_safetensors(folder, config, left_out), release)
    sketch = sketch_of(release, previewed)
    if not profiles:
        return _unless_quantized(replace(sight, sketch=sketch))
    foreseen = foresee(sketch, profiles)
    decision = decide(
        release, config, chosen=chosen, named=True, foreseen=foreseen, least_saving=least_saving
    )
    return _unless_quantized(replace(sight, sketch=sketch, foreseen=foreseen, decision=decision))


def _alone(facts: MoeFacts) -> str:
    return f"{facts.experts} experts, {facts.experts_active} active, by its config alone"


def _likeliest(release: Release) -> tuple[RepoFile, ...]:
    """The GGUF to look into next, by names and headers read so far; () when there is none.

    Where all names tell of quantizations, the largest is looked into before that is believed.
    """
    model = weights.gguf(release)
    if not model and not weights.safetensors(release):
        model = max(weights.gguf_models(release), key=weights.total, default=())
    return model if model and model[0].stored is None else ()


def _of_gguf(workplace: Workplace, release: Release) -> tuple[Release, Sketch | None]:
    """The release with the types in headers of its GGUF files; a sketch of the first of 16 bits.

    Raises SourceError where that is no mixture of experts.
    """
    with read_of(release.repo_id):
        while files := _likeliest(release):
            header = _header(workplace, release, files)
            stored = weights.gguf_storage(header.tensors) or "empty"
            release = weights.with_storage(release, files[0], stored)
            if stored in weights.SIXTEEN_BIT:
                return release, _from_header(release, header)
    return release, None


def _header(workplace: Workplace, release: Release, files: Sequence[RepoFile]) -> gguf.GgufModel:
    """The header of a GGUF and of its shards: of files fetched before, else of the Hub's."""
    fetched = workplace.folders.sources(release.repo_id, release.commit)
    if all((fetched / file.path).is_file() for file in files):
        return gguf.read_split(fetched / files[0].path)
    with TemporaryDirectory() as folder, workplace.narrator.work("reading headers") as report:
        for done, file in enumerate(files):
            report(done, len(files))
            workplace.hub.gguf_header(release, file, Path(folder) / Path(file.path).name)
        return gguf.read_split(Path(folder) / Path(files[0].path).name)


def _from_header(release: Release, header: gguf.GgufModel) -> Sketch:
    return Sketch(
        name=name_of(release.repo_id.split("/")[-1]),
        release=release,
        architecture=architecture_of(header.metadata, header.tensors),
        tensors=header.tensors,
        header_bytes=header.data_offset,
    )


def _of_checkpoint(
    workplace: Workplace,
    release: Release,
    config: Mapping[str, Any],
    chosen: Chosen,
) -> Sketch:
    with workplace.narrator.work("reading headers") as report:
        tensors = workplace.hub.safetensors(release, chosen.files, chosen.index, report)
    with read_of(release.repo_id):
        return sketch_of(release, preview(config, tensors, release))


BUILDERS = ("apex-bot", "llama-cpp-python")  # packages that a build rests on


def machine(workplace: Workplace) -> Machine:
    """This machine's converter and free disk, as far as they are known."""
    chosen = toolchain.present(workplace.settings.convert, workplace.folders.toolchain)
    return Machine(
        supported=_supported(chosen) if chosen else None,
        least_saving=workplace.settings.quantize.least_saving,
        free_disk=max(free_disk(workplace.folders.root) - workplace.settings.reserve, 0),
        dropped=dropped(workplace.settings),
        tools=" ".join((*map(version, BUILDERS), chosen.version if chosen else "")),
    )


@cache
def _supported(chosen: Toolchain) -> frozenset[str]:
    return toolchain.supported(chosen)[0]
