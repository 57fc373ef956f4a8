"""Kernels on rows as something to call with arrays, and their way into a child.

They are compiled where nobody's file is open, and kept beside the quantizers' code. A child may
read that folder and no more, so it works with a copy of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.observer import NOT_FINITE
from bot.disk.locks import alone
from bot.errors import RefusedError
from bot.kernels.choice import Kernels

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Codes = NDArray[np.uint16]
Entry = Callable[..., int]

LEAST = 16  # numbers of a row: fewer fill no register
FOUND = 4  # numbers that a kernel tells of a row of logits, logprobs.FOUND
SHARED = 1 << 21  # bytes of activations that are worth another thread
COLUMNS = 128  # that are summed together, squares.COLUMNS


class Compared(NamedTuple):
    """A candidate's rows against a reference's: a number for each row."""

    kld: Doubles
    nll: Floats
    nll_base: Floats
    same_top: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RowKernels:
    """Compiled kernels on rows. Calls let other threads run."""

    surprising: Entry
    packing: Entry
    comparing: Entry
    squaring: Entry

    def fit(self, logits: Floats, targets: Ints) -> bool:
        """Whether kernels may look at rows of logits, [rows, vocabulary], and their targets."""
        whole = logits.strides[1] == logits.itemsize and targets.flags.c_contiguous
        return whole and logits.shape[1] >= LEAST and targets.dtype == np.int32

    def nll(self, logits: Floats, targets: Ints) -> Floats:
        """-ln p(target) of each row."""
        found = np.empty((len(targets), FOUND))
        self.surprising(*_rows(logits, targets, found))
        return found[:, 0].astype(np.float32)

    def pack(self, logits: Floats, targets: Ints, out: Codes) -> Floats:
        """Rows of llama.cpp's file into `out`, [rows, width]; -ln p(target) of each row."""
        found = np.empty((len(targets), FOUND))
        self.packing(*_rows(logits, targets, found), out.ctypes.data, out.shape[1])
        return found[:, 0].astype(np.float32)

    def compare(self, logits: Floats, packed: Codes, targets: Ints) -> Compared:
        """Rows of candidate logits against rows of the file."""
        found = np.empty((len(targets), FOUND))
        self.comparing(*_rows(logits, targets, found), packed.ctypes.data, packed.shape[1])
        kld, nll, nll_base, same = found[:, :4].T
        return Compared(kld, nll.astype(np.float32), nll_base.astype(np.float32), same == 1)

    def squares(self, threads: int) -> Squares:
        """Sums of squared activations, on so many threads."""
        return Squares(self.squaring, threads)


def _rows(logits: Floats, targets: Ints, found: Doubles) -> tuple[int, ...]:
    place, stride, (rows, length) = logits.ctypes.data, logits.strides[0], logits.shape
    return place, stride, rows, length, targets.ctypes.data, found.ctypes.data


class Squares:
    """Sums of squared activations of a weight's matrices, columns shared out over threads."""

    def __init__(self, entry: Entry, threads: int) -> None:
        self._entry, self._threads = entry, threads
        self._pool = ThreadPoolExecutor(threads, "sums")

    def __call__(self, x: Floats, order: Longs | None, counts: Longs, before: Floats) -> Floats:
        """As `Adding` of the observer, to the bit."""
        matrices, width = before.shape
        x, before = np.ascontiguousarray(x), np.ascontiguousarray(before)
        counts, after = np.ascontiguousarray(counts, np.int64), np.empty_like(before)
        order = None if order is None else np.ascontiguousarray(order, np.int64)
        added = 4 * width * int(counts.sum())
        parts = [*_parts(width, min(self._threads, 1 + added // SHARED))]
        head = (x.ctypes.data, 0 if order is None else order.ctypes.data)
        arrays = (counts.ctypes.data, matrices, width, before.ctypes.data, after.ctypes.data)

        def work(part: tuple[int, int]) -> bool:
            return bool(self._entry(*head, *arrays, *part))

        if not all(map(work, parts) if len(parts) == 1 else [*self._pool.map(work, parts)]):
            raise RefusedError(NOT_FINITE)
        return after


def _parts(width: int, most: int) -> Iterable[tuple[int, int]]:
    """Columns in at most so many parts of whole groups; the last one has what is left."""
    groups = max(1, width // COLUMNS)
    count = min(most, groups)
    ends = [groups * i // count * COLUMNS for i in range(count)] + [width]
    return pairwise(ends)


# ── on their way ────────────────────────────────────────────────────────────────────────────


@cache
def prepared(kernels: Kernels) -> Path | None:
    """The folder with all kernels on rows, compiled; None where there are none."""
    if kernels.folder is None or (table := _table()) is None:
        return None
    place = kernels.place()
    place.mkdir(parents=True, exist_ok=True)
    with alone(place):  # as for the quantizers, whose folder it is
        entries = [table.compiled(name, place) for name in table.FUNCTIONS]
    return None if None in entries else place.absolute()


@cache
def loaded(place: Path) -> RowKernels | None:
    """Kernels from a folder that `prepared` gave; None where they do not run here."""
    if (table := _table()) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="kernels-") as name:
        for folder in place.glob("rows_*"):  # Numba calls folders so by a module's package
            shutil.copytree(folder, Path(name) / folder.name)
        entries = {kind: table.compiled(kind, Path(name)) for kind in table.FUNCTIONS}
    if None in entries.values():
        return None
    return RowKernels(
        surprising=entries["nll"],
        packing=entries["pack"],
        comparing=entries["compare"],
        squaring=entries["squares"],
    )


def _table() -> ModuleType | None:
    """The table of kernels on rows; None where Numba is missing or does not run here."""
    try:
        return import_module("bot.kernels.rows.rowtable")
    except (ImportError, OSError, SystemError):
        return None
