"""How far rounding alone takes rows from their numbers: limits of bot/fitting/rounded.py.

    python bench/bench_rounding.py [EXPERTS [SEED [TYPE...]]]

Rows are of eight kinds (`shapes`), their importance of four, rows of 256 and 1,024 numbers; of each
as many experts (100 by default) of as many rows as a file is looked at. A line a type: squared
error over squared size of normal rows, the largest of any expert, the limit, experts above it of
how many, and what the furthest was like.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.fitting.rounded import LEAST, LIMITS
from bot.plan.profiles import NEED_IMATRIX

LENGTHS = (256, 1024)
WIDE = ("F32", "F16", "BF16")
Floats = NDArray[Any]


def shapes(random: np.random.Generator, count: int, length: int) -> Iterator[tuple[str, Floats]]:
    """Numbers [count, length] of each kind, some 0.02 in size."""
    size = (count, length)
    normal = random.normal(size=size)
    yield "normal", normal
    yield "Laplace", random.laplace(size=size)
    yield "t of 3 degrees", random.standard_t(3, size)
    yield "uniform", random.uniform(-1, 1, size)
    yield "four of five 0", normal * (random.random(size) < 0.2)
    yield "one of 256 thirtyfold", normal * np.where(random.random(size) < 1 / 256, 30, 1)
    yield "rows of many sizes", normal * random.lognormal(0, 1, (count, 1))
    yield "columns of many sizes", normal * random.lognormal(0, 1, length)


def importances(
    random: np.random.Generator, length: int, kind: str
) -> Iterator[tuple[str, Floats | None]]:
    """Importance of columns [length]; none for types that do without."""
    if kind not in NEED_IMATRIX:
        yield "none", None
    yield "exponential", random.exponential(size=length).astype(np.float32)
    yield "log-normal", random.lognormal(0, 1, length).astype(np.float32)
    yield "a few columns", random.lognormal(0, 2.5, length).astype(np.float32)


def largest(kind: str, experts: int, seed: int) -> tuple[float, Floats, list[str]]:
    """Error of normal rows as a whole; of each expert its own, and which rows it had."""
    random = np.random.default_rng(seed)
    shares, what, normal = [], [], 0.0
    for length in LENGTHS:
        for shape, rows in shapes(random, experts * LEAST // length, length):
            numbers = (0.02 * rows).astype(np.float32)
            size = np.square(numbers, dtype=np.float64).reshape(experts, -1).sum(1)
            for name, weights in importances(random, length, kind):
                data = np.empty(ggml.row_bytes(kind, length) * len(numbers), np.uint8)
                kept = np.empty(numbers.size, np.float32)
                ggml.from_f32(kind, numbers, weights, data)
                ggml.to_f32(kind, data, kept)
                wrong = np.square(kept - numbers.reshape(-1), dtype=np.float64)
                each = wrong.reshape(experts, -1).sum(1)
                shares.append(each / size)
                what += [f"{shape}, importance {name}, rows of {length}"] * experts
                normal = normal or float(each.sum() / size.sum())
    return normal, np.concatenate(shares), what


def main() -> None:
    """A line for each type."""
    experts = int(sys.argv[1]) if sys.argv[1:] else 100
    seed = int(sys.argv[2]) if sys.argv[2:] else 25
    for kind in sys.argv[3:] or [k for k in LIMITS if k not in WIDE]:
        if (grid := ggml.grid_of(kind)) is not None:
            ggml.prepare_grid(grid)
        normal, shares, what = largest(kind, experts, seed)
        worst, limit = int(shares.argmax()), LIMITS[kind]
        above = f"{int((shares > limit).sum())} of {len(shares)}"
        found = f"| {kind} | {normal:.3g} | {shares[worst]:.3g} | {limit:.3g} | {above} |"
        print(found, what[worst], "|", flush=True)


if __name__ == "__main__":
    main()
