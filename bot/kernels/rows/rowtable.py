"""Kernels on rows as machine code. Importing this module imports Numba, as `table` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from numba import config, njit

from bot.kernels.rows import logprobs, squares

Entry = Callable[..., int]
FUNCTIONS = {
    "softmax": (logprobs.softmax, 6),
    "pack": (logprobs.pack, 8),
    "compare": (logprobs.compare, 8),
    "squares": (squares.squares, 9),
}


def compiled(name: str, folder: Path) -> Entry:
    """A kernel as machine code of this processor, kept in `folder`; it takes addresses, counts."""
    config.CACHE_DIR = str(folder)
    function, arguments = FUNCTIONS[name]
    signature = f"int64({', '.join(['int64'] * arguments)})"
    entry: Entry = njit(signature, nogil=True, error_model="numpy", cache=True)(function)
    return entry
