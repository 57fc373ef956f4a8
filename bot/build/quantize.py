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
    if imatrix is not None:
        require_data(types, imatrix)
    llama.quantize(
        source,
        target,
        file_type=file_type,
        # llama.cpp searches with regular expressions: each matches one whole name
        overrides=[(f"^{re.escape(name)}$", kind) for name, kind in types.items()],
        imatrix=imatrix.weights() if imatrix is not None else None,
        notes=notes(imatrix) if imatrix is not None else (),
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


def notes(imatrix: Matrix) -> tuple[tuple[str, int | str], ...]:
    """Metadata about the importance matrix, in the order of tools/quantize/quantize.cpp."""
    made: list[tuple[str, int | str]] = [("quantize.imatrix.file", IMATRIX_NAME)]
    if imatrix.datasets:
        made.append(("quantize.imatrix.dataset", imatrix.datasets[0]))
    made.append(("quantize.imatrix.entries_count", len(imatrix.sums)))
    if imatrix.chunks:
        made.append(("quantize.imatrix.chunks_count", imatrix.chunks))
    return tuple(made)


def require_data(types: Mapping[str, str], imatrix: Matrix) -> None:
    """Raise BuildError naming a tensor whose low-bit type needs data that the matrix lacks.

    llama.cpp would stop in the middle of a file; this is asked before anything is written.
    """
    for name, kind in types.items():
        # llama.cpp asks no data for the embedding and the output
        if kind in NEEDS_IMATRIX and name.startswith("blk.") and name not in imatrix.sums:
            raise BuildError(
                f"{name} has no data in the importance matrix and cannot be {kind}; "
                "calibrate with more text or leave the tier out"
            )
