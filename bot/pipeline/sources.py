"""A repository → what it is, told without its weights; and → its 16-bit GGUF file here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bot import weights
from bot.build import toolchain
from bot.build.checkpoint import read_json
from bot.build.fetch import fetch, plan_fetch
from bot.build.staging import ConvertFacts
from bot.clients import gguf
from bot.clients.safetensors import local_release, local_safetensors
from bot.errors import AccessError, SourceError
from bot.ledger import Finished
from bot.plan.architecture import describe
from bot.plan.preview import Preview, preview
from bot.records import (
    Architecture,
    Build,
    Decision,
    Outcome,
    Release,
    Skip,
    Tensor,
    digest,
    dump,
    load,
)
from bot.watch.feed import Machine, config_of
from bot.watch.moe import MoeFacts, experts
from bot.watch.policy import decide, from_config
from bot.workspace import alone

if TYPE_CHECKING:
    from bot.build.toolchain import Toolchain
    from bot.pipeline.models import Pipeline

FETCHERS = 8  # downloads side by side
SKETCHED: tuple[Outcome, ...] = ("eligible", "too_large")
VERSION = 1  # raised when a change of ours changes a converted file


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A model as far as recipes and sizes need it."""

    name: str  # as in file names: Qwen3.6-35B-A3B
    release: Release | None
    architecture: Architecture
    tensors: tuple[Tensor, ...]  # of the 16-bit GGUF
    header_bytes: int  # before the first tensor's data

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
    index: Mapping[str, Any] | None = None  # of the checkpoint's files, where it was needed


def look_at(pipeline: Pipeline, name: str, revision: str, machine: Machine) -> Sight:
    """Say what ORG/MODEL is: one request for its files, one for config.json, then headers.

    Raises SourceError when there is no such repository or its headers are damaged.
    """
    hub = pipeline.hub
    release = hub.release(name, revision)
    named = replace(release, private=False)  # who names a private model means it
    config = config_of(hub, named)
    decision = decide(named, config, supported=machine.supported, free_disk=machine.free_disk)
    found = experts(config) if config is not None else None
    sight = Sight(
        release=release,
        decision=decision,
        experts=found if isinstance(found, MoeFacts) else None,
        sketch=None,
        config=config,
    )
    if weights.gguf(release) and (config is None or decision.outcome in SKETCHED):
        return replace(sight, sketch=_of_gguf(pipeline, release))
    if config is not None and decision.outcome in SKETCHED:
        index = hub.index(release)
        return replace(sight, index=index, sketch=_of_checkpoint(pipeline, release, config, index))
    return sight


def look_at_folder(path: Path) -> Sight:
    """Say what a checkpoint's folder here is, or a config.json alone.

    Raises SourceError when there is none, or the headers are damaged.
    """
    folder = path if path.is_dir() else path.parent
    release = local_release(folder)
    config = read_json(path / "config.json" if path.is_dir() else path)
    found = experts(config)
    facts = found if isinstance(found, MoeFacts) else None
    sketch = None
    if path.is_dir():
        decision = decide(release, config)
        if decision.outcome in SKETCHED:
            seen = preview(config, local_safetensors(folder), release)
            sketch = _sketch(release, seen)
    else:
        told = from_config(release, config)
        decision = told if isinstance(told, Skip) else Build(release=release, reason=_alone(told))
    return Sight(release=release, decision=decision, experts=facts, sketch=sketch, config=config)


def _alone(facts: MoeFacts) -> str:
    return f"{facts.experts} experts, {facts.experts_active} active, by its config alone"


def _sketch(release: Release, seen: Preview) -> Sketch:
    return Sketch(
        name=release.repo_id.split("/")[-1],
        release=release,
        architecture=seen.architecture,
        tensors=seen.tensors,
        header_bytes=seen.header,
    )


def _of_gguf(pipeline: Pipeline, release: Release) -> Sketch:
    files = weights.gguf(release)
    with TemporaryDirectory() as folder, pipeline.narrator.work("reading headers") as report:
        for done, file in enumerate(files):
            report(done, len(files))
            pipeline.hub.gguf_header(release, file, Path(folder) / Path(file.path).name)
        header = gguf.read_split(Path(folder) / Path(files[0].path).name)
    return Sketch(
        name=release.repo_id.split("/")[1],
        release=release,
        architecture=describe(header.metadata, header.tensors),
        tensors=header.tensors,
        header_bytes=header.data_offset,
    )


def _of_checkpoint(
    pipeline: Pipeline,
    release: Release,
    config: Mapping[str, Any],
    index: Mapping[str, Any] | None,
) -> Sketch:
    with pipeline.narrator.work("reading headers") as report:
        seen = preview(config, pipeline.hub.safetensors(release, index, report), release)
    return _sketch(release, seen)


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
    if not weights.gguf(release):
        return _converted(pipeline, release)
    _require_buildable(pipeline, release, None)
    folder = pipeline.workspace.sources(release.repo_id, release.commit)
    files = plan_fetch(release, gguf=True)
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
    model = weights.gguf(release)
    projector = weights.projector(release, model[0])
    extras = {Path(projector.path).name: folder / projector.path} if projector else None
    return Local(path=folder / model[0].path, release=release, extras=extras)


