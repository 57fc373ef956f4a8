"""A release that can be built → its 16-bit GGUF file here: fetched, converted, described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot import licences
from bot.clients.files import gguf
from bot.disk.folders import WORK
from bot.disk.locks import alone, use
from bot.disk.paths import remove
from bot.disk.space import taken
from bot.foreign import read_of
from bot.plan.models import Candidate, Local, Model, Sketch
from bot.predict.architecture import architecture_of
from bot.records.built import Built, together
from bot.records.coding import digest, dump, load_record
from bot.records.model import Architecture, Source
from bot.records.releases import Release, RepoFile
from bot.source.beforehand import lacking_projector, require_whole
from bot.source.convert import without
from bot.source.converting import convert_with, matching_toolchain
from bot.source.staging import ConvertFacts
from bot.store.ledger import Finished
from bot.store.paces import CONVERT, FETCH, PastWork, paced
from bot.tensors import weights
from bot.toolchain import toolchain
from bot.toolchain.toolchain import Toolchain
from bot.workplace import names
from bot.workplace.fetch import FETCHERS, bytes_here, converter_files, fetch, plan_fetch
from bot.workplace.pinning import hash_model, name_of_file, origin_of
from bot.workplace.workplace import Workplace

VERSION = 2  # raised when a change of ours changes a converted file


def known_local(workplace: Workplace, release: Release) -> Local | None:
    """The file of a checkpoint that was converted before; None where there is none."""
    chosen = toolchain.present(workplace.settings.convert, workplace.folders.toolchain)
    if chosen is None:
        return None
    job, inputs = conversion(workplace, release, chosen)
    if workplace.ledger.finished(job, "convert", inputs) is None:
        return None
    use(workplace.folders.converted(release.repo_id, release.commit))
    done = workplace.ledger.finished(
        job, "convert", inputs, shape=_ConversionFacts
    )  # not given back meanwhile
    return _local(release, done) if done is not None and done.files else None


def bring(workplace: Workplace, candidate: Candidate) -> Local:
    """Fetch a release, and convert it where it is no GGUF; a second call finds both done.

    Raises CapacityError before a download that would not fit, SettingsError when the converter is
    needed and not installed, SourceError for what the small files of a checkpoint rule out.
    """
    release = candidate.release
    if candidate.checkpoint is not None:
        return _converted(workplace, candidate, candidate.checkpoint)
    folder = workplace.folders.sources(release.repo_id, release.commit)
    _fetch(workplace, release, plan_fetch(release), folder, 0)
    model = weights.gguf(release)
    projector = weights.projector(release, model[0])
    extras = {Path(projector.path).name: folder / projector.path} if projector else None
    return Local(path=folder / model[0].path, release=release, extras=extras)


def source_room(workplace: Workplace, sketch: Sketch, release: Release) -> int:
    """Bytes that fetching and converting a release still take: what lies here counts.

    What a killed conversion left gives its room back before.
    """
    space = workplace.folders
    here = space.sources(release.repo_id, release.commit)
    if model := weights.gguf(release):
        return sum(file.size - bytes_here(here, file) for file in model)
    folder = space.converted(release.repo_id, release.commit)
    chosen = toolchain.present(workplace.settings.convert, space.toolchain)
    if chosen is not None:
        job, inputs = conversion(workplace, release, chosen)
        if workplace.ledger.finished(job, "convert", inputs) is not None:
            return 0
    files = weights.checkpoint(release).files
    stored = sum(file.size - bytes_here(here, file) for file in files)
    leftover = sum(taken(path) for path in folder.glob(f"*{WORK}/**/*") if path.is_file())
    return max(stored + sketch.file_bytes - leftover, 0)


# ── what lies here ──────────────────────────────────────────────────────────────────────────


def described(workplace: Workplace, local: Local, known_content: Built | None = None) -> Model:
    """A 16-bit GGUF of this machine, hashed and described.

    Where `known_content` gives size and hash, its header alone may be here. Raises SourceError when
    it is none, or no mixture of experts.
    """
    path, release = local.path.absolute(), local.release  # a link has the model's name
    with read_of(str(path)):
        header = gguf.read_split(path)
        architecture = architecture_of(header.metadata, header.tensors)
    content = known_content or together(hash_model(workplace, local))
    source = Source(
        repo_id=release.repo_id if release else None,
        commit=release.commit if release else content.sha256,
        path=str(path),
        bytes=content.bytes,
        sha256=content.sha256,
    )
    return Model(
        source=source,
        release=release,
        name=name_of_file(workplace, path)
        if release is None
        else names.name_of(release.repo_id.split("/")[1]),
        tensors=header.tensors,
        header_bytes=header.data_offset,
        architecture=with_checkpoint(architecture, local.architecture),
        extras=local.extras or {},
        origin=None if release else origin_of(header.metadata, workplace.settings.source),
    )


def with_checkpoint(counted: Architecture, by_checkpoint: Architecture | None) -> Architecture:
    """An architecture counted from a GGUF file, with the fields that its checkpoint alone has."""
    if by_checkpoint is None:
        return counted
    same = len(by_checkpoint.attention) == counted.layers
    return replace(
        counted,
        attention=by_checkpoint.attention if same else counted.attention,
        shared_experts=by_checkpoint.shared_experts,
        dense_leading_layers=by_checkpoint.dense_leading_layers,
        vision=by_checkpoint.vision,
        audio=by_checkpoint.audio,
        parameters_other=by_checkpoint.parameters_other,
        source_precision=by_checkpoint.source_precision,
        source_shares=by_checkpoint.source_shares,
        base_model=by_checkpoint.base_model,
        base_relation=by_checkpoint.base_relation,
        lacks=by_checkpoint.lacks,
    )


# ── conversion ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _ConversionFacts:
    """A conversion's value in the ledger, beside its files."""

    architecture: Architecture
    extras: Mapping[str, str]  # paths


