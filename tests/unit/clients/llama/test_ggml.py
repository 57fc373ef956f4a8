"""ggml's kernels on rows: what goes in, what comes out, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from bot.clients.llama import ggml
from bot.errors import BuildError

ROWS = np.random.default_rng(3).normal(size=(4, 512)).astype(np.float32)


def quantized(kind: str, rows: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The bytes of `rows` in a type."""
    grid = ggml.grid_of(kind)
    if grid:
        ggml.prepare_grid(grid)
    out = np.zeros(len(rows) * ggml.row_bytes(kind, rows.shape[1]), np.uint8)
    ggml.from_f32(kind, rows, weights, out)
    return out


@pytest.mark.parametrize(
    ("kind", "block", "size"),
    [("F32", 1, 2048), ("BF16", 1, 1024), ("Q8_0", 32, 544), ("Q6_K", 256, 420)],
)
def test_rows_are_whole_blocks(kind: str, block: int, size: int) -> None:
    assert (ggml.block_length(kind), ggml.row_bytes(kind, 512)) == (block, size)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("F32", 0.0), ("F16", 0.001), ("BF16", 0.004), ("Q8_0", 0.01), ("MXFP4", 0.2), ("Q6_K", 0.03)],
)
def test_numbers_come_back_from_every_type_of_a_source(kind: str, error: float) -> None:
    data = quantized(kind, ROWS)
    numbers = np.empty(ROWS.size, np.float32)
    ggml.to_f32(kind, data, numbers)
    apart = np.sqrt(np.square(numbers.reshape(ROWS.shape) - ROWS).mean() / np.square(ROWS).mean())
    assert apart <= error
    with pytest.raises(BuildError, match="Q8_1 cannot be expanded"):
        ggml.to_f32("Q8_1", quantized("Q8_0", ROWS), numbers)


@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K", "Q4_K", "IQ4_XS"])
def test_quantized_rows_are_valid_and_damaged_ones_are_not(kind: str) -> None:
    data = quantized(kind, ROWS, np.ones(512, np.float32))
    assert ggml.valid(kind, data)
    row = data[: ggml.row_bytes(kind, 512)]
    assert ggml.any_number(kind, row, 512)
    assert not ggml.any_number(kind, np.zeros_like(row), 512)
    assert not ggml.valid(kind, np.full_like(data, 0xFF)), "scales that are no numbers"


def test_a_row_that_is_no_whole_number_of_blocks_is_refused() -> None:
    out = np.zeros(210, np.uint8)
    with pytest.raises(BuildError, match="rows of 100 numbers cannot be Q6_K"):
        ggml.from_f32("Q6_K", ROWS[:, :100].copy(), None, out)


def test_types_share_search_grids() -> None:
    assert ggml.grid_of("IQ1_S") == ggml.grid_of("IQ1_M") == "IQ1_M"
    assert (ggml.grid_of("IQ3_S"), ggml.grid_of("Q4_K")) == ("IQ3_S", None)


def test_exponentials_are_numpys() -> None:
    highest = ROWS.max(axis=1)
    out = np.empty_like(ROWS)
    sums = ggml.exponentials(ROWS, highest, out)
    expected = np.exp(ROWS.astype(np.float64) - highest[:, None])
    assert np.allclose(out, expected, atol=1e-6)
    assert np.allclose(sums, expected.sum(axis=1), rtol=1e-6)
