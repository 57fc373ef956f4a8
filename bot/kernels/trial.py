"""Blocks by which a library that rounds otherwise is known, and the comparison with it.

A library compiled with fused multiply-add differs from the C source in a few blocks of a hundred,
for some types in none of thousands of random ones. These classes have ties, cancellation and
extremes: ramps, sparse rows, importance over many magnitudes, mixed exponents, two values only,
halves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.kernels.kernel import BLOCK, Kernel

Rows = NDArray[np.float32]
PER_ROW, ROWS = 4, 19  # super-blocks, rows: a group of sixteen is not a divisor of either
SEED = 20261129


def rows_of() -> Iterator[tuple[str, Rows]]:
    """Chosen rows, by the name of their class."""
    random = np.random.default_rng(SEED)
    shape = (ROWS, PER_ROW * BLOCK)
    normal = (random.standard_normal(shape) * 0.02).astype(np.float32)
    signs = np.where(random.random(shape) < 0.5, -1.0, 1.0)
    slopes = random.standard_normal((ROWS, 1))
    yield "normal", normal
    yield "bf16", (normal.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    yield "ramps", (np.linspace(-1.0, 1.0, shape[1]) * slopes).astype(np.float32)
    yield "sparse", np.where(random.random(shape) < 0.9, 0.0, normal).astype(np.float32)
    yield "mixed", (normal * np.exp2(random.integers(-24, 8, shape))).astype(np.float32)
    yield "two values", np.where(signs > 0, 0.01, -0.02).astype(np.float32)
    yield "halves", (np.round(normal * 200) / 2).astype(np.float32)
    yield "levels", (np.round(normal * 300) * np.float32(0.013)).astype(np.float32)


def weights_of() -> Iterator[Rows]:
    """Importance: usual, over e±60 cut where kernels leave it, with holes, and all the same."""
    random = np.random.default_rng(SEED + 1)
    length = PER_ROW * BLOCK
    usual = random.gamma(0.5, 1.0, length)
    yield usual.astype(np.float32)
    yield np.exp(random.uniform(-60, 27, length)).astype(np.float32)
    yield np.where(random.random(length) < 0.6, 0.0, usual).astype(np.float32)
    yield np.ones(length, np.float32)


def differing(kernel: Kernel) -> int:
    """How many blocks differ from the library's."""
    if (grid := ggml.grid_of(kernel.kind)) is not None:
        ggml.prepare_grid(grid)
    weights = [*weights_of()] if kernel.row.weighed else [None, *weights_of()]
    found = 0
    for _, rows in rows_of():
        for importance in weights:
            found += int(compared(kernel, rows, importance).sum())
    return found


def compared(kernel: Kernel, rows: Rows, weights: Rows | None) -> NDArray[np.bool_]:
    """For each block whether it differs from the library's; those that are left to it never do."""
    blocks = rows.size // BLOCK
    ours = np.zeros(blocks * ggml.row_bytes(kernel.kind, BLOCK), np.uint8)
    theirs = np.zeros_like(ours)
    hard = kernel(rows, weights, ours)
    ggml.from_f32(kernel.kind, rows, weights, theirs)
    differs = (ours.reshape(blocks, -1) != theirs.reshape(blocks, -1)).any(axis=1)
    differs[hard] = False
    return np.asarray(differs, np.bool_)
