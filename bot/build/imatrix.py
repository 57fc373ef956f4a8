"""The importance matrix: collected in process, stored as llama-imatrix stores it.

File format (tools/imatrix/imatrix.cpp, save_imatrix): GGUF with `general.type` = imatrix,
`imatrix.datasets`, `imatrix.chunk_count`, `imatrix.chunk_size`, and for each weight, names sorted,
`NAME.in_sum2` f32 [row length, experts] with raw sums and `NAME.counts` f32 [1, experts].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients import gguf
from bot.clients.llama.observer import Observer
from bot.clients.llama.session import Session
from bot.errors import SourceError

Progress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """An importance matrix read from a file."""

    datasets: tuple[str, ...]
    chunks: int
    sums: Mapping[str, NDArray[np.float32]]  # [experts, row length]
    counts: Mapping[str, NDArray[np.float32]]  # [experts]

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """What llama_model_quantize wants: sum / count, and 1 where an expert was never reached.

        The division is in f32, as in load_imatrix (tools/quantize/quantize.cpp).
        """
        return {name: self._weights(name) for name in self.sums}

    def _weights(self, name: str) -> NDArray[np.float32]:
        counts = self.counts[name][:, None]
        reached = counts > 0
        means = self.sums[name] / np.where(reached, counts, np.float32(1))
        return np.where(reached, means, np.float32(1)).reshape(-1)

    def unreached(self) -> tuple[str, ...]:
        """Experts that no calibration token reached, as `TENSOR expert N`."""
        return tuple(
            f"{name} expert {expert}"
            for name, counts in self.counts.items()
            for expert in np.flatnonzero(counts == 0)
        )


def calibrate(
    model: Path,
    target: Path,
    *,
    text: str,
    datasets: Sequence[str],
    context: int,
    chunks: int | None,
    threads: int,
    gpu_layers: int,
    devices: Sequence[str],
    progress: Progress,
) -> None:
    """Decode `text` through `model` and write what its weights saw to `target`.

    `datasets` are names for the file's metadata; they must hold no local path. Every token's
    logits are asked for, since llama.cpp leaves out the last layer's work for the others.
    """
    observer = Observer()
    with Session(
        model,
        n_ctx=context,
        threads=threads,
        gpu_layers=gpu_layers,
        devices=devices,
        observer=observer,
    ) as session:
        parts = session.chunks(text, context, chunks)
        for done, part in enumerate(parts):
            progress(done, len(parts))
            session.decode_chunk(part, first_wanted=0)
        progress(len(parts), len(parts))
    _write(target, observer, datasets, len(parts), context)


def _write(
    target: Path, observer: Observer, datasets: Sequence[str], chunks: int, context: int
) -> None:
    metadata = (
        ("general.type", "imatrix"),
        ("imatrix.datasets", list(datasets)),
        ("imatrix.chunk_count", chunks),
        ("imatrix.chunk_size", context),
    )
    arrays = []
    for name in sorted(observer.sums):
        counts = observer.counts[name].astype(np.float32)[:, None]
        # several matrices that share a count (latent attention) make one long row, as in the tool
        sums = observer.sums[name].astype(np.float32).reshape(len(counts), -1)
        one = len(counts) == 1  # ggml drops a last dimension of 1 when it writes
        arrays.append((f"{name}.in_sum2", sums[0] if one else sums))
        arrays.append((f"{name}.counts", counts[0] if one else counts))
    gguf.write_arrays(target, metadata, arrays)


def read(path: Path) -> Matrix:
    """An importance matrix in GGUF form. Raises SourceError for any other file."""
    metadata, arrays = gguf.read_arrays(path)
    if metadata.get("general.type") != "imatrix":
        raise SourceError(f"{path} is not an importance matrix; make one with `bot calibrate`")
    names = [name.removesuffix(".in_sum2") for name in arrays if name.endswith(".in_sum2")]
    missing = [name for name in names if f"{name}.counts" not in arrays]
    if missing:
        raise SourceError(f"{path} has sums but no counts for {missing[0]}; make it again")
    counts = {name: arrays[f"{name}.counts"].reshape(-1) for name in names}
    return Matrix(
        datasets=tuple(metadata.get("imatrix.datasets", ())),
        chunks=int(metadata.get("imatrix.chunk_count", 0)),
        sums={n: arrays[f"{n}.in_sum2"].reshape(counts[n].size, -1) for n in names},
        counts=counts,
    )
