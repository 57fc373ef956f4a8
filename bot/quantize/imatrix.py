"""The importance matrix as a file: written as llama-imatrix writes it, read in both of its forms.

GGUF form (tools/imatrix/imatrix.cpp, save_imatrix): `general.type` = imatrix, `imatrix.datasets`,
`imatrix.chunk_count`, `imatrix.chunk_size`, and for each weight, names sorted, `NAME.in_sum2` f32
[row length, experts] with raw sums and `NAME.counts` f32 [1, experts]. The older form, `.dat`, is
read by bot/quantize/legacy_imatrix.py.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from bot.clients.files import gguf
from bot.clients.llama.observer import Stats
from bot.errors import SourceError
from bot.foreign import require_file_itself
from bot.quantize.legacy_imatrix import read_legacy
from bot.records.model import Tensor
from bot.records.results import RARE_TOKENS, LayerCoverage
from bot.tensors.roles import ROUTED, has_role, layer_of

MAGIC = b"GGUF"
_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|\.\.[/\\]")


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """An importance matrix read from a file."""

    datasets: tuple[str, ...]
    chunks: int
    sums: Mapping[str, NDArray[np.float32]]  # [experts, row length]
    counts: Mapping[str, NDArray[np.float32]]  # [experts]
    key: str | None = None  # of a checkpoint: what it belongs to

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Weights for llama_model_quantize: sum / count, and 1 where an expert was never reached.

        The division is in f32, as in load_imatrix (tools/quantize/quantize.cpp).
        """
        return {name: self._weights(name) for name in self.sums}

    def reached(self, name: str) -> NDArray[np.bool_]:
        """Whether there is data of each expert of a tensor, [experts].

        Sums that are all zero though tokens came are none (a layer that a device skipped, sums that
        overflowed): taken as weights they would make every number of the expert zero.
        """
        return (self.counts[name] > 0) & self.sums[name].any(axis=1)

    def of(self, tensors: Iterable[Tensor]) -> Matrix:
        """The same with a row for each expert of these tensors, where the file has one for all.

        As `.dat` files have: an expert without data shows by its zeros alone.
        """
        sums, counts = dict(self.sums), dict(self.counts)
        for tensor in tensors:
            experts = int(np.prod(tensor.shape[2:], initial=1))
            if tensor.name in sums and len(counts[tensor.name]) == 1 < experts:
                sums[tensor.name] = sums[tensor.name].reshape(experts, -1)
                counts[tensor.name] = counts[tensor.name].repeat(experts)
        return replace(self, sums=sums, counts=counts)

    def _weights(self, name: str) -> NDArray[np.float32]:
        counts, reached = self.counts[name][:, None], self.reached(name)[:, None]
        means = self.sums[name] / np.where(reached, counts, np.float32(1))
        return np.where(reached, means, np.float32(1)).reshape(-1)

    def unreached(self) -> tuple[str, ...]:
        """Experts without data, as `TENSOR expert N`; a tensor without any by itself."""
        return tuple(place for name in self.counts for place in self.places(name))

    def places(self, name: str) -> tuple[str, ...]:
        """Places of a tensor without data: its name, some of its experts, or none."""
        if name not in self.counts or not self.reached(name).any():
            return (name,)
        return tuple(f"{name} expert {expert}" for expert in np.flatnonzero(~self.reached(name)))

    def coverage(self) -> tuple[LayerCoverage, ...]:
        """How often each layer's routed experts were reached. A `.dat` file cannot tell: empty."""
        layers: dict[int, list[NDArray[np.float32]]] = defaultdict(list)
        for name, counts in self.counts.items():
            layer = layer_of(name)
            if layer is not None and has_role(name, ROUTED) and len(counts) > 1:
                layers[layer].append(np.where(self.reached(name), counts, 0))
        return tuple(_covered(layer, layers[layer]) for layer in sorted(layers))

    def require_fit(self, tensors: Iterable[Tensor]) -> None:
        """Raise SourceError unless the file is of a model with these tensors.

        llama.cpp would stop in the middle of a tier when a size differs.
        """
        by_name = {tensor.name: tensor for tensor in tensors}
        shared = [name for name in self.sums if name in by_name]
        if not shared:
            raise SourceError("the importance matrix knows no tensor of this model; name another")
        for name in shared:
            shape = by_name[name].shape
            size = shape[0] * int(np.prod(shape[2:], initial=1))
            grouped = len(shape) == 2 and groups_of(self.sums[name].size, *shape)
            if self.sums[name].size != size and not grouped:
                raise SourceError(
                    f"the importance matrix has {self.sums[name].size} values for {name}, not "
                    f"{size}; it was made from another model, name another"
                )


def groups_of(numbers: int, length: int, rows: int) -> int | None:
    """Into how many groups of rows a matrix of `length` columns is divided by so many numbers.

    None where they are of another matrix.
    """
    groups, rest = divmod(numbers, length)
    return groups if groups and not rest and not rows % groups else None


