"""Checks after conversion: every weight of the checkpoint is there, and the file computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from bot.apart.worker import ChildTerms, Room, away
from bot.clients.files import gguf
from bot.clients.llama.session import Loading
from bot.errors import RefusedError
from bot.records.model import Tensor
from bot.source.checkpoint import CheckpointFolder
from bot.tensors.originals import KEPT_ANYWHERE, kept_type
from bot.tensors.roles import layer_of
from bot.tensors.sizes import TABLE
from bot.tensors.weights import SIXTEEN_BIT
from bot.workplace.loaded import computes

# tensors that the converter makes up (generate_extra_tensors): they are in no checkpoint
_GENERATED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def check_model(
    checkpoint: CheckpointFolder,
    files: Sequence[Path],
    *,
    layers: Literal["dropped", "kept", "either"],
    threads: int,
    terms: ChildTerms,
) -> None:
    """Raise RefusedError unless the file has every weight of the checkpoint and computes.

    The number of weights must be equal, in each layer and outside them; fewer than 16 bits have
    only those that have them in the checkpoint. Not counted are tensors that the converter makes
    up; MTP layers count when they were kept; an output head that is stored though it is tied to
    the embedding may be missing. Where a packed format hides the number of weights, only the
    layers' presence is compared. Then llama.cpp loads the file and its logits for a sentence must
    be finite.
    """
    headers = [gguf.read_gguf(file) for file in files]
    tensors = [tensor for header in headers for tensor in header.tensors]
    family = str(headers[0].metadata.get("general.architecture"))
    low = next(_below_its_own(checkpoint, tensors, family), None)
    if low is not None:
        raise RefusedError(f"{low.name} was converted to {low.type}; start from another source")
    _compare(checkpoint, tensors, layers)
    _compute(files[0], threads, terms)


def _below_its_own(
    checkpoint: CheckpointFolder, tensors: Sequence[Tensor], family: str
) -> Iterator[Tensor]:
    """Tensors with fewer bits than 16 in a layer where the checkpoint has none of that type."""
    stored = checkpoint.content.tensors
    kept = {(tensor.layer, kept_type(family, tensor.precision)) for tensor in stored}
    for tensor in tensors:
        usual = tensor.type in (*SIXTEEN_BIT, TABLE)
        if not usual and (layer_of(tensor.name), tensor.type) not in kept:
            yield tensor


def check_projector(checkpoint: CheckpointFolder, file: Path) -> tuple[str, ...]:
    """Raise RefusedError unless `file` is a projector; a note when it lacks weights.

    Converters of projectors leave out what llama.cpp computes itself, so a difference is told
    and not refused.
    """
    header = gguf.read_gguf(file)
    if header.metadata.get("general.architecture") != "clip" or not header.tensors:
        raise RefusedError("the converter wrote no projector for this model; build without it")
    stored, written = checkpoint.parameters("vision", "audio"), _count(header.tensors)
    if stored is None or stored == written:
        return ()
    return (f"the projector holds {written:,} of the checkpoint's {stored:,} weights",)


def check_mtp(file: Path) -> None:
    """Raise RefusedError unless `file` holds multi-token prediction layers."""
    if not any(".nextn." in tensor.name for tensor in gguf.read_gguf(file).tensors):
        raise RefusedError("the converter wrote no multi-token prediction layers; set convert.mtp")


def _counted(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors that hold weights of the checkpoint: no scales of four-bit ones, nothing made up."""
    scaled = {t.name.removesuffix("weight") for t in tensors if t.type in KEPT_ANYWHERE.values()}
    scales = {f"{stem}{scale}" for stem in scaled for scale in ("scale", "input_scale")}
    return [tensor for tensor in tensors if tensor.name not in {*_GENERATED, *scales}]


def _count(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.parameters for tensor in _counted(tensors))


def _by_layer(tensors: Sequence[Tensor]) -> dict[int, int]:
    """Weights by layer, -1 for those outside."""
    weights: dict[int, int] = {}
    for tensor in _counted(tensors):
        layer = layer_of(tensor.name)
        place = -1 if layer is None else layer
        weights[place] = weights.get(place, 0) + tensor.parameters
    return weights


def _compare(
    checkpoint: CheckpointFolder,
    tensors: Sequence[Tensor],
    layers: Literal["dropped", "kept", "either"],
) -> None:
    main, mtp = checkpoint.content.by_layer("main"), checkpoint.parameters("mtp")
    by_layer = _by_layer(tensors)
    total = _count(tensors)
    if main is None or mtp is None:
        _require_layers(checkpoint, by_layer)
        return
    numbered = [layer for layer in main if layer >= 0]
    wrong = next((n for n in numbered if by_layer.get(n) != main[n]), None)
    if wrong is not None and numbered:
        raise RefusedError(
            f"layer {wrong} has {by_layer.get(wrong, 0):,} weights after conversion, "
            f"{main[wrong]:,} before; the converter does not suit this model, wait for a newer "
            "llama.cpp"
        )
    plain = sum(main.values())
    totals = {"dropped": {plain}, "kept": {plain + mtp}, "either": {plain, plain + mtp}}[layers]
    totals |= {number - checkpoint.tied_head for number in totals}
    if total not in totals:
        raise RefusedError(
            f"the converted model has {total:,} weights, the checkpoint {max(totals):,}; the "
            "converter does not suit this model, wait for a newer llama.cpp"
        )


def _require_layers(checkpoint: CheckpointFolder, by_layer: dict[int, int]) -> None:
    layers = checkpoint.text.get("num_hidden_layers")
    missing = [n for n in range(layers if isinstance(layers, int) else 0) if n not in by_layer]
    if missing:
        raise RefusedError(f"layer {missing[0]} is missing after conversion; wait for a newer one")


def _compute(file: Path, threads: int, terms: ChildTerms) -> None:
    """Load the file on the CPU, where it is mapped and not copied, and decode a sentence."""
    file = file.absolute()
    room = Room(about=file, terms=terms, reads=(file.parent,))
    away(computes, room)(Loading(path=file, threads=threads, gpu_layers=0))
