"""A repository → what it is, told without its weights; and → its 16-bit GGUF file here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bot import licences
from bot.clients.files import gguf
from bot.clients.files.shards import local_index, local_release, local_safetensors
from bot.detect.buildable import CONFIG, decide, from_config, from_header
from bot.detect.listed import Machine, config_of, index_of
from bot.detect.moe import MoeFacts, experts
from bot.errors import AccessError, SourceError
from bot.foreign import read_json, read_of, require_within
from bot.predict.architecture import describe
from bot.predict.preview import Preview, preview
from bot.records.coding import digest, dump, load
from bot.records.model import Architecture, Tensor
from bot.records.releases import Build, Decision, Outcome, Release, RepoFile, Skip
from bot.source.beforehand import lacking, require_whole
from bot.source.convert import dropped_parts, without
from bot.source.staging import ConvertFacts
from bot.store.ledger import Finished
from bot.tensors import weights
from bot.tensors.configs import quant_method
from bot.tensors.stored import Part, parts_by_file
from bot.toolchain import toolchain
from bot.workplace.fetch import bytes_here, fetch, plan_fetch, small_files
from bot.workplace.names import name_of
from bot.workspace import WORK, alone, remove, taken, use

if TYPE_CHECKING:
    from bot.settings.settings import Settings
    from bot.toolchain.toolchain import Toolchain
    from bot.workplace.models import Pipeline

FETCHERS = 8  # downloads side by side
SKETCHED: tuple[Outcome, ...] = ("eligible", "too_large")
UNSURE: tuple[Outcome, ...] = ("no_weights_yet", "already_quantized")  # by names of files alone
WHOLE = ("BF16", "F16", "F32", "F64")
VERSION = 1  # raised when a change of ours changes a converted file


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A model as far as recipes and sizes need it."""

    name: str  # as in file names: Qwen3.6-35B-A3B
    release: Release | None
    architecture: Architecture
    tensors: tuple[Tensor, ...]  # of the 16-bit GGUF
    header_bytes: int  # before the first tensor's data
    guessed: tuple[str, ...] = ()  # tensors whose roles were told by words of their names alone

    @property
    def parameters(self) -> int:
        """All weights of the file, MTP layers too."""
        return sum(tensor.parameters for tensor in self.tensors)


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a look at a repository tells, no weights read."""

    release: Release
    decision: Decision
    experts: MoeFacts | None  # by config.json alone
    sketch: Sketch | None  # counted from headers, for what can be built
    config: Mapping[str, Any] | None


def look_at(pipeline: Pipeline, name: str, revision: str, machine: Machine) -> Sight:
    """Say what ORG/MODEL is: one request for its files, one for config.json, then headers.

    Raises SourceError when there is no such repository or its headers are damaged.
    """
    with read_of(name):
        return _looked_at(pipeline, name, revision, machine)


def _looked_at(pipeline: Pipeline, name: str, revision: str, machine: Machine) -> Sight:
    hub = pipeline.hub
    release = hub.release(name, revision)
    named = replace(release, private=False)  # who names a private model means it
    config = config_of(hub, named, named=True)
    sketch = None
    if _may_have_gguf(named, config):
        named, sketch = _of_gguf(pipeline, named)
        config = config_of(hub, named, named=True) if config is None and sketch else config
    files = chosen_files(pipeline, named, config)
    decision = _decided(named, config, sketch, machine, files)
    found = experts(config) if config is not None else None
    sight = Sight(
        release=release,
        decision=replace(decision, release=release),
        experts=found if isinstance(found, MoeFacts) else None,
        sketch=sketch if decision.outcome in SKETCHED else None,
        config=config,
    )
    if sketch is None and config is not None and decision.outcome in SKETCHED:
        seen = _of_checkpoint(pipeline, release, config, files)
        return _weighed(replace(sight, sketch=seen))
    return sight


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

    files: weights.Checkpoint
    index: Mapping[str, str] | None = None


def chosen_files(pipeline: Pipeline, release: Release, config: Mapping[str, Any] | None) -> Chosen:
    """The files that are the model; the index is read unless it can decide nothing."""
    left_out = dropped(pipeline.settings)
    index = index_of(pipeline.hub, release, config)
    named = parts_by_file(config, index) if config and index else None
    return Chosen(files=weights.checkpoint(release, named, left_out), index=index)


def _decided(
    release: Release,
    config: Mapping[str, Any] | None,
    sketch: Sketch | None,
    machine: Machine,
    chosen: Chosen,
) -> Decision:
    """What becomes of a model that was named; without a config.json its GGUF's header tells."""
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
    )