def _covered(layer: int, counts: Sequence[NDArray[np.float32]]) -> LayerCoverage:
    fewest = np.minimum.reduce([each for each in counts if len(each) == len(counts[0])])
    return LayerCoverage(
        layer=layer,
        experts=len(fewest),
        fewest=int(fewest.min()),
        median=int(np.median(fewest)),
        unreached=tuple(np.flatnonzero(fewest == 0).tolist()),
        rare=tuple(np.flatnonzero((fewest > 0) & (fewest < RARE_TOKENS)).tolist()),
    )


def write_matrix(
    target: Path,
    statistics: Mapping[str, Stats],
    datasets: Sequence[str],
    chunks: int,
    context: int,
    notes: Sequence[tuple[str, str]] = (),
) -> None:
    """Write sums and counts by weight. `datasets` are names for the metadata, no local paths."""
    metadata = (
        ("general.type", "imatrix"),
        ("imatrix.datasets", list(datasets)),
        ("imatrix.chunk_count", chunks),
        ("imatrix.chunk_size", context),
        *notes,
    )
    arrays = []
    for name in sorted(statistics):
        counts = statistics[name].counts.astype(np.float32)[:, None]
        # several matrices that share a count (latent attention) make one long row, as in the tool
        sums = statistics[name].sums.reshape(len(counts), -1)
        single_row = len(counts) == 1  # ggml drops a last dimension of 1 when it writes
        arrays.append((f"{name}.in_sum2", sums[0] if single_row else sums))
        arrays.append((f"{name}.counts", counts[0] if single_row else counts))
    gguf.write_arrays(target, metadata, arrays)


def rewrite(source: Path, target: Path, context: int) -> None:
    """A ready file in GGUF form: the very bytes if it has it, else its values anew."""
    matrix = read_matrix(source)
    if _is_gguf(source):
        shutil.copyfile(source, target)
        return
    statistics = {
        name: Stats(sums, matrix.counts[name].astype(np.int64))
        for name, sums in matrix.sums.items()
    }
    write_matrix(target, statistics, matrix.datasets, matrix.chunks, context)


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_matrix(path: Path) -> Matrix:
    """An importance matrix in GGUF form or as `.dat`. Raises SourceError for any other file."""
    if not path.is_file():
        raise SourceError(f"{path} does not exist; check the path")
    require_file_itself(path)
    if not _is_gguf(path):
        return _read_legacy(path)
    metadata, arrays = gguf.read_arrays(path)
    if metadata.get("general.type") != "imatrix":
        raise SourceError(f"{path} is not an importance matrix; make one with `bot calibrate`")
    names = [name.removesuffix(".in_sum2") for name in arrays if name.endswith(".in_sum2")]
    missing = [name for name in names if f"{name}.counts" not in arrays]
    if missing:
        raise SourceError(f"{path} has sums but no counts for {missing[0]}; make it again")
    if not names:
        raise SourceError(f"{path} holds no sums; make it again with `bot calibrate`")
    counts = {n: _numbers(path, n, arrays[f"{n}.counts"]).reshape(-1) for n in names}
    sums = {n: _numbers(path, n, arrays[f"{n}.in_sum2"]) for n in names}
    for name in names:
        if not counts[name].size or sums[name].size % counts[name].size:
            raise SourceError(f"{path}: {name} has no sum for each count; make it again")
    datasets, chunks = metadata.get("imatrix.datasets"), metadata.get("imatrix.chunk_count")
    key = metadata.get("bot.calibration")
    return Matrix(
        datasets=_names(datasets if isinstance(datasets, list) else ()),
        chunks=chunks if isinstance(chunks, int) and chunks > 0 else 0,
        sums={n: sums[n].reshape(counts[n].size, -1) for n in names},
        counts=counts,
        key=key if isinstance(key, str) else None,
    )


def _read_legacy(path: Path) -> Matrix:
    legacy = read_legacy(path)
    names = [entry.name for entry in legacy.entries]
    values = {entry.name: _numbers(path, entry.name, entry.values) for entry in legacy.entries}
    return Matrix(
        datasets=_names((legacy.dataset,) if legacy.dataset else ()),
        chunks=legacy.chunks,
        sums={name: values[name][None, :] for name in names},
        counts={entry.name: np.array([entry.calls], np.float32) for entry in legacy.entries},
    )


def _numbers(path: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Sums of squares, and counts: f32, finite, not negative."""
    if values.dtype != np.float32:
        raise SourceError(f"{path}: {name} is not f32; make it again")
    numbers = np.asarray(values, np.float32)
    if numbers.size and not (numbers.min() >= 0 and np.isfinite(numbers.max())):
        raise SourceError(f"{path}: {name} holds values that no squares add up to; make it again")
    return numbers


def _names(datasets: Iterable[object]) -> tuple[str, ...]:
    """Names of datasets; of a path on somebody's machine only its end."""
    texts = [name for name in datasets if isinstance(name, str)]
    return tuple(PureWindowsPath(n).name if _ABSOLUTE.match(n) else n for n in texts)
