"""Every kernel with what it needs, and how it is compiled.

Importing this module imports Numba, which takes a second: `choice` does so when a pass begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numba import config, njit
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from bot.kernels.iq import grids, iq1, iq2, iq3, iq4, tries
from bot.kernels.kquants import groups, q2, q36, q45
from bot.kernels.lanes import processor as machine

SIGNATURE = "int64(int64, int64, int64, int64, int64, int64, int64, int64)"
Arrays = tuple[NDArray[np.generic], ...]
Entry = Callable[[int, int, int, int, int, int, int, int], int]


def _q2_k(source, target, blocks, per_row, weights, hard, scratch, table):
    return q2.q2_k(source, target, blocks, per_row, weights, hard, scratch)


def _q3_k(source, target, blocks, per_row, weights, hard, scratch, table):
    return q36.q3_k(source, target, blocks, per_row, weights, hard, scratch)


def _q4_k(source, target, blocks, per_row, weights, hard, scratch, table):
    return q45.q4_k(source, target, blocks, per_row, weights, hard, scratch)


def _q5_k(source, target, blocks, per_row, weights, hard, scratch, table):
    return q45.q5_k(source, target, blocks, per_row, weights, hard, scratch)


def _q6_k(source, target, blocks, per_row, weights, hard, scratch, table):
    return q36.q6_k(source, target, blocks, per_row, weights, hard, scratch)


def _iq1_m(source, target, blocks, per_row, weights, hard, scratch, table):
    return iq1.iq1_m(source, target, blocks, per_row, weights, hard, scratch, table)


def _iq2_xxs(source, target, blocks, per_row, weights, hard, scratch, table):
    return iq2.iq2_xxs(source, target, blocks, per_row, weights, hard, scratch, table)


def _iq2_xs(source, target, blocks, per_row, weights, hard, scratch, table):
    return iq2.iq2_xs(source, target, blocks, per_row, weights, hard, scratch, table)


def _iq2_s(source, target, blocks, per_row, weights, hard, scratch, table):
    return iq2.iq2_s(source, target, blocks, per_row, weights, hard, scratch, table)


def _iq3_xxs(source, target, blocks, per_row, weights, hard, scratch, table):
    return iq3.iq3_xxs(source, target, blocks, per_row, weights, hard, scratch, table)


def _iq3_s(source, target, blocks, per_row, weights, hard, scratch, table):
    return iq3.iq3_s(source, target, blocks, per_row, weights, hard, scratch, table)


def _iq4_xs(source, target, blocks, per_row, weights, hard, scratch, table):
    return iq4.iq4_xs(source, target, blocks, per_row, weights, hard, scratch, table)


def _none() -> Arrays:
    return ()


@cache
def _iq4() -> Arrays:
    return (iq4.tables(),)


@cache
def _grid(kind: str) -> Arrays:
    """A grid's arrays, and after them their addresses, which a kernel is handed."""
    grid = grids.build(kind)
    arrays = (grid.on, grid.first, grid.count, grid.points, grid.codes)
    return (np.array([array.ctypes.data for array in arrays], np.int64), *arrays)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A kernel of the table: its function, bytes of scratch, and what it looks up (first array)."""

    function: Callable[..., int]
    scratch: int
    lookup: Callable[[], Arrays] = _none
    weighed: bool = False  # ggml has no way without importance


ROWS = {
    "Q2_K": Row(function=_q2_k, scratch=groups.SCRATCH),
    "Q3_K": Row(function=_q3_k, scratch=groups.SCRATCH),
    "Q4_K": Row(function=_q4_k, scratch=groups.SCRATCH),
    "Q5_K": Row(function=_q5_k, scratch=groups.SCRATCH),
    "Q6_K": Row(function=_q6_k, scratch=groups.SCRATCH),
    "IQ1_M": Row(function=_iq1_m, scratch=iq1.SCRATCH, lookup=lambda: _grid("IQ1_M")),
    "IQ2_XXS": Row(
        function=_iq2_xxs, scratch=tries.SCRATCH, lookup=lambda: _grid("IQ2_XXS"), weighed=True
    ),
    "IQ2_XS": Row(
        function=_iq2_xs, scratch=tries.SCRATCH, lookup=lambda: _grid("IQ2_XS"), weighed=True
    ),
    "IQ2_S": Row(function=_iq2_s, scratch=tries.SCRATCH, lookup=lambda: _grid("IQ2_S")),
    "IQ3_XXS": Row(function=_iq3_xxs, scratch=tries.SCRATCH, lookup=lambda: _grid("IQ3_XXS")),
    "IQ3_S": Row(function=_iq3_s, scratch=tries.SCRATCH, lookup=lambda: _grid("IQ3_S")),
    "IQ4_XS": Row(function=_iq4_xs, scratch=iq4.SCRATCH, lookup=_iq4),
}


def compiled(kind: str, folder: Path) -> Entry | None:
    """A kernel as machine code of this processor, which is kept in `folder`.

    None where Numba cannot make it.
    """
    config.CACHE_DIR = str(folder)
    jit = njit(SIGNATURE, nogil=True, error_model="numpy", cache=True)
    try:
        entry: Entry = jit(ROWS[kind].function)
    except NumbaError:
        return None
    return entry


def processor() -> str:
    """What code is compiled for: form of the lanes, the processor and its features."""
    return f"{machine.form()} {machine.target()}"
