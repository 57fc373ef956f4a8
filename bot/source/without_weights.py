"""The metadata that llama.cpp's converter would write for a release, without its weights.

The converter itself writes it (--vocab-only): it is shown the release's small files, and in place
of weights files that hold their headers and nothing else, which take no room on a disk. Where a
release is GGUF already, its own header is the answer.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bot.clients.files.ggufheader import read_header
from bot.disk.writing import copy
from bot.errors import SourceError
from bot.foreign import read_of
from bot.progress import Report
from bot.records.model import HeaderTensor
from bot.records.releases import Release, RepoFile
from bot.source import staging
from bot.source.beforehand import require_whole
from bot.source.checkpoint import CheckpointFolder, read_checkpoint
from bot.source.converter_run import ConverterRun, Options, layer_flags, run_converter
from bot.source.converting import converter_options, matching_toolchain
from bot.source.obtain import conversion, facts_of
from bot.tensors import weights
from bot.tensors.stored import dropped_parts, parts_by_file
from bot.toolchain import toolchain
from bot.workplace.fetch import FETCHERS, converter_files, fetch
from bot.workplace.workplace import Workplace

CONFIG = "config.json"
LARGEST = 16 << 20  # bytes of a config.json


def keys_of_release(workplace: Workplace, release: Release) -> dict[str, bytes]:
    """Each key of the header that a build of the release would start from, with all its bytes.

    Size labels, which are counted from weights, are not among them. Raises SourceError for a
    release that has no weights or that the converter does not know, SettingsError without a
    toolchain, RefusedError with the converter's own reason.
    """
    model = weights.gguf(release)
    if not model and not weights.safetensors(release):
        model = max(weights.gguf_models(release), key=weights.total, default=())
        if not model:
            raise SourceError(f"{release.repo_id} has no weights; name the model's own repository")
    with TemporaryDirectory(prefix="apex-bot-") as place, read_of(release.repo_id):
        return (
            _of_gguf(workplace, release, model[0], Path(place))
            if model
            else _converted(workplace, release)
        )


def _of_gguf(
    workplace: Workplace, release: Release, file: RepoFile, folder: Path
) -> dict[str, bytes]:
    target = folder / "header.gguf"
    workplace.hub.gguf_header(release, file, target)
    return dict(read_header(target).keys)


def _converted(workplace: Workplace, release: Release) -> dict[str, bytes]:
    """The converter's answer, kept beside conversions of the same commit: a header and no more."""
    chosen, options = matching_toolchain(workplace), converter_options(workplace)
    job, inputs = conversion(workplace, release, chosen)
    folder = workplace.folders.converted(release.repo_id, release.commit)
    target = folder / "metadata.gguf"

    def work(report: Report) -> None:
        with TemporaryDirectory(prefix="apex-bot-") as place:
            made = _made(workplace, release, chosen, options, Path(place), report)
            copy(made, target, options.reserve)

    title = f"converting the metadata of {release.repo_id}"
    workplace.step(job, "metadata", inputs, [target], title, work)
    return dict(read_header(target).keys)


def _made(
    workplace: Workplace,
    release: Release,
    chosen: toolchain.Toolchain,
    options: Options,
    folder: Path,
    report: Report,
) -> Path:
    source, files = folder / "source", converter_files(release)
    fetch(workplace.hub, release, files, source, workers=FETCHERS, report=report, reserve=0)
    _write_stand_ins(source, _headers(workplace, release, options))
    parts = dropped_parts(options.mtp, options.projector)
    checkpoint = read_checkpoint(source, parts)
    require_whole(source, checkpoint.config, checkpoint.rows)
    return _run(workplace, release, checkpoint, chosen, options, folder)


def _headers(workplace: Workplace, release: Release, options: Options) -> tuple[HeaderTensor, ...]:
    """Every tensor of the checkpoint, by the headers of its files."""
    hub = workplace.hub
    config, index = (
        hub.read_json(release.repo_id, release.commit, CONFIG, LARGEST),
        hub.index(release),
    )
    named = parts_by_file(config or {}, index) if index else None
    chosen = weights.checkpoint(release, named, dropped_parts(options.mtp, options.projector))
    return hub.safetensors(release, chosen, index)


def _write_stand_ins(folder: Path, tensors: Iterable[HeaderTensor]) -> None:
    """Files with these headers, as long as theirs, whose data are holes."""
    by_file = defaultdict[str, list[HeaderTensor]](list)
    for tensor in tensors:
        by_file[tensor.file].append(tensor)
    for name, file_tensors in by_file.items():
        entries, end = dict[str, Any](), 0
        for tensor in file_tensors:
            place = [end, end := end + tensor.bytes]
            entries[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": place,
            }
        header = json.dumps(entries).encode()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + end)


def _run(
    workplace: Workplace,
    release: Release,
    checkpoint: CheckpointFolder,
    chosen: toolchain.Toolchain,
    options: Options,
    folder: Path,
) -> Path:
    """The file that the converter writes of metadata alone."""
    architecture = checkpoint.architecture("text")
    if architecture not in toolchain.supported(chosen)[0]:
        raise SourceError(
            f"the converter of {chosen.version} does not know {str(architecture)[:120]!r}; "
            "wait for a newer llama.cpp"
        )
    switch = toolchain.has_mtp_switch(chosen, str(architecture))
    denied = checkpoint.says_mtp and not checkpoint.has_mtp and not switch
    facts, work = facts_of(workplace, release), folder / "work"
    staged = staging.stage(checkpoint, work, facts, without_mtp=denied)
    staging.write_metadata(work / "metadata.json", facts)
    log = workplace.folders.converted(release.repo_id, release.commit) / "metadata.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    job = ConverterRun(checkpoint, chosen, options, work, staged, facts.name, log)
    layers = layer_flags(checkpoint, options.mtp, switch=switch)
    flags = ("--vocab-only", "--outtype", "bf16", *layers)
    return run_converter(job, "metadata.gguf", flags)[0]
