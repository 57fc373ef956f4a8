"""Rows through a kernel, through the library, and through a child where that may die."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.errors import BuildError, RefusedError
from bot.kernels import guarded
from bot.kernels.choice import LIBRARY_ONLY, Kernels
from bot.kernels.guarded import is_risky
from bot.kernels.quantizers import Quantizers
from tests.unit.kernels.blocks import usual

Rows = NDArray[np.float32]


@contextmanager
def untimed(_what: str) -> Iterator[None]:
    """Nobody counts."""
    yield


def both(kind: str, rows: Rows, weights: Rows | None) -> list[bytes]:
    """What kernels and the library alone make of rows."""
    made = []
    for kernels in (Kernels(folder=Path("of the suite")), LIBRARY_ONLY):
        out = np.zeros(ggml.row_bytes(kind, rows.shape[1]) * len(rows), np.uint8)
        with Quantizers(kernels, [kind], untimed) as quantizers:
            quantizers.quantize("blk.0.ffn_up_exps.weight", kind, rows, weights, out)
        made.append(out.tobytes())
    return made


def test_blocks_that_a_kernel_leaves_are_the_librarys() -> None:
    rows = usual(np.random.default_rng(1), 5, 1024)
    rows[1, 300:310], rows[4, 1000] = 5e4, -4e4
    kernels, library = both("Q4_K", rows, None)
    assert kernels == library


def test_where_most_is_left_the_library_does_all() -> None:
    rows = usual(np.random.default_rng(3), 2, 1024) * np.float32(1e6)
    weights = np.full(1024, 1e20, np.float32)
    kernels, library = both("Q4_K", rows, weights)
    assert kernels == library


def test_rows_that_are_no_whole_blocks_are_refused_as_the_library_refuses_them() -> None:
    with pytest.raises(BuildError, match="rows of 384 numbers cannot be Q4_K"):
        both("Q4_K", np.ones((2, 384), np.float32), None)


@pytest.mark.parametrize("kind", ["IQ4_NL", "Q8_0", "Q4_0"])
def test_types_without_a_kernel(kind: str) -> None:
    rows = usual(np.random.default_rng(2), 3, 96)
    kernels, library = both(kind, rows, None)
    assert kernels == library


def test_what_ends_llama_cpp_is_risky() -> None:
    rows = np.ones((1, 256), np.float32)
    weights = np.ones(256, np.float32)
    assert not is_risky("IQ2_XS", rows, weights)
    assert not is_risky("Q4_K", rows * np.float32(1e20), None)  # it has no grid to search
    for number in (1e15, -1e15, np.inf, np.nan):
        rows[0, 9] = number
        assert is_risky("IQ2_XS", rows, weights)
    weights[3] = np.inf
    assert is_risky("IQ2_XS", np.ones((1, 256), np.float32), weights)


@pytest.mark.road
def test_large_numbers_go_through_a_child_and_come_back_the_same() -> None:
    rows = usual(np.random.default_rng(4), 2, 512) * np.float32(1e7)
    kernels, library = both("IQ3_XXS", rows, None)
    out = np.zeros(len(library), np.uint8)
    ggml.prepare_grid("IQ3_XXS")
    ggml.from_f32("IQ3_XXS", rows, None, out)
    assert kernels == library == out.tobytes()


@pytest.mark.road
def test_numbers_that_end_llama_cpp_name_the_tensor_and_not_the_bot() -> None:
    rows = usual(np.random.default_rng(5), 1, 256) * np.float32(1e18)
    weights = np.ones(256, np.float32)
    with pytest.raises(RefusedError, match=r"blk\.0\.ffn_up_exps\.weight holds numbers up to"):
        both("IQ2_XS", rows, weights)


@pytest.mark.road
def test_a_child_that_fails_otherwise_is_not_taken_for_such_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guarded, "SECONDS", 0.0)
    rows = usual(np.random.default_rng(6), 1, 256) * np.float32(1e7)
    with pytest.raises(BuildError, match=r"blk\.0\.ffn_up_exps\.weight as IQ3_XXS") as failure:
        both("IQ3_XXS", rows, None)
    assert not isinstance(failure.value, RefusedError)
