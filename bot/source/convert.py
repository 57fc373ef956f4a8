"""A safetensors checkpoint → a GGUF file, by llama.cpp's converter in a subprocess.

Weights have 16 bits there, or their own fewer ones, where the converter writes those.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.apart import sandbox
from bot.apart.sandbox import Isolation
from bot.disk.folders import WORK
from bot.disk.space import require_free
from bot.errors import BuildError, SourceError
from bot.predict.conversion import converted_bytes
from bot.source import checkpoint as checkpoints
from bot.source import converted, staging
from bot.source.beforehand import lacking_projector, require_whole
from bot.source.checkpoint import CheckpointFolder
from bot.source.converter_run import (
    ConverterRun,
    Mtp,
    Options,
    Progress,
    layer_flags,
    run_converter,
)
from bot.source.staging import ConvertFacts
from bot.tensors.stored import dropped_parts
from bot.toolchain.toolchain import Toolchain, has_mtp_switch, supported

Layers = Literal["dropped", "kept", "either"]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Files of a conversion, loaded and compared with the checkpoint."""

    model: tuple[Path, ...]  # one file, or its shards in order
    projector: Path | None
    mtp: Path | None
    log: Path
    isolation: Isolation  # how far the converter was kept from the rest of this machine
    notes: tuple[str, ...]  # what a reader should know, one sentence each
    lacks: tuple[str, ...] = ()  # parts of the checkpoint that could not be converted, and why


def convert_checkpoint(
    source: Path,
    target: Path,
    *,
    toolchain: Toolchain,
    facts: ConvertFacts,
    options: Options,
    report: Progress,
) -> Converted:
    """Convert the checkpoint in `source` to `target`, a projector and an MTP file beside it.

    They are `mmproj-NAME` and `mtp-NAME`, the log is `NAME.log`. Raises SourceError for a
    checkpoint that is damaged or that the converter does not know, RefusedError with the
    converter's own reason, BuildError where that is of this machine, CapacityError past a limit.
    Nothing but the log stays after an error.
    A projector or an MTP file that cannot be made is none: the model stands without it.
    """
    checkpoint = checkpoints.read_checkpoint(source, dropped_parts(options.mtp, options.projector))
    require_whole(source, checkpoint.config, checkpoint.rows)
    architecture = _require_support(checkpoint, toolchain)
    log = target.with_name(f"{target.name}.log")
    work = target.with_name(f"{target.name}{WORK}")
    shutil.rmtree(work, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    require_free(target.parent, needed_bytes(checkpoint), options.reserve)
    log.unlink(missing_ok=True)
    switch = has_mtp_switch(toolchain, architecture)
    # a switch leaves the layers out; without one the config may at least not promise absent ones
    denied = checkpoint.says_mtp and not checkpoint.has_mtp and not switch
    try:
        staged = staging.stage(checkpoint, work, facts, without_mtp=denied)
        staging.write_metadata(work / "metadata.json", facts)
        job = ConverterRun(checkpoint, toolchain, options, work, staged, facts.name, log)
        return _convert(job, target, switch=switch, report=report)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _convert(job: ConverterRun, target: Path, *, switch: bool, report: Progress) -> Converted:
    layers, flags, notes = _mtp_plan(job.checkpoint, job.options.mtp, switch=switch)
    split: tuple[str, ...] = ()
    if job.options.shard is not None:
        split = ("--split-max-size", str(job.options.shard))
    expected = _expected_bytes(job.checkpoint)
    files = run_converter(job, target.name, ("--outtype", "bf16", *flags, *split), expected, report)
    threads, terms = job.options.threads, job.options.terms
    converted.check_model(job.checkpoint, files, layers=layers, threads=threads, terms=terms)
    projector, without_projector, more = _projector(job, target)
    mtp, without_mtp = _prediction(job, target, switch=switch)
    lacks = tuple(reason for reason in (without_projector, without_mtp) if reason)
    final = [_settle(path, target.parent) for path in reversed(files)]
    return Converted(
        model=tuple(reversed(final)),
        projector=_settle(projector, target.parent) if projector else None,
        mtp=_settle(mtp, target.parent) if mtp else None,
        log=job.log,
        isolation=sandbox.chosen_isolation(job.options.terms.isolation),
        notes=(*notes, *more),
        lacks=lacks,
    )


def _projector(job: ConverterRun, target: Path) -> tuple[Path | None, str | None, tuple[str, ...]]:
    """The vision or audio part in a file; why there is none though there should be; notes."""
    kind = job.options.projector.lower()
    if kind == "none" or not job.checkpoint.has_projector:
        return None, None, ()
    reason = lacking_projector(job.checkpoint.folder, job.checkpoint.config, job.toolchain)
    if reason is not None:
        return None, without("vision or audio part", reason), ()
    try:
        file = run_converter(job, f"mmproj-{target.name}", ("--mmproj", "--outtype", kind))[0]
        return file, None, converted.check_projector(job.checkpoint, file)
    except BuildError as error:
        return None, without("vision or audio part", str(error)), ()


def _prediction(job: ConverterRun, target: Path, *, switch: bool) -> tuple[Path | None, str | None]:
    """MTP layers in a file of their own; why there is none though there should be."""
    if job.options.mtp != "separate" or not job.checkpoint.has_mtp:
        return None, None
    part = "multi-token prediction file"
    if not switch:
        return None, without(part, "llama.cpp's converter makes none of this family")
    try:
        file = run_converter(job, f"mtp-{target.name}", ("--mtp", "--outtype", "bf16"))[0]
        converted.check_mtp(file)
    except BuildError as error:
        return None, without(part, str(error))
    return file, None


def without(part: str, reason: str) -> str:
    """The sentence about a part that could not be made, for card, page and screen."""
    return f"without its {part}: {reason.split('; its whole log is')[0]}"


def _require_support(checkpoint: CheckpointFolder, toolchain: Toolchain) -> str:
    architecture = checkpoint.architecture("text")
    if architecture is None:
        raise SourceError("config.json names no architecture; the repository cannot be converted")
    if architecture not in supported(toolchain)[0]:
        raise SourceError(
            f"the converter of {toolchain.version} does not know {architecture[:120]!r}; "
            "wait for a newer llama.cpp"
        )
    return architecture


def _mtp_plan(
    checkpoint: CheckpointFolder, mtp: Mtp, *, switch: bool
) -> tuple[Layers, tuple[str, ...], tuple[str, ...]]:
    """MTP layers: whether they stay in the model, the converter's flags, notes."""
    flags = layer_flags(checkpoint, mtp, switch=switch)
    if not checkpoint.has_mtp:
        lost = checkpoint.says_mtp or mtp != "drop"
        notes = ("the checkpoint has no multi-token prediction layers",) if lost else ()
        return "dropped", flags, notes
    if not switch:
        note = "the converter decides about this family's multi-token prediction layers"
        return "either", flags, (note,)
    return ("dropped" if flags else "kept"), flags, ()


def needed_bytes(checkpoint: CheckpointFolder) -> int:
    """About the bytes that converting takes on disk, without the checkpoint itself."""
    media = checkpoint.parameters("vision", "audio") or 0
    return _expected_bytes(checkpoint) + 2 * media


def _expected_bytes(checkpoint: CheckpointFolder) -> int:
    """About the bytes of the file: two for a weight, fewer where its own precision is kept.

    Rows of packed words may be padded: then it is a little more than will be written.
    """
    return converted_bytes(checkpoint.config, checkpoint.content)


def _settle(path: Path, folder: Path) -> Path:
    """Give a finished file its place, on disk for good."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return path.rename(folder / path.name)
