"""A kernel that is compiled, as something to call with rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bot.kernels.table import Row

BLOCK = 256  # weights
HIGHEST = np.float32(2.0**40)  # importance above it overflows where numbers are large

Rows = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A compiled kernel of one type. Calls let other threads run."""

    kind: str
    entry: Callable[[int, int, int, int, int, int, int, int], int]
    row: Row
    memory: threading.local = field(default_factory=threading.local)

    def __call__(self, rows: Rows, weights: Rows | None, out: Bytes) -> NDArray[np.int32]:
        """Quantize `rows` [count, row length] into `out`; numbers of blocks left to the library.

        `weights` [row length] are the importance of a row's numbers. Blocks are counted over all
        rows; those left are not finite, too large, or of scales that rounding cannot be sure of.
        """
        count, length = rows.shape
        blocks = count * length // BLOCK
        if not self._fits(rows, weights):
            return np.arange(blocks, dtype=np.int32)
        if not hasattr(self.memory, "scratch"):
            self.memory.scratch = np.zeros(self.row.scratch, np.uint8)
        hard = np.empty(blocks, np.int32)
        lookup = self.row.lookup()
        left = self.entry(
            rows.ctypes.data,
            out.ctypes.data,
            blocks,
            length // BLOCK,
            0 if weights is None else weights.ctypes.data,
            hard.ctypes.data,
            self.memory.scratch.ctypes.data,
            lookup[0].ctypes.data if lookup else 0,
        )
        return hard[:left]

    def _fits(self, rows: Rows, weights: Rows | None) -> bool:
        """Whether the kernel may look at these at all."""
        whole = rows.shape[1] % BLOCK == 0 and rows.flags.c_contiguous
        if weights is None:
            return whole and not self.row.weighed
        return whole and bool(((weights >= 0) & (weights <= HIGHEST)).all())