def _weighed(sight: Sight) -> Sight:
    """The same, unless headers show weights below 16 bits of which its config says nothing."""
    low = _undeclared(sight.sketch, sight.config)
    if low is None:
        return sight
    skip = Skip(release=sight.release, reason=low, outcome="already_quantized")
    return replace(sight, decision=skip, sketch=None)


def _undeclared(sketch: Sketch | None, config: Mapping[str, Any] | None) -> str | None:
    stored = sketch.architecture.source_precision if sketch else ""
    if not stored or stored in WHOLE or config is None or quant_method(config):
        return None
    return f"itself a quantization: its weights are {stored}, of which config.json says nothing"


def dropped(settings: Settings) -> frozenset[Part]:
    """Parts of a checkpoint that settings leave out."""
    return dropped_parts(settings.convert.mtp, settings.convert.projector)


def look_at_folder(path: Path, left_out: frozenset[Part] = frozenset({"mtp"})) -> Sight:
    """Say what a checkpoint's folder here is, or a config.json alone.

    `left_out` are parts that are not converted and may be missing. Raises SourceError when there is
    none, or the headers are damaged.
    """
    with read_of(str(path)):
        if path.is_dir():
            require_within(path)
            return _look_inside(path, left_out)
        return _told_by_config(path)


def _told_by_config(path: Path) -> Sight:
    release = local_release(path.parent)
    config = read_json(path)
    told = from_config(release, config)
    decision = told if isinstance(told, Skip) else Build(release=release, reason=_alone(told))
    facts = told if isinstance(told, MoeFacts) else None
    return Sight(release=release, decision=decision, experts=facts, sketch=None, config=config)


def _look_inside(folder: Path, left_out: frozenset[Part]) -> Sight:
    there, index = folder / CONFIG, local_index(folder)
    release = local_release(folder, index)
    config = read_json(there) if there.exists() else None
    named = parts_by_file(config or {}, index) if index is not None else None
    chosen = weights.checkpoint(release, named, left_out)
    decision = decide(release, config, chosen=chosen, named=True)
    found = experts(config) if config is not None else None
    facts = found if isinstance(found, MoeFacts) else None
    sight = Sight(release=release, decision=decision, experts=facts, sketch=None, config=config)
    if config is None or decision.outcome not in SKETCHED:
        return sight
    model = weights.gguf(release)
    if model:
        header = gguf.read_split(folder / model[0].path)
        return replace(sight, sketch=_from_header(release, header))
    seen = preview(config, local_safetensors(folder, config, left_out), release)
    return _weighed(replace(sight, sketch=_sketch(release, seen)))


def _alone(facts: MoeFacts) -> str:
    return f"{facts.experts} experts, {facts.experts_active} active, by its config alone"


def _sketch(release: Release, seen: Preview) -> Sketch:
    return Sketch(
        name=name_of(release.repo_id.split("/")[-1]),
        release=release,
        architecture=seen.architecture,
        tensors=seen.tensors,
        header_bytes=seen.header,
        guessed=seen.guessed,
    )


def _likeliest(release: Release) -> tuple[RepoFile, ...]:
    """The GGUF to look into next: as names and headers read so far say; () when there is none.

    Where all names tell of quantizations, the largest is looked into before that is believed.
    """
    model = weights.gguf(release)
    if not model and not weights.safetensors(release):
        model = max(weights.models(release), key=weights.total, default=())
    return model if model and model[0].stored is None else ()


