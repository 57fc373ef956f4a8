"""Kernels against the library's own functions: every bit, of rows of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bot.clients.llama import ggml
from bot.kernels.choice import KINDS
from bot.kernels.kernel import Kernel
from bot.kernels.trial import compared
from tests.unit.kernels.blocks import Rows, classes, importances, usual

# row lengths of the models in shared/data/configs
LENGTHS = (
    *(256, 512, 768, 1024, 1280, 1536, 2048, 2304, 2560, 2816),
    *(3072, 4096, 5120, 5376, 6144, 6400, 7168, 8192),
)
FEW = ("Q4_K", "IQ4_XS")  # compiled in `make test`; all others in `make test-roads`
EVERY = [pytest.param(kind, marks=[] if kind in FEW else [pytest.mark.road]) for kind in KINDS]


def trials(seed: int, count: int, length: int) -> Iterator[tuple[str, Rows, Rows | None]]:
    """Every class of rows with every class of importance."""
    random = np.random.default_rng(seed)
    for weight_class, weights in importances(random, length):
        for row_class, rows in classes(random, count, length):
            yield f"{row_class}, importance {weight_class}", rows, weights


def differing(
    kernel: Kernel, trial: Iterator[tuple[str, Rows, Rows | None]]
) -> tuple[int, dict[str, int]]:
    """Blocks that were compared, and of what classes any differ."""
    if (grid := ggml.grid_of(kernel.kind)) is not None:
        ggml.prepare_grid(grid)
    blocks, wrong = 0, {}
    for name, rows, weights in trial:
        if kernel.row.weighed and weights is None:
            continue
        differs = compared(kernel, rows, weights)
        blocks += differs.size
        if differs.any():
            wrong[name] = int(differs.sum())
    return blocks, wrong


@pytest.mark.road
@pytest.mark.parametrize("kind", EVERY)
def test_all_bits_of_all_classes_are_the_librarys(
    kernel: Callable[[str], Kernel], kind: str
) -> None:
    blocks, wrong = differing(kernel(kind), trials(1, 3, 768))
    assert blocks > 1000
    assert wrong == {}


@pytest.mark.parametrize("kind", EVERY)
def test_nearly_all_usual_blocks_are_the_kernels(
    kernel: Callable[[str], Kernel], kind: str
) -> None:
    random = np.random.default_rng(3)
    rows, weights = usual(random, 50, 1024), random.gamma(0.5, 1.0, 1024).astype(np.float32)
    out = np.empty(ggml.row_bytes(kind, 1024) * 50, np.uint8)
    assert kernel(kind)(rows, weights, out).size <= 1


def test_what_the_library_has_to_see_is_left_to_it(kernel: Callable[[str], Kernel]) -> None:
    rows = np.ones((2, 512), np.float32)
    rows[0, 300], rows[1, 5], rows[1, 400] = np.inf, 1e15, np.nan
    out = np.empty(2 * ggml.row_bytes("Q4_K", 512), np.uint8)
    assert kernel("Q4_K")(rows, None, out).tolist() == [1, 2, 3]
    odd = np.ones(512, np.float32)
    odd[7] = -1
    assert kernel("Q4_K")(np.ones((2, 512), np.float32), odd, out).tolist() == [0, 1, 2, 3]


@pytest.mark.road
@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K"])
def test_a_scales_level_below_zero_is_cut_as_the_library_cuts_it(
    kernel: Callable[[str], Kernel], kind: str
) -> None:
    """Of Q5_K a byte above 63 becomes 63, of Q4_K it does not; few blocks have any."""
    rare = [t for t in trials(3, 9, 1024) if t[0] == "negative, importance wide"]
    blocks, wrong = differing(kernel(kind), iter(rare))
    assert blocks == 36
    assert wrong == {}


@pytest.mark.road
def test_threads_share_a_kernel(kernel: Callable[[str], Kernel]) -> None:
    random = np.random.default_rng(5)
    parts = [usual(random, 16, 2048) for _ in range(16)]
    weights = random.gamma(0.5, 1.0, 2048).astype(np.float32)
    for kind in KINDS:
        one, size = kernel(kind), 16 * ggml.row_bytes(kind, 2048)

        def made(rows: Rows, one: Kernel = one, size: int = size) -> bytes:
            out = np.empty(size, np.uint8)
            one(rows, weights, out)
            return out.tobytes()

        alone = [made(rows) for rows in parts]
        for threads in (2, 4):
            with ThreadPoolExecutor(threads) as pool:
                assert list(pool.map(made, parts)) == alone


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_blocks(kernel: Callable[[str], Kernel], kind: str) -> None:
    """All row lengths of real models, tails shorter than the lanes, every class."""

    def every() -> Iterator[tuple[str, Rows, Rows | None]]:
        for seed, length in enumerate(LENGTHS):
            # without importance some have no way at all: more of the others then
            count = max(1, (11 if kernel(kind).row.weighed else 9) * 1024 // length)
            for name, rows, weights in trials(seed, count, length):
                yield f"{name}, rows of {length}", rows, weights

    blocks, wrong = differing(kernel(kind), every())
    assert blocks >= 100_000
    assert wrong == {}