def _converted(workplace: Workplace, candidate: Candidate, files: weights.CheckpointFiles) -> Local:
    release = candidate.release
    chosen = matching_toolchain(workplace)
    job, inputs = conversion(workplace, release, chosen)
    folder = workplace.folders.converted(release.repo_id, release.commit)
    use(folder)
    with alone(folder):
        done = workplace.ledger.finished(job, "convert", inputs, shape=_ConversionFacts)
        if done is None or not done.files:
            _sweep(folder)
            done = _convert(workplace, candidate, files, chosen, job, inputs)
    return _local(release, done)


def _local(release: Release, done: Finished) -> Local:
    return Local(
        path=Path(done.files[0].path),
        release=release,
        extras={name: Path(path) for name, path in done.value["extras"].items()},
        architecture=load_record(Architecture, done.value["architecture"]),
    )


def conversion(
    workplace: Workplace, release: Release, chosen: Toolchain
) -> tuple[str, dict[str, Any]]:
    """The job of a conversion, and all that decides what it makes."""
    settings = workplace.settings.convert
    return digest([release.repo_id, release.commit]), {
        "version": VERSION,
        "converter": chosen.version,
        "mtp": settings.mtp,
        "projector": settings.projector,
        "shard": settings.shard_gb,
        "site": workplace.settings.hub.endpoint,
    }


def _sweep(folder: Path) -> None:
    """Remove work folders of conversions that were killed; the folder is held alone."""
    for work in folder.glob(f"*{WORK}"):
        remove(work, folder)


def _convert(
    workplace: Workplace,
    candidate: Candidate,
    checkpoint: weights.CheckpointFiles,
    chosen: Toolchain,
    job: str,
    inputs: Mapping[str, Any],
) -> Finished:
    """Fetch a checkpoint and convert it; its small files come first and are checked."""
    release, config, sketch = candidate.release, candidate.config or {}, candidate.sketch
    sixteen = sketch.file_bytes
    source = workplace.folders.sources(release.repo_id, release.commit)
    _fetch(workplace, release, converter_files(release), source, sixteen)
    require_whole(source, config, sketch.architecture.vocabulary)
    _foretell(workplace, source, config, chosen, sketch.architecture)
    _fetch(workplace, release, plan_fetch(release, checkpoint), source, sixteen)
    folder = workplace.folders.converted(release.repo_id, release.commit)
    kind = sketch.architecture.source_type
    target = folder / f"{release.repo_id.split('/')[1]}-{kind}.gguf"
    work = PastWork(kind=CONVERT, units=sixteen, seconds=0)
    with paced(workplace.ledger, release.commit[:12], work, lambda *_: None):
        converted = convert_with(workplace, source, target, chosen, facts_of(workplace, release))
    extras = {}
    if converted.projector:
        extras["mmproj.gguf"] = converted.projector
    if converted.mtp:
        extras[f"mtp-{sketch.name}.gguf"] = converted.mtp
    value = {
        "architecture": dump(replace(sketch.architecture, lacks=converted.lacks)),
        "extras": {name: str(path) for name, path in extras.items()},
    }
    files = [*converted.model, *extras.values()]
    return workplace.ledger.record(job, "convert", inputs, files, value)


def _fetch(
    workplace: Workplace, release: Release, files: Sequence[RepoFile], folder: Path, more: int
) -> None:
    """Have files here, where `more` bytes beside them must fit, too."""
    work = PastWork(kind=FETCH, units=max(weights.total(files), 1), seconds=0)
    name = f"{release.commit[:12]} {len(files)}"
    with (
        workplace.narrator.work(f"fetching {release.repo_id}", unit="B") as told,
        paced(workplace.ledger, name, work, told) as report,
    ):
        fetch(
            workplace.hub,
            release,
            files,
            folder,
            workers=FETCHERS,
            report=report,
            reserve=workplace.settings.reserve + more,
        )


def _foretell(
    workplace: Workplace,
    folder: Path,
    config: Mapping[str, Any],
    chosen: Toolchain,
    model: Architecture,
) -> None:
    """Say before the weights are fetched that the vision or audio part cannot be converted."""
    has_media = (model.vision or model.audio) and workplace.settings.convert.projector != "none"
    reason = lacking_projector(folder, config, chosen) if has_media else None
    if reason is not None:
        workplace.narrator.say(without("vision or audio part", reason))


def facts_of(workplace: Workplace, release: Release) -> ConvertFacts:
    """What the converter is told of a release."""
    return ConvertFacts(
        name=release.repo_id.split("/")[1],
        repo_id=release.repo_id,
        commit=release.commit,
        license=licences.expression(release),
        license_name=release.license_name,
        license_link=release.license_link,
        languages=release.languages,
        tags=tuple(tag for tag in release.tags if ":" not in tag),
        site=workplace.settings.hub.endpoint,
    )
