"""Intervals over chunks hold what they are of as often as they say."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from bot.evaluate.intervals import (
    divergence_interval,
    means_of_chunks,
    over_chunks,
    perplexity_interval,
    quantile,
)
from bot.measures.divergence import summarize
from bot.measures.journal import TOKEN
from tests.coverage import coverage, pairs_coverage


@pytest.mark.parametrize(("degrees", "t"), [(9, 2.26216), (59, 2.00100), (1000, 1.96234)])
def test_quantiles_are_students(degrees: int, t: float) -> None:
    """As in the NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2."""
    assert quantile(degrees) == pytest.approx(t, abs=2e-3)


def test_symmetric_chunks_have_students_interval() -> None:
    means = np.array([1.0, 2.0, 3.0, 4.0, 5.0] * 4)
    found = over_chunks(means)
    assert found is not None
    reach = quantile(19) * means.std(ddof=1) / 20**0.5
    assert found == pytest.approx((3 - reach, 3 + reach))


def test_lopsided_chunks_reach_further_on_the_long_side() -> None:
    means = np.exp(np.linspace(-2, 2, 30))
    found = over_chunks(means)
    assert found is not None
    assert found.high - means.mean() > means.mean() - found.low > 0


def test_few_chunks_have_none_and_equal_ones_a_point() -> None:
    assert over_chunks(np.arange(9.0)) is None
    assert perplexity_interval(np.arange(9.0)) is None
    for interval, value, expected in ((over_chunks, 0.3, 0.3), (perplexity_interval, 2.0, exp(2))):
        found = interval(np.full(12, value))
        assert found is not None
        assert tuple(found) == pytest.approx((expected, expected))


def test_what_a_divergence_prints_has_intervals_of_its_own_chunks() -> None:
    random = np.random.default_rng(1)
    values = np.zeros(20 * 8, TOKEN)
    values["nll"], values["nll_base"] = random.exponential(size=(2, len(values)))
    values["delta_p"] = np.exp(-values["nll"]) - np.exp(-values["nll_base"])
    values["same_top"] = random.random(len(values)) < 0.9
    printed, means = summarize(values), means_of_chunks(values, 8)
    assert list(means) == ["ppl_ratio", "delta_p_mean", "delta_p_rms", "same_top"]
    for of, each in means.items():
        bounds = divergence_interval(of, np.array(each))
        assert bounds is not None
        assert len(each) == 20
        assert bounds.low < getattr(printed, of) < bounds.high, of
        assert divergence_interval(of, np.array(each[:9])) is None
    always = divergence_interval("same_top", np.array([1.0] * 19 + [0.5]))
    assert always is not None
    assert always.high == 1.0


def test_coverage_in_eighty_measurements() -> None:
    """What is over chunks holds the truth; tokens counted as independent do so too seldom."""
    held = coverage(60, 80, seed=60) | pairs_coverage(60, 80, seed=60)
    for name, share in held.items():
        if "over tokens" in name:
            assert share < 0.9, name
        else:
            assert share > 0.85, f"{name}: P(68 of 80 or fewer) is 0.0008 at 95 %"


@pytest.mark.long
@pytest.mark.parametrize("chunks", [60, 150])
def test_coverage_is_within_two_points_of_its_name(chunks: int) -> None:
    """Of 4,000 measurements: two points, and three standard errors of the simulation's own."""
    held = coverage(chunks, 4000, seed=chunks) | pairs_coverage(chunks, 4000, seed=chunks)
    for name, share in held.items():
        if "over tokens" not in name:
            assert abs(share - 0.95) < 0.02 + 3 * 0.0035, name
