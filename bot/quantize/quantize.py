"""Data that a recipe needs of an importance matrix, data that it lacks, and metadata on both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bot.errors import RefusedError
from bot.plan.profiles import NEED_IMATRIX
from bot.quantize.imatrix import Matrix
from bot.records.model import Tensor
from bot.records.results import Gap
from bot.tensors.weights import SIXTEEN_BIT

NAMED = 4  # places of a gap that a line names
Floats = NDArray[np.float32]
Notes = tuple[tuple[str, int | str], ...]
IMATRIX_NAME = "imatrix.gguf"  # as llama-imatrix calls it; never a path of this machine


@dataclass(frozen=True)
class Importance(Mapping[str, Floats]):
    """A matrix's weights by tensor, made when asked for: all of a large model's are gigabytes."""

    matrix: Matrix

    def __getitem__(self, name: str) -> Floats:
        """The tensor's flat row of weights, as `Matrix.weights` gives it."""
        sums, counts = {name: self.matrix.sums[name]}, {name: self.matrix.counts[name]}
        return replace(self.matrix, sums=sums, counts=counts).weights()[name]

    def __contains__(self, name: object) -> bool:
        """Whether the matrix knows the tensor; nothing is computed."""
        return name in self.matrix.sums

    def __iter__(self) -> Iterator[str]:
        """Names of tensors that the matrix knows."""
        return iter(self.matrix.sums)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.matrix.sums)


def stamp_of(tier: str, recipe: str, bot: str) -> Notes:
    """Metadata that says which recipe a file holds: the tier, the recipe's hash, our version."""
    return (("apex.tier", tier), ("apex.recipe", recipe), ("apex.bot", bot))


def notes(imatrix: Matrix) -> Notes:
    """Metadata about the importance matrix, in the order of tools/quantize/quantize.cpp."""
    metadata: list[tuple[str, int | str]] = [("quantize.imatrix.file", IMATRIX_NAME)]
    if imatrix.datasets:
        # llama_model_kv_override has room for 127 bytes
        name = imatrix.datasets[0].encode()[:127].decode("utf-8", "ignore")
        metadata.append(("quantize.imatrix.dataset", name))
    metadata.append(("quantize.imatrix.entries_count", len(imatrix.sums)))
    if imatrix.chunks:
        metadata.append(("quantize.imatrix.chunks_count", imatrix.chunks))
    return tuple(metadata)


def require_data(types: Mapping[str, str], imatrix: Matrix, *, experts: bool = True) -> None:
    """Raise RefusedError naming a tensor whose low-bit type needs data that the matrix lacks.

    llama.cpp would stop in the middle of a file where the tensor has none, and guess where one of
    its experts has none (skipped without `experts`); this is asked before anything is written.
    """
    for name, missing in tensors_without_data(types, imatrix).items():
        if experts or not missing:
            raise RefusedError(
                f"{name}{missing} has no data in the importance matrix and cannot be "
                f"{types[name]}; calibrate with more text, set quantize.missing_data to next, "
                "or leave the tier out"
            )


def tensors_without_data(types: Mapping[str, str], imatrix: Matrix) -> dict[str, str]:
    """Tensors whose type needs data that the matrix lacks, with ` expert N` where it lacks it."""
    lacking = {}
    for name, kind in types.items():
        # llama.cpp asks no data for the embedding and the output
        if kind not in NEED_IMATRIX or not name.startswith("blk."):
            continue
        if places := imatrix.places(name):
            lacking[name] = places[0].removeprefix(name)
    return lacking


def gap_of(
    tier: str, types: Mapping[str, str], tensors: Iterable[Tensor], imatrix: Matrix
) -> Gap | None:
    """Tensors and experts that a tier rounds without data; None where it has data of all.

    Tensors of layers alone: no importance matrix has any of the embedding and the output.
    """
    places: list[str] = []
    rounded = without = 0
    for tensor in tensors:
        kind = types.get(tensor.name, tensor.type)
        if kind in (tensor.type, *SIXTEEN_BIT) or not tensor.name.startswith("blk."):
            continue
        lacking = imatrix.places(tensor.name)
        places_in_all = 1 if tensor.name in lacking else int(np.prod(tensor.shape[2:], initial=1))
        rounded += tensor.parameters
        without += tensor.parameters * len(lacking) // places_in_all
        places += lacking
    if not places:
        return None
    return Gap(tier=tier, places=tuple(places), share=without / rounded)


def require_share(gap: Gap | None, most: float) -> None:
    """Raise RefusedError when a tier has no data of a larger share of its weights than `most`."""
    if gap is not None and gap.share > most:
        raise RefusedError(
            f"{gap_text(gap)}; calibrate with this model and more text, or raise "
            f"quantize.missing_share, which is {most:g}"
        )


def gap_text(gap: Gap) -> str:
    """A gap in one line, with its first places by name."""
    more = f" and {len(gap.places) - NAMED:,} more" if len(gap.places) > NAMED else ""
    return (
        f"{gap.tier}: no calibration data of {gap.share:.1%} of the weights it rounds: "
        f"{', '.join(gap.places[:NAMED])}{more}"
    )
