"""Rows and importance of every kind, for comparing kernels with the library."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


def usual(random: np.random.Generator, count: int, length: int) -> Rows:
    """Rows as models have them, each with a spread of its own."""
    spread = random.gamma(2.0, 0.02, (count, 1))
    return (random.standard_normal((count, length)) * spread).astype(np.float32)


def classes(random: np.random.Generator, count: int, length: int) -> Iterator[tuple[str, Rows]]:
    """Rows by the name of their class."""
    rows = usual(random, count, length)
    shape = rows.shape
    yield "usual", rows
    yield "bf16", (rows.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    yield "f16", rows.astype(np.float16).astype(np.float32)
    yield "sparse", np.where(random.random(shape) < 0.9, 0, rows).astype(np.float32)
    yield "spikes", np.where(random.random(shape) < 0.002, rows * 1000, rows).astype(np.float32)
    yield "zero", np.zeros_like(rows)
    yield "minus zero", -np.zeros_like(rows)
    yield "denormal", (rows * 1e-38).astype(np.float32)
    for power in (-44, -30, -20, -15, -12, -9, -7, 4):
        yield f"1e{power}", (rows.astype(np.float64) * 10.0**power).astype(np.float32)
    yield "runs", np.repeat(usual(random, count, length // 32), 32, axis=1)
    yield "equal", np.repeat(usual(random, count, 1), length, axis=1)
    near = 1 + random.random(shape) * 1e-6
    yield "nearly equal", (np.repeat(usual(random, count, 1), length, axis=1) * near).astype("f4")
    yield "halves", (np.round(rows * 100) / 2).astype(np.float32)
    yield "two values", np.where(random.random(shape) < 0.5, 0.01, -0.02).astype(np.float32)
    slopes = usual(random, count, 1)
    yield "ramp", np.ascontiguousarray(np.linspace(-1, 1, length, dtype=np.float32) * slopes)
    mixed = rows * np.exp2(random.integers(-30, 10, shape))
    yield "mixed exponents", mixed.astype(np.float32)
    yield "positive", np.abs(rows)
    yield "negative", -np.abs(rows)
    yield "one number", np.where(np.arange(length) % 256 == 77, rows, 0).astype(np.float32)


def importances(random: np.random.Generator, length: int) -> Iterator[tuple[str, Rows | None]]:
    """Importance of a row's numbers by the name of its class; None first."""
    yield "none", None
    weights = random.gamma(0.5, 1.0, length)
    yield "usual", weights.astype(np.float32)
    yield "ones", np.ones(length, np.float32)
    yield "zero", np.zeros(length, np.float32)
    yield "wide", np.exp(random.uniform(-60, 27, length)).astype(np.float32)
    yield "tiny", np.full(length, 1e-44, np.float32)
    yield "holes", np.where(random.random(length) < 0.7, 0, weights).astype(np.float32)
