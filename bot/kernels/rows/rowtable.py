"""Kernels on rows as machine code. Importing this module imports Numba, as `table` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from numba import config, njit
from numba.core.errors import NumbaError

from bot.kernels.rows import logprobs, squares

Entry = Callable[..., int]
FUNCTIONS = {
    "nll": (logprobs.nll, 6),
    "pack": (logprobs.pack, 8),
    "compare": (logprobs.compare, 8),
    "squares": (squares.squares, 9),
}


def compiled(name: str, folder: Path) -> Entry | None:
    """A kernel as machine code of this processor, kept in `folder`; it takes addresses, counts.

    None where Numba cannot make it.
    """
    config.CACHE_DIR = str(folder)
    function, arguments = FUNCTIONS[name]
    signature = f"int64({', '.join(['int64'] * arguments)})"
    try:
        entry: Entry = njit(signature, nogil=True, error_model="numpy", cache=True)(function)
    except NumbaError:
        return None
    return entry
