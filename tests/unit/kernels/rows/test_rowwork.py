"""Kernels on rows against NumPy: sums to the bit, codes to the bit, the rest but for rounding."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.clients.llama.observer import Longs, NumpySquares, Stats, Sums
from bot.errors import RefusedError
from bot.kernels.choice import LIBRARY_ONLY, load
from bot.kernels.rows.rowwork import RowKernels, loaded, prepared
from bot.measures import divergence, logits
from bot.measures.journal import Values, empty
from tests.evaluation import packed, some_logits

pytestmark = pytest.mark.skipif(isinstance(load(), str), reason="Numba does not run here")
VOCABULARIES = (16, 17, 700, 2049, 2 * logits.IN_CACHE + 11)


@pytest.fixture(scope="session")
def kernels(rows_place: Path) -> RowKernels:
    """As a child loads them."""
    made = loaded(rows_place)
    assert made
    return made


def test_what_was_compiled_is_not_compiled_again(kernels: RowKernels) -> None:
    entries: list[Any] = [getattr(kernels, field.name) for field in fields(kernels)]
    assert all(len(entry.stats.cache_hits) == 1 for entry in entries)
    assert not any(entry.stats.cache_misses for entry in entries)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Activations as they come, and a few huge and tiny ones."""
    random = np.random.default_rng(seed)
    found = random.standard_normal(shape, np.float32)
    found.reshape(-1)[:: max(1, found.size // 7)] *= np.float32(1e6)
    return found * np.float32(10) ** random.integers(-12, 2, shape).astype(np.float32)


# ── sums ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(
    ("tokens", "used", "each", "experts", "width"),
    [(64, 8, 1, 32, 512), (33, 3, 3, 7, 200), (5, 1, 1, 3, 16), (40, 2, 1, 4, 1029)],
)
def test_sums_of_experts_are_numpys(
    kernels: RowKernels, threads: int, tokens: int, used: int, each: int, experts: int, width: int
) -> None:
    """Twice one after another, with experts that nobody was sent to."""
    random = np.random.default_rng(width)
    ours, theirs = Sums(kernels.squares(threads)), Sums()
    one: Stats | None = None
    other: Stats | None = None
    for seed in range(2):
        x = numbers(tokens, each, width, seed=seed)
        taste = random.random((tokens, experts - 1))
        ids = np.argsort(taste, axis=1)[:, :used].astype(np.int32)
        one, other = (
            ours.by_expert(x, ids, experts, one),
            theirs.by_expert(x, ids, experts, other),
        )
        assert one.sums.tobytes() == other.sums.tobytes()
        assert one.counts.tolist() == other.counts.tolist()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(
    ("shape", "matrices"), [((1, 1, 37, 384), 1), ((2, 3, 9, 40), 3), ((1, 1, 16, 8), 1)]
)
def test_sums_of_matrices_are_numpys(
    kernels: RowKernels, threads: int, shape: tuple[int, ...], matrices: int
) -> None:
    x = numbers(*shape)
    before = Stats(numbers(matrices, shape[3], seed=1) ** 2, np.ones(1, np.int64))
    one = Sums(kernels.squares(threads)).by_matrix(x, matrices, before)
    other = Sums().by_matrix(x, matrices, before)
    assert one.sums.tobytes() == other.sums.tobytes()
    assert one.counts.tolist() == other.counts.tolist()


def by_hand(x: np.ndarray, order: Longs, counts: Longs) -> np.ndarray:
    """One square after another, in f32."""
    sums, rows = np.zeros((len(counts), x.shape[1]), np.float32), iter(order)
    for matrix, count in enumerate(counts):
        for _ in range(count):
            sums[matrix] += np.square(x[next(rows)])
    return sums


def test_both_add_one_row_after_another(kernels: RowKernels) -> None:
    x, counts = numbers(20, 48), np.array([9, 0, 31])
    order = np.random.default_rng(3).integers(0, 20, 40)
    before = np.zeros((3, 48), np.float32)
    expected = by_hand(x, order, counts).tobytes()
    for adding in (kernels.squares(2), NumpySquares()):
        assert adding(x, order, counts, before).tobytes() == expected


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e19])
@pytest.mark.parametrize("place", [0, 127, 128, 200])
def test_sums_that_are_not_finite_are_refused(
    kernels: RowKernels, wrong: float, place: int
) -> None:
    x = np.ones((1, 1, 12, 201), np.float32)
    x[0, 0, 5, place] = wrong
    for sums in (Sums(kernels.squares(2)), Sums()):
        with pytest.raises(RefusedError, match="not finite"):
            sums.by_matrix(x, 1, None)


