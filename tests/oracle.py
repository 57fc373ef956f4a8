"""The judge of our files: one recipe → one GGUF file, by llama.cpp's own function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bot.clients.llama import quantization as llama
from bot.quantize.imatrix import Matrix
from bot.quantize.quantize import Notes, notes, require_data


def quantize_recipe(
    source: Path,
    target: Path,
    *,
    file_type: int,
    types: Mapping[str, str],
    imatrix: Matrix | None,
    threads: int,
    stamp: Notes = (),
) -> None:
    """Write `target` from `source`, each named tensor in its type.

    With an importance matrix the file carries the `quantize.imatrix.*` metadata of llama-quantize;
    `stamp` is metadata that comes after it.
    Raises RefusedError naming the tensor when a low-bit type lacks the data it needs.
    """
    if imatrix is not None:
        require_data(types, imatrix)
    llama.quantize_file(
        source,
        target,
        file_type=file_type,
        # llama.cpp searches with regular expressions: each matches one whole name
        overrides=[(f"^{re.escape(name)}$", kind) for name, kind in types.items()],
        imatrix=imatrix.weights() if imatrix is not None else None,
        notes=(*(notes(imatrix) if imatrix is not None else ()), *stamp),
        threads=threads,
        requantize=True,  # a source may have the maker's own four bits
    )