def _of_gguf(pipeline: Pipeline, release: Release) -> tuple[Release, Sketch | None]:
    """The release with what headers of its GGUF files tell, and the first one of 16 bits.

    Raises SourceError where that is no mixture of experts.
    """
    with read_of(release.repo_id):
        while files := _likeliest(release):
            header = _header(pipeline, release, files)
            stored = weights.stored_as(header.tensors) or "empty"
            release = weights.told(release, files[0], stored)
            if stored in weights.SIXTEEN_BIT:
                return release, _from_header(release, header)
    return release, None


def _header(pipeline: Pipeline, release: Release, files: Sequence[RepoFile]) -> gguf.Model:
    """The header of a GGUF and of its shards: of files fetched before, else of the Hub's."""
    fetched = pipeline.workspace.sources(release.repo_id, release.commit)
    if all((fetched / file.path).is_file() for file in files):
        return gguf.read_split(fetched / files[0].path)
    with TemporaryDirectory() as folder, pipeline.narrator.work("reading headers") as report:
        for done, file in enumerate(files):
            report(done, len(files))
            pipeline.hub.gguf_header(release, file, Path(folder) / Path(file.path).name)
        return gguf.read_split(Path(folder) / Path(files[0].path).name)


def _from_header(release: Release, header: gguf.Model) -> Sketch:
    return Sketch(
        name=name_of(release.repo_id.split("/")[-1]),
        release=release,
        architecture=describe(header.metadata, header.tensors),
        tensors=header.tensors,
        header_bytes=header.data_offset,
    )


def _of_checkpoint(
    pipeline: Pipeline,
    release: Release,
    config: Mapping[str, Any],
    chosen: Chosen,
) -> Sketch:
    with pipeline.narrator.work("reading headers") as report:
        tensors = pipeline.hub.safetensors(release, chosen.files, chosen.index, report)
    with read_of(release.repo_id):
        return _sketch(release, preview(config, tensors, release))


# ── bringing it here ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Local:
    """A 16-bit GGUF on this machine."""

    path: Path  # its only file, or the first shard
    release: Release | None = None
    extras: Mapping[str, Path] | None = None  # projector and MTP files, by published name
    told: Architecture | None = None  # by the checkpoint it was made of

    def moved(self, place: Callable[[Path], Path]) -> Local:
        """The same with other paths."""
        extras = {name: place(path) for name, path in (self.extras or {}).items()}
        return replace(self, path=place(self.path), extras=extras or None)


def bring(pipeline: Pipeline, name: str, revision: str) -> Local:
    """Fetch ORG/MODEL, and convert it where it is no GGUF; a second call finds both done.

    Raises SourceError or AccessError with the reason when it cannot be built, CapacityError before
    a download that would not fit, SettingsError when the converter is needed and not installed.
    """
    release = pipeline.hub.release(name, revision)
    if not _likeliest(release):
        return _converted(pipeline, release)
    _require_buildable(pipeline, release, None)
    told, sketch = _of_gguf(pipeline, release)
    if sketch is None:
        _require_buildable(pipeline, told, None)
        return _converted(pipeline, release)
    folder = pipeline.workspace.sources(release.repo_id, release.commit)
    files = plan_fetch(told)
    with pipeline.narrator.work(f"fetching {release.repo_id}", unit="B") as report:
        fetch(
            pipeline.hub,
            release,
            files,
            folder,
            workers=FETCHERS,
            report=report,
            reserve=pipeline.settings.reserve,
        )
    model = weights.gguf(told)
    projector = weights.projector(release, model[0])
    extras = {Path(projector.path).name: folder / projector.path} if projector else None
    return Local(path=folder / model[0].path, release=release, extras=extras)