# ── logits ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_codes_are_numpys(kernels: RowKernels, vocabulary: int) -> None:
    """Rows as they come, one that is level, one beyond what the file can tell."""
    rows = some_logits(5, vocabulary)
    rows[1] = 3.5
    rows[2] *= 20
    rows[3, 0] = -np.inf
    targets = np.array([0, vocabulary - 1, 5, vocabulary // 2, 1], np.int32)
    one, other = (np.full((5, logits.width(vocabulary)), 7, np.uint16) for _ in range(2))
    nll = logits.pack(rows, targets, one, kernels)
    expected = logits.pack(rows, targets, other)
    assert np.array_equal(logits.codes_of(one), logits.codes_of(other))
    (scale, floor), (same_scale, near) = logits.scales(one), logits.scales(other)
    assert scale.tobytes() == same_scale.tobytes()
    assert floor == pytest.approx(near, rel=3e-7)
    assert nll == pytest.approx(expected, rel=3e-7, abs=1e-6)
    assert logits.nll_of(rows, targets, kernels) == pytest.approx(nll)


def both(
    kernels: RowKernels, candidate: np.ndarray, codes: np.ndarray, targets: np.ndarray
) -> tuple[Values, Values]:
    """A candidate's values, by kernels and by NumPy."""
    ours, theirs = empty(len(targets)), empty(len(targets))
    divergence.compare_logits(candidate, codes, targets, ours, kernels)
    divergence.compare_logits(candidate, codes, targets, theirs)
    return ours, theirs


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_comparisons_are_numpys(kernels: RowKernels, vocabulary: int) -> None:
    """A row like its reference, one that thinks otherwise, one that has two highest."""
    reference = some_logits(4, vocabulary)
    candidate = reference + some_logits(4, vocabulary, seed=1) * np.float32(0.05)
    candidate[0] = reference[0]
    candidate[1, vocabulary - 3] = reference.max() + 9
    reference[2, [1, vocabulary - 1]] = reference.max() + 1
    candidate[2, vocabulary - 1] = candidate.max() + 2
    targets = np.array([0, vocabulary - 1, 2, vocabulary // 2], np.int32)
    ours, theirs = both(kernels, candidate, packed(reference), targets)
    assert ours["same_top"].tolist() == theirs["same_top"].tolist()
    assert not ours["same_top"][1]
    assert not ours["same_top"][2]  # the first of equals is the file's choice
    assert ours["kld"] == pytest.approx(theirs["kld"], rel=3e-7, abs=2e-6)
    assert ours["nll"] == pytest.approx(theirs["nll"], rel=3e-7)
    assert ours["nll_base"].tobytes() == theirs["nll_base"].tobytes()


def test_sums_of_a_comparison_are_those_of_double_precision(kernels: RowKernels) -> None:
    """Nearer to them than a printed digit, over all that exponentials can be of."""
    reference, vocabulary = some_logits(3, 30011) * np.float32(3), 30011
    candidate = reference + some_logits(3, vocabulary, seed=1) * np.float32(0.2)
    targets, codes = np.array([0, 7, 9], np.int32), packed(reference)
    ours, _ = both(kernels, candidate, codes, targets)
    scale, floor = (side.astype(np.float64)[:, None] for side in logits.scales(codes))
    log_p = logits.codes_of(codes)[:, :vocabulary] * scale + floor
    shifted = candidate.astype(np.float64) - candidate.max(axis=1, keepdims=True)
    log_q = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    kld = np.where(log_p > -16, np.exp(log_p) * (log_p - log_q), 0).sum(axis=1)
    assert ours["kld"] == pytest.approx(kld, abs=3e-6)
    assert ours["nll"] == pytest.approx(-log_q[np.arange(3), targets], abs=5e-6)


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 64, 2050, 4999])
def test_logits_that_are_no_numbers_are_told(kernels: RowKernels, wrong: float, place: int) -> None:
    reference = some_logits(1, 5000)
    codes, targets = packed(reference), np.array([3], np.int32)
    reference[0, place] = wrong
    if np.isnan(wrong):  # any of them: bits beside the usual ones
        reference.view(np.uint32)[0, place] |= 0x1FF
    out = np.empty_like(codes)
    assert not np.isfinite(kernels.nll(reference, targets)).any()
    assert not np.isfinite(kernels.pack(reference, targets, out)).any()
    assert not np.isfinite(kernels.compare(reference, codes, targets).nll).any()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_file_whose_scale_is_no_number_is_told(
    kernels: RowKernels, wrong: float, place: int
) -> None:
    reference, targets = some_logits(1, 100), np.array([3], np.int32)
    codes = packed(reference)
    codes[0, 2 * place : 2 * place + 2] = np.array([wrong], np.float32).view(np.uint16)
    assert not np.isfinite(kernels.compare(reference, codes, targets).kld).any()


def test_what_kernels_cannot_look_at_is_numpys(kernels: RowKernels) -> None:
    """Fewer tokens than lanes; every second one."""
    narrow, targets = some_logits(2, 15), np.array([0, 14], np.int32)
    assert not kernels.fit(narrow, targets)
    assert not kernels.fit(some_logits(2, 64)[:, ::2], targets)
    expected = logits.nll_of(narrow, targets)
    assert logits.nll_of(narrow, targets, kernels).tobytes() == expected.tobytes()


def test_without_a_folder_there_are_none() -> None:
    assert prepared(LIBRARY_ONLY) is None