def _require_buildable(
    pipeline: Pipeline, release: Release, chosen: Toolchain | None
) -> Mapping[str, Any] | None:
    """The config of a release that can be built by name, as far as files and config tell."""
    named = replace(release, private=False)
    config = config_of(pipeline.hub, named)
    supported = toolchain.supported(chosen)[0] if chosen else None
    decision = decide(named, config, supported=supported)
    if config is None and decision.outcome == "no_weights_yet" and weights.gguf(release):
        return None  # its own header will tell
    if decision.outcome == "gated_no_access":
        raise AccessError(f"{release.repo_id} is {decision.reason}; ask for it, then run again")
    if decision.outcome != "eligible":
        raise SourceError(
            f"{release.repo_id} cannot be built ({decision.outcome}): {decision.reason}; "
            "choose another model"
        )
    return config


def _converted(pipeline: Pipeline, release: Release) -> Local:
    settings = pipeline.settings.convert
    if _toolchain(pipeline) is None:  # a model that cannot be built needs no converter
        _require_buildable(pipeline, release, None)
    chosen = toolchain.chosen(settings, pipeline.workspace.toolchain)
    name = release.repo_id.split("/")[1]
    folder = pipeline.workspace.converted(release.repo_id, release.commit)
    target = folder / f"{name}-BF16.gguf"
    job = digest([release.repo_id, release.commit])
    inputs = {
        "version": VERSION,
        "converter": chosen.version,
        "mtp": settings.mtp,
        "projector": settings.projector,
        "shard": settings.shard_gb,
        "site": pipeline.settings.hub.endpoint,
    }
    with alone(folder):
        done = pipeline.ledger.finished(job, "convert", inputs)
        if done is None:
            done = _convert(pipeline, release, chosen, target, job, inputs)
    extras = {name: Path(path) for name, path in done.value["extras"].items()}
    return Local(
        path=Path(done.files[0].path),
        release=release,
        extras=extras,
        told=load(Architecture, done.value["architecture"]),
    )


def _convert(
    pipeline: Pipeline,
    release: Release,
    chosen: Toolchain,
    target: Path,
    job: str,
    inputs: Mapping[str, Any],
) -> Finished:
    """Fetch a checkpoint and convert it; what the headers tell is known before either."""
    from bot.pipeline.convert import run

    config = _require_buildable(pipeline, release, chosen)
    if config is None:
        raise SourceError(f"{release.repo_id} has no config.json; choose another model")
    index = pipeline.hub.index(release)
    sketch = _of_checkpoint(pipeline, release, config, index)
    sixteen = sum(tensor.bytes for tensor in sketch.tensors)
    source = pipeline.workspace.sources(release.repo_id, release.commit)
    with pipeline.narrator.work(f"fetching {release.repo_id}", unit="B") as report:
        fetch(
            pipeline.hub,
            release,
            plan_fetch(release, gguf=False, index=index),
            source,
            workers=FETCHERS,
            report=report,
            reserve=pipeline.settings.reserve + sixteen,
        )
    made = run(pipeline, source, target, chosen, _facts(pipeline, release, sketch.name))
    extras = {}
    if made.projector:
        extras["mmproj.gguf"] = made.projector
    if made.mtp:
        extras[f"mtp-{sketch.name}.gguf"] = made.mtp
    value = {
        "architecture": dump(sketch.architecture),
        "extras": {name: str(path) for name, path in extras.items()},
    }
    return pipeline.ledger.record(job, "convert", inputs, [*made.model, *extras.values()], value)


def _facts(pipeline: Pipeline, release: Release, name: str) -> ConvertFacts:
    return ConvertFacts(
        name=name,
        repo_id=release.repo_id,
        commit=release.commit,
        license=release.license,
        license_name=release.license_name,
        license_link=release.license_link,
        languages=release.languages,
        tags=tuple(tag for tag in release.tags if ":" not in tag),
        site=pipeline.settings.hub.endpoint,
    )


def machine(pipeline: Pipeline) -> Machine:
    """What can be built here: converter and disk, as far as they are known."""
    chosen = _toolchain(pipeline)
    root = pipeline.workspace.root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return Machine(
        supported=_supported(chosen) if chosen else None,
        free_disk=max(shutil.disk_usage(there).free - pipeline.settings.reserve, 0),
    )


@cache
def _supported(chosen: Toolchain) -> frozenset[str]:
    return toolchain.supported(chosen)[0]


def _toolchain(pipeline: Pipeline) -> Toolchain | None:
    """The converter, where there is one."""
    settings, root = pipeline.settings.convert, pipeline.workspace.toolchain
    there = settings.llama_cpp or toolchain.installed(root)
    return toolchain.chosen(settings, root) if there else None