def _require_buildable(
    pipeline: Pipeline, release: Release, chosen: Toolchain | None
) -> tuple[Mapping[str, Any] | None, Chosen]:
    """Config and files of a release that can be built by name, as far as these two tell."""
    with read_of(release.repo_id):
        return _buildable(pipeline, release, chosen)


def _buildable(
    pipeline: Pipeline, release: Release, chosen: Toolchain | None
) -> tuple[Mapping[str, Any] | None, Chosen]:
    named = replace(release, private=False)
    config = config_of(pipeline.hub, named, named=True)
    supported = toolchain.supported(chosen)[0] if chosen else None
    files = chosen_files(pipeline, named, config)
    decision = decide(named, config, chosen=files.files, supported=supported, named=True)
    if config is None and decision.outcome in UNSURE and _likeliest(named):
        return None, files  # its own header will tell
    if decision.outcome == "gated_no_access":
        raise AccessError(f"{release.repo_id} is {decision.reason}; ask for it, then run again")
    if decision.outcome != "eligible":
        raise SourceError(
            f"{release.repo_id} cannot be built ({decision.outcome}): {decision.reason}; "
            "choose another model"
        )
    return config, files


def _converted(pipeline: Pipeline, release: Release) -> Local:
    settings = pipeline.settings.convert
    if _toolchain(pipeline) is None:  # a model that cannot be built needs no converter
        _require_buildable(pipeline, release, None)
    chosen = toolchain.chosen(settings, pipeline.workspace.toolchain)
    folder = pipeline.workspace.converted(release.repo_id, release.commit)
    target = folder / f"{release.repo_id.split('/')[1]}-BF16.gguf"
    job, inputs = _conversion(pipeline, release, chosen)
    use(folder)
    with alone(folder):
        done = pipeline.ledger.finished(job, "convert", inputs, shape=_Told)
        if done is None or not done.files:
            _sweep(folder)
            done = _convert(pipeline, release, chosen, target, job, inputs)
    extras = {name: Path(path) for name, path in done.value["extras"].items()}
    return Local(
        path=Path(done.files[0].path),
        release=release,
        extras=extras,
        told=load(Architecture, done.value["architecture"]),
    )


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What the ledger keeps of a conversion beside its files."""

    architecture: Architecture
    extras: Mapping[str, str]  # paths


def _conversion(
    pipeline: Pipeline, release: Release, chosen: Toolchain
) -> tuple[str, dict[str, Any]]:
    """The job of a conversion, and all that decides what it makes."""
    settings = pipeline.settings.convert
    return digest([release.repo_id, release.commit]), {
        "version": VERSION,
        "converter": chosen.version,
        "mtp": settings.mtp,
        "projector": settings.projector,
        "shard": settings.shard_gb,
        "site": pipeline.settings.hub.endpoint,
    }


def _sweep(folder: Path) -> None:
    """Remove what a conversion left that was killed; the folder is held alone."""
    for work in folder.glob(f"*{WORK}"):
        remove(work, folder)


def source_room(pipeline: Pipeline, sketch: Sketch, release: Release) -> int:
    """Bytes that fetching and converting a release still take: what lies here counts.

    What a killed conversion left gives its room back before.
    """
    space = pipeline.workspace
    here = space.sources(release.repo_id, release.commit)
    sixteen = sketch.header_bytes + sum(tensor.bytes for tensor in sketch.tensors)
    if model := weights.gguf(release):
        return sum(file.size - bytes_here(here, file) for file in model)
    folder, chosen = space.converted(release.repo_id, release.commit), _toolchain(pipeline)
    if chosen is not None:
        job, inputs = _conversion(pipeline, release, chosen)
        if pipeline.ledger.finished(job, "convert", inputs) is not None:
            return 0
    files = weights.checkpoint(release).files
    stored = sum(file.size - bytes_here(here, file) for file in files)
    left = sum(taken(path) for path in folder.glob(f"*{WORK}/**/*") if path.is_file())
    return max(stored + sixteen - left, 0)


def _convert(
    pipeline: Pipeline,
    release: Release,
    chosen: Toolchain,
    target: Path,
    job: str,
    inputs: Mapping[str, Any],
) -> Finished:
    """Fetch a checkpoint and convert it; what the headers tell is known before either."""
    from bot.source.converting import run

    config, files = _require_buildable(pipeline, release, chosen)
    if config is None:
        raise SourceError(f"{release.repo_id} has no config.json; choose another model")
    sketch = _of_checkpoint(pipeline, release, config, files)
    if low := _undeclared(sketch, config):
        raise SourceError(f"{release.repo_id} is {low}; choose another model")
    sixteen = sum(tensor.bytes for tensor in sketch.tensors)
    source = pipeline.workspace.sources(release.repo_id, release.commit)
    _fetch(pipeline, release, small_files(release), source, sixteen)
    require_whole(source, config, sketch.architecture.vocabulary)
    _foretell(pipeline, source, config, chosen, sketch.architecture)
    _fetch(pipeline, release, plan_fetch(release, files.files), source, sixteen)
    made = run(pipeline, source, target, chosen, _facts(pipeline, release))
    extras = {}
    if made.projector:
        extras["mmproj.gguf"] = made.projector
    if made.mtp:
        extras[f"mtp-{sketch.name}.gguf"] = made.mtp
    value = {
        "architecture": dump(replace(sketch.architecture, lacks=made.lacks)),
        "extras": {name: str(path) for name, path in extras.items()},
    }
    return pipeline.ledger.record(job, "convert", inputs, [*made.model, *extras.values()], value)


def _fetch(
    pipeline: Pipeline, release: Release, files: Sequence[RepoFile], folder: Path, more: int
) -> None:
    """Have files here, where `more` bytes beside them must fit, too."""
    with pipeline.narrator.work(f"fetching {release.repo_id}", unit="B") as report:
        fetch(
            pipeline.hub,
            release,
            files,
            folder,
            workers=FETCHERS,
            report=report,
            reserve=pipeline.settings.reserve + more,
        )


def _foretell(
    pipeline: Pipeline,
    folder: Path,
    config: Mapping[str, Any],
    toolchain: Toolchain,
    model: Architecture,
) -> None:
    """Say before the weights are fetched that the vision or audio part cannot be converted."""
    seen = (model.vision or model.audio) and pipeline.settings.convert.projector != "none"
    reason = lacking(folder, config, toolchain) if seen else None
    if reason is not None:
        pipeline.narrator.say(without("vision or audio part", reason))


def _facts(pipeline: Pipeline, release: Release) -> ConvertFacts:
    return ConvertFacts(
        name=release.repo_id.split("/")[1],
        repo_id=release.repo_id,
        commit=release.commit,
        license=licences.expression(release),
        license_name=release.license_name,
        license_link=release.license_link,
        languages=release.languages,
        tags=tuple(tag for tag in release.tags if ":" not in tag),
        site=pipeline.settings.hub.endpoint,
    )


BUILDERS = ("apex-bot", "llama-cpp-python")  # packages that a build rests on


def machine(pipeline: Pipeline) -> Machine:
    """What can be built here: converter and disk, as far as they are known."""
    chosen = _toolchain(pipeline)
    root = pipeline.workspace.root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return Machine(
        supported=_supported(chosen) if chosen else None,
        free_disk=max(shutil.disk_usage(there).free - pipeline.settings.reserve, 0),
        dropped=dropped(pipeline.settings),
        tools=" ".join((*map(version, BUILDERS), chosen.version if chosen else "")),
    )


@cache
def _supported(chosen: Toolchain) -> frozenset[str]:
    return toolchain.supported(chosen)[0]


def _toolchain(pipeline: Pipeline) -> Toolchain | None:
    """The converter, where there is one."""
    settings, root = pipeline.settings.convert, pipeline.workspace.toolchain
    there = settings.llama_cpp or toolchain.installed(root)
    return toolchain.chosen(settings, root) if there else None
