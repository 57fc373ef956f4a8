"""Rows of f32 → blocks of a type: by our kernel where there is one, by llama.cpp's function else.

Both make the same bytes. Kernels are compiled one after another in a thread of their own, while the
library begins with what it needs no search grid for; its grids are built when the first block is
left to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.errors import RefusedError
from bot.kernels.choice import Kernels
from bot.kernels.guarded import is_risky, quantize_apart
from bot.kernels.kernel import BLOCK, Kernel

MANY = 4  # where a quarter of the blocks is left, the library does all of them in one call

Rows = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Timed = Callable[[str], AbstractContextManager[object]]


class Quantizers:
    """How each of some types is made, for the length of a block. Threads share it.

    `timed(what)` counts what its block takes of a thread: a type, `kernel TYPE`, `grid TYPE`,
    `check`.
    """

    def __init__(self, kernels: Kernels, kinds: Iterable[str], timed: Timed) -> None:
        self._kernels, self._timed = kernels, timed
        self._kinds = tuple(dict.fromkeys(kinds))
        self._compiled: dict[str, Future[Kernel | None]] = {}
        self._grids: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._compiler = ThreadPoolExecutor(1)

    def __enter__(self) -> Quantizers:
        for kind in self._kinds:
            self._compiled[kind] = self._compiler.submit(self._kernel, kind)
        return self

    def __exit__(self, *_: object) -> None:
        self._compiler.shutdown(wait=True, cancel_futures=True)

    def is_ready(self, kind: str) -> bool:
        """Whether nothing has to be compiled or built before a type's first row."""
        return self._compiled[kind].done()

    def quantize(
        self, tensor: str, kind: str, rows: Rows, weights: Rows | None, out: Bytes
    ) -> None:
        """Make `out` of `rows` [count, row length]; `weights` [row length] are their importance.

        Raises RefusedError naming the tensor where a block of it is not valid, or where llama.cpp
        cannot make the type of its numbers.
        """
        kernel = self._kernel_by_now(kind)
        if kernel is None or rows.shape[1] % BLOCK:
            self._by_library(tensor, kind, rows, weights, out)
        else:
            with self._timed(kind):
                hard = kernel(rows, weights, out)
            if hard.size > rows.size // BLOCK // MANY:
                self._by_library(tensor, kind, rows, weights, out)
            else:
                for number in hard.tolist():
                    self._block(tensor, kind, rows, weights, out, number)
        with self._timed("check"):
            is_valid = ggml.valid(kind, out)
        if not is_valid:
            raise RefusedError(f"{tensor} as {kind} is not valid; leave the tier out")

    def _kernel_by_now(self, kind: str) -> Kernel | None:
        """A type's kernel; None where the library makes it, or can begin before it is compiled.

        Where the library would have to build a grid first, that takes as long as compiling does.
        """
        compiled = self._compiled[kind]
        if not compiled.done() and ggml.grid_of(kind) is None:
            return None
        return compiled.result()

    def _kernel(self, kind: str) -> Kernel | None:
        with self._timed(f"kernel {kind}"):
            return self._kernels.kernel(kind)

    def _block(
        self, tensor: str, kind: str, rows: Rows, weights: Rows | None, out: Bytes, number: int
    ) -> None:
        """One block of a row by the library: no quantizer looks beyond a block."""
        per_row, size = rows.shape[1] // BLOCK, ggml.row_bytes(kind, BLOCK)
        place = slice(number % per_row * BLOCK, (number % per_row + 1) * BLOCK)
        self._by_library(
            tensor,
            kind,
            rows.reshape(-1, BLOCK)[number : number + 1],
            None if weights is None else weights[place],
            out[number * size : (number + 1) * size],
        )

    def _by_library(
        self, tensor: str, kind: str, rows: Rows, weights: Rows | None, out: Bytes
    ) -> None:
        if is_risky(kind, rows, weights):
            quantize_apart(tensor, kind, rows, weights, out)
            return
        self._need_grid(kind)
        with self._timed(kind):
            ggml.from_f32(kind, rows, weights, out)

    def _need_grid(self, kind: str) -> None:
        """See that the library has a type's search grid: once, whoever comes first."""
        if (grid := ggml.grid_of(kind)) is None:
            return
        with self._lock:
            known = self._grids.get(grid)
            built = self._grids.setdefault(grid, Future())
        if known is not None:
            known.result()
            return
        try:
            with self._timed(f"grid {grid}"):
                ggml.prepare_grid(grid)
            built.set_result(None)
        except BaseException as error:
            built.set_exception(error)
            raise
