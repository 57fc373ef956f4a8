"""How often equal files are called different, and unequal ones told apart."""

from __future__ import annotations

import re
from math import comb
from pathlib import Path

import numpy as np
import pytest

from bot import evidence
from bot.evaluate import paired
from bot.evidence import CHUNKS, LEVEL
from bot.gate.verdicts import SURE
from bot.records.measured import KLD, best

TRIALS = 2000
COUNTS = (1, 2, 3, 4, 8, 24, 60)
# what may come out of 2,000 trials at 5 % but once in 1,000
MOST = next(
    k
    for k in range(100, 200)
    if sum(comb(TRIALS, i) * LEVEL**i * (1 - LEVEL) ** (TRIALS - i) for i in range(k + 1)) > 0.999
)
Floats = paired.Floats


def _symmetric(kind: str, random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Differences of files that could change places."""
    if kind == "normal":
        return random.normal(size=shape)
    if kind == "heavy-tailed":
        return np.asarray(random.standard_t(1.5, shape))
    return random.lognormal(0, 1, shape) - random.lognormal(0, 1, shape)


def _lopsided(kind: str, random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Differences whose mean is 0, of files that differ in all else."""
    wide = {"log-normal, narrow": 0.5, "log-normal": 1.0}[kind]
    return np.asarray(random.lognormal(0, wide, shape) - np.exp(wide**2 / 2))


def _called(differences: Floats, subsets: int) -> int:
    """How many columns of [chunks, trials] are called different."""
    if len(differences) < CHUNKS:
        pair = {"a": differences[:, 0], "b": differences[:, 1]}
        comparisons = paired.compare_divergences(KLD, pair)
        return sum(comparison.differs for comparison in comparisons)
    typical = paired.typical_means(differences, subsets)
    columns = zip(differences.T, typical.T, strict=True)
    return sum(paired.probability(*column) < LEVEL for column in columns)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "log-normal"])
def test_equal_files_are_called_different_in_five_percent_at_most(kind: str, count: int) -> None:
    differences = _symmetric(kind, np.random.default_rng(count), (count, TRIALS))
    assert _called(differences, 1 << 11) <= MOST


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["log-normal, narrow", "log-normal"])
def test_so_are_files_that_are_equal_only_in_the_mean(kind: str, count: int) -> None:
    differences = _lopsided(kind, np.random.default_rng(count), (count, TRIALS))
    assert _called(differences, 1 << 11) <= MOST


def _rows(kind: str, random: np.random.Generator, count: int) -> dict[str, Floats]:
    """Twelve equal files: what is hard for one is hard for all, and each has its own noise."""
    hard = random.gamma(1.0, 0.1, (count, 1))
    noise = 0.01 * _symmetric(kind, random, (count, 12))
    return {str(row): column for row, column in enumerate((hard + noise).T)}


def _claims(kind: str, count: int, trials: int) -> tuple[int, int]:
    """Trials in which any of twelve equal rows is called different; and the best the best."""
    random, anything, leading = np.random.default_rng(12 + count), 0, 0
    for _ in range(trials):
        rows = _rows(kind, random, count)
        first = min(rows, key=lambda name: rows[name].mean())
        comparisons = paired.compare_divergences(KLD, rows)
        anything += any(comparison.differs for comparison in comparisons)
        leading += best(comparisons, KLD, list(rows)) is not None
        assert best(comparisons, KLD, list(rows)) in (None, first)
    return anything, leading


@pytest.mark.parametrize("count", [4, 24])
def test_the_best_of_twelve_equal_rows_is_seldom_called_so(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired.typical_means, "__defaults__", (1 << 12,))
    anything, leading = _claims("normal", count, 60)
    assert anything <= 10, "P(more than 10 of 60) is 0.0002 at 5 %"
    assert leading <= 10


@pytest.mark.long
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "log-normal"])
def test_the_best_of_twelve_in_two_thousand_trials(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired.typical_means, "__defaults__", (1 << 13,))
    anything, leading = _claims(kind, count, TRIALS)
    assert anything <= MOST
    assert leading <= MOST


@pytest.mark.long
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "log-normal"])
def test_two_equal_files_in_two_thousand_trials_as_they_are_compared(kind: str, count: int) -> None:
    random = np.random.default_rng(100 + count)
    called = 0
    for difference in _symmetric(kind, random, (count, TRIALS)).T:
        hard = random.gamma(1.0, 0.1, count)
        (comparison,) = paired.compare_divergences(KLD, {"a": hard, "b": hard + difference})
        called += comparison.differs
    assert called <= MOST


