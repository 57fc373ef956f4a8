"""One recipe → one GGUF file, by llama.cpp's own function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bot.build.imatrix import Matrix
from bot.clients.llama import quantize as llama
from bot.errors import BuildError

NEEDS_IMATRIX = frozenset({"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"})
IMATRIX_NAME = "imatrix.gguf"  # as it lies beside the file; never a path of this machine


def quantize(
    source: Path,
    target: Path,
    *,
    file_type: int,
    types: Mapping[str, str],
    imatrix: Matrix | None,
    threads: int,
) -> None:
    """Write `target` from the 16-bit `source`, each named tensor in its type.

    With an importance matrix the file carries the `quantize.imatrix.*` metadata of llama-quantize.
    Raises BuildError naming the tensor when a low-bit type lacks the data it needs.
    """
    notes: list[tuple[str, int | str]] = []
    if imatrix is not None:
        _require_data(types, imatrix)
        notes = _notes(imatrix)
    llama.quantize(
        source,
        target,
        file_type=file_type,
        # llama.cpp searches with regular expressions: each matches one whole name
        overrides=[(f"^{re.escape(name)}$", kind) for name, kind in types.items()],
        imatrix=imatrix.weights() if imatrix is not None else None,
        notes=notes,
        threads=threads,
    )


def to_bf16(source: Path, target: Path, threads: int) -> None:
    """Expand a Q8_0 file to BF16 (file type 32); tensors kept in f32 stay as they are."""
    llama.quantize(
        source,
        target,
        file_type=32,
        overrides=(),
        imatrix=None,
        threads=threads,
        requantize=True,
    )


def _notes(imatrix: Matrix) -> list[tuple[str, int | str]]:
    """Metadata in llama-quantize's order (main() of tools/quantize/quantize.cpp)."""
    notes: list[tuple[str, int | str]] = [("quantize.imatrix.file", IMATRIX_NAME)]
    if imatrix.datasets:
        notes.append(("quantize.imatrix.dataset", imatrix.datasets[0]))
    notes.append(("quantize.imatrix.entries_count", len(imatrix.sums)))
    if imatrix.chunks:
        notes.append(("quantize.imatrix.chunks_count", imatrix.chunks))
    return notes


def _require_data(types: Mapping[str, str], imatrix: Matrix) -> None:
    """llama.cpp stops in the middle of a file for a tensor without data; this stops before."""
    for name, kind in types.items():
        # llama.cpp asks no data for the embedding and the output
        if kind in NEEDS_IMATRIX and name.startswith("blk.") and name not in imatrix.sums:
            raise BuildError(
                f"{name} has no data in the importance matrix and cannot be {kind}; "
                "calibrate with more text or leave the tier out"
            )