def test_below_the_least_number_of_chunks_nothing_is_claimed() -> None:
    few = {"a": np.zeros(CHUNKS - 1), "b": np.arange(1.0, CHUNKS)}
    (comparison,) = paired.compare_divergences(KLD, few)
    assert (comparison.differs, comparison.p, comparison.low) == (False, 1.0, None)
    assert comparison.test == f"none: {CHUNKS - 1} chunks, {CHUNKS} at least"
    enough = {"a": np.zeros(CHUNKS), "b": np.linspace(1.0, 1.1, CHUNKS)}
    (comparison,) = paired.compare_divergences(KLD, enough)
    assert comparison.differs


@pytest.mark.parametrize(("count", "apart", "share"), [(24, 1.0, 0.9), (60, 0.5, 0.85)])
def test_files_that_differ_are_told_apart(count: int, apart: float, share: float) -> None:
    differences = np.random.default_rng(7).normal(apart, 1, (count, 300))
    assert _called(differences, 1 << 13) >= share * 300


def test_a_difference_is_not_lost_for_being_large() -> None:
    """A transformation that is not monotonic would call it none."""
    random = np.random.default_rng(3)
    for apart in (2, 5, 20, 1000):
        (comparison,) = paired.compare_divergences(
            KLD, {"a": random.normal(0, 1, 60), "b": random.normal(apart, 1, 60)}
        )
        assert comparison.differs
        assert comparison.high is not None
        assert comparison.high < 0


def test_an_interval_excludes_nothing_that_the_test_does_not() -> None:
    random = np.random.default_rng(11)
    for _ in range(40):
        differences = random.lognormal(0, 1, 12) - random.uniform(0, 4)
        (comparison,) = paired.compare_divergences(KLD, {"a": differences, "b": np.zeros(12)})
        assert comparison.low is not None
        assert comparison.high is not None
        assert comparison.p < LEVEL or comparison.low <= 0 <= comparison.high


def test_p_is_corrected_for_all_comparisons_of_a_family() -> None:
    values = {"a": np.linspace(1, 2, 40), "b": np.linspace(1.1, 2.1, 40), "c": np.full(40, 9.0)}
    chunks = paired.compare_divergences(KLD, values)
    answers = paired.compare_answers("T", "a", "b", ([True] * 6, [False] * 6))
    assert answers.differs
    together = paired.corrected([*chunks, answers])
    assert [c.p for c in together] == [c.p for c in (*chunks, answers)]
    assert together[-1].adjusted == answers.p, "the largest of all is corrected by 1"
    assert paired.corrected([answers] * 4)[0].adjusted == pytest.approx(4 * answers.p)
    assert not paired.corrected([answers] * 4)[0].differs


# ── the page ────────────────────────────────────────────────────────────────────────────────

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_the_page_of_rules_has_the_numbers_of_the_program() -> None:
    words = " ".join(PAGE.split())
    assert f"Below {CHUNKS} chunks nothing is claimed" in words
    assert f"at most {LEVEL:.0%}".replace("%", " %") in words
    assert f"exceeded by {SURE:g} standard errors" in words
    assert f"a fixed sample of {evidence.SIGNS:,} from 16 chunks on" in words
    assert 2**15 <= evidence.SIGNS < 2**16
    assert f"{2 / 2**CHUNKS:.4f}" in words
    assert evidence.SKEW == 2
    assert "twice the sample's skewness" in words
    assert all(len(line) <= 100 for line in PAGE.splitlines())


def test_the_power_of_the_page_is_what_comes_out() -> None:
    rows = re.findall(r"^\| (\d+) \|((?: *\d+ % \|)+)$", PAGE, re.MULTILINE)
    assert [int(count) for count, _ in rows] == [10, 12, 24, 60, 150]
    for count, cells in rows:
        shares = [int(share) / 100 for share in re.findall(r"\d+", cells)]
        random = np.random.default_rng(int(count))
        for place, apart in enumerate((0.5, 1, 2)):
            differences = random.normal(apart, 1, (int(count), 200))
            typical = paired.typical_means(differences, 1 << 13)
            pairs = zip(differences.T, typical.T, strict=True)
            alone = [paired.probability(*pair) for pair in pairs]
            for share, level in ((shares[place], LEVEL), (shares[place + 3], LEVEL / 66)):
                called = sum(p < level for p in alone) / 200
                assert abs(called - share) < 0.14, (count, apart, level)
