"""Each rule: a sentence with its numbers beyond the error, silence within it."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from math import hypot

import pytest

from bot.card.highlights import best_fits, highlights
from bot.records.measured import Comparison, Row
from bot.records.results import Results
from bot.settings.showing import CardSettings
from tests.unit.card.samples import coinciding, divergence, nine_tiers, row

FAR = {"ppl_ratio": 1.5}  # keeps the perplexity rule silent


def _results(*tiers: Row) -> Results:
    return replace(nine_tiers(), tiers=tiers)


def test_the_least_divergent_tier_is_named_beyond_the_error() -> None:
    one = row("A", 9_000_000_000, divergence(0.0100, 0.0002, **FAR))
    other = row("B", 8_000_000_000, divergence(0.0107, 0.0002, **FAR))
    assert highlights(_results(other, one)) == (
        (
            "A (9.0 GB) has the lowest mean KL divergence of all tiers: 0.01000 ± 0.00020 nats per "
            "token; the next is B (8.0 GB) with 0.01070 ± 0.00020."
        ),
    )


@pytest.mark.parametrize("mean", [0.0100, 0.0103, 0.01055])
def test_the_least_divergent_tier_is_not_named_within_the_error(mean: float) -> None:
    one = row("A", 9_000_000_000, divergence(0.0100, 0.0002, **FAR))
    other = row("B", 8_000_000_000, divergence(mean, 0.0002, **FAR))
    assert highlights(_results(one, other)) == ()


def test_one_tier_is_the_best_of_nothing() -> None:
    assert highlights(_results(row("A", 10, divergence(0.01, 0.0001, **FAR)))) == ()


def test_what_the_imatrix_lowered() -> None:
    plain = row("X", 9_000_000_000, divergence(0.020, 0.0002, max=14.137, **FAR))
    weighted = row("I-X", 9_000_000_000, divergence(0.015, 0.0001, max=4.5325, **FAR))
    assert (
        "The importance matrix lowers the mean KL divergence: X 0.02000 ± 0.00020 → I-X 0.01500 "
        "± 0.00010 (25.0% less)."
    ) in highlights(_results(plain, weighted))


def test_nothing_follows_from_a_maximum() -> None:
    """One token's divergence ranks no file, with and without importance matrix or baselines."""
    plain = row("X", 9_000_000_000, divergence(0.020, 0.0002, max=14.0, **FAR))
    weighted = row("I-X", 9_000_000_000, divergence(0.015, 0.0001, max=0.304, **FAR))
    eight = row("Q8_0", 20_000_000_000, divergence(0.001, 0.0001, max=0.306, **FAR))
    for results in (_results(plain, weighted), replace(_results(weighted), baselines=(eight,))):
        text = " ".join(highlights(results))
        assert "max" not in text
        assert "0.304" not in text


def test_what_the_imatrix_raised_is_told_as_well() -> None:
    plain = row("X", 9_000_000_000, divergence(0.015, 0.0001, max=9.0, **FAR))
    weighted = row("I-X", 9_000_000_000, divergence(0.018, 0.0001, max=5.0, **FAR))
    sentence = highlights(_results(plain, weighted))[-1]
    assert sentence.startswith("The importance matrix raises the mean KL divergence: X 0.01500")
    assert sentence.endswith("(20.0% more).")


def test_an_imatrix_within_the_error_changed_nothing() -> None:
    plain = row("X", 9_000_000_000, divergence(0.0150, 0.0004, max=9.0, **FAR))
    weighted = row("I-X", 9_000_000_000, divergence(0.0140, 0.0004, max=2.0, **FAR))
    assert highlights(_results(plain, weighted)) == ()


def test_coinciding_tiers_are_compared_once() -> None:
    sentences = [line for line in highlights(coinciding()) if "importance matrix" in line]
    assert len(sentences) == 1
    assert sentences[0].count("→ I-Balanced = I-Quality 0.01030") == 1
    assert "Balanced = Quality 0.01170 ± 0.00010 →" in sentences[0]


def test_the_smallest_file_near_the_reference() -> None:
    large = row("L", 9_000_000_000, divergence(0.01, 0.01, ppl_ratio=1.01, ppl_ratio_error=0.001))
    small = row("S", 5_000_000_000, divergence(0.02, 0.01, ppl_ratio=1.04, ppl_ratio_error=0.0044))
    tiny = row("T", 2_000_000_000, divergence(0.03, 0.01, ppl_ratio=1.06, ppl_ratio_error=0.001))
    assert highlights(_results(large, small, tiny)) == (
        (
            "S (5.0 GB) is within 5% of BF16's perplexity, and no smaller size surely is: 6.991 "
            "against 6.722, a ratio of 1.0400 ± 0.0044."
        ),
    )


@pytest.mark.parametrize(("ratio", "error"), [(1.04, 0.0062), (1.0499, 0.0001), (1.2, 0.0)])
def test_a_perplexity_that_may_be_five_percent_off_is_not_near(ratio: float, error: float) -> None:
    tier = row("S", 5, divergence(0.02, 0.01, ppl_ratio=ratio, ppl_ratio_error=error))
    assert highlights(_results(tier)) == ()


def test_of_equal_sizes_the_less_divergent_is_named() -> None:
    plain = row("X", 5_000_000_000, divergence(0.02, 0.02, ppl_ratio=1.02, ppl_ratio_error=0.001))
    better = row("Y", 5_000_000_256, divergence(0.01, 0.02, ppl_ratio=1.03, ppl_ratio_error=0.001))
    sentences = highlights(_results(plain, better))
    assert len(sentences) == 1
    assert sentences[0].startswith("Y (5.0 GB) is within 5%")


def test_a_near_file_that_a_smaller_far_one_beats_silences_the_rule() -> None:
    large = row("L", 9_000_000_000, divergence(0.010, 0.02, ppl_ratio=1.01, ppl_ratio_error=0.0))
    middle = row("M", 6_000_000_000, divergence(0.030, 0.02, ppl_ratio=1.02, ppl_ratio_error=0.0))
    small = row("S", 5_000_000_000, divergence(0.020, 0.02, ppl_ratio=1.20, ppl_ratio_error=0.0))
    assert highlights(_results(large, middle, small)) == ()


def test_unmeasured_tiers_say_nothing() -> None:
    assert highlights(_results(row("A", 9, None), row("I-A", 9, None))) == ()


# ── beside other files ──────────────────────────────────────────────────────────────────────


def _beside(tier: Row, *plain: Row, comparisons: tuple[Comparison, ...] = ()) -> tuple[str, ...]:
    results = replace(_results(tier), baselines=plain, comparisons=comparisons)
    return highlights(results)


def test_a_tier_that_beats_a_larger_baseline_in_everything_that_is_sure() -> None:
    tier = row("A", 9_000_000_000, divergence(0.010, 0.0002, **FAR), correct=340)
    plain = row("Q4_K_M", 9_500_000_000, divergence(0.020, 0.0002, ppl_ratio=1.6), correct=300)
    sure = Comparison(
        measure="HellaSwag", one="A", other="Q4_K_M", difference=0.1, p=1e-4, differs=True, test="m"
    )
    (sentence,) = (line for line in _beside(tier, plain, comparisons=(sure,)) if "beats" in line)
    assert sentence.startswith(
        "A (9.0 GB) beats Q4_K_M (9.5 GB): mean KL divergence 0.01000 ± 0.00020"
    )
    assert "HellaSwag 85.0% against 75.0%" in sentence
    assert "1.5000 against 1.6000 times the reference's" in sentence


@pytest.mark.parametrize(
    ("size", "mean", "sure"),
    [
        (8_000_000_000, 0.020, False),  # the baseline is smaller
        (9_500_000_000, 0.0103, False),  # within the error
        (9_500_000_000, 0.020, True),  # it surely answers better
    ],
)
def test_a_baseline_is_not_beaten_by_half(size: int, mean: float, sure: bool) -> None:
    tier = row("A", 9_000_000_000, divergence(0.010, 0.0002, **FAR), correct=300)
    plain = row("Q4_K_M", size, divergence(mean, 0.0002, **FAR), correct=340)
    comparison = Comparison(
        measure="HellaSwag",
        one="A",
        other="Q4_K_M",
        difference=-0.1,
        p=1e-4,
        differs=sure,
        test="m",
    )
    assert not [line for line in _beside(tier, plain, comparisons=(comparison,)) if "beats" in line]


def test_a_paired_test_decides_where_there_is_one() -> None:
    one = row("A", 9_000_000_000, divergence(0.0100, 0.0002, **FAR))
    other = row("B", 8_000_000_000, divergence(0.0103, 0.0002, **FAR))
    sure = Comparison(
        measure="kld", one="B", other="A", difference=0.0003, p=1e-6, differs=True, test="paired"
    )
    assert highlights(_results(one, other)) == ()
    sentences = highlights(replace(_results(one, other), comparisons=(sure,)))
    assert sentences[0].startswith("A (9.0 GB) has the lowest mean KL divergence")


def test_the_best_at_each_size_of_memory() -> None:
    assert best_fits(nine_tiers(), CardSettings()) == (
        "Lowest mean KL divergence of the tiers that fit, by memory: at 12 GB I-Nano (10.0 GB) "
        "with 0.23110 ± 0.00170; at 16 GB I-Compact (15.6 GB) with 0.04513 ± 0.00047; at 24 GB "
        "I-Balanced (22.4 GB) with 0.01027 ± 0.00011."
    )


def test_a_size_of_memory_where_two_cannot_be_told_apart_has_no_best() -> None:
    one, other = row("A", 9, divergence(0.0100, 0.0002)), row("B", 8, divergence(0.0103, 0.0002))
    assert best_fits(_results(one, other), CardSettings()) is None
    assert best_fits(_results(one), CardSettings()) is None, "the only one is the best of nothing"


# ── no sentence that the numbers do not support ─────────────────────────────────────────────


def _random(dice: random.Random) -> Results:
    """Tiers and baselines whose means, errors, ratios and answers have nothing to do with another.

    Half of the differences are within their errors.
    """
    names = ["X", "I-X", "Y", "I-Y", "Z"]
    middle = dice.choice([0.01, 0.1])
    rows = [
        row(
            name,
            dice.randrange(5, 30) * 10**9,
            divergence(
                middle * dice.uniform(0.5, 1.5),
                middle * dice.choice([0.001, 0.1, 0.5]),
                ppl_ratio=dice.uniform(0.99, 1.2),
                ppl_ratio_error=dice.choice([0.001, 0.02]),
                max=dice.uniform(1, 20),
            ),
            correct=dice.randrange(300, 340),
        )
        for name in [*names, "Q8_0", "Q4_K_M"]
    ]
    return replace(nine_tiers(), tiers=tuple(rows[:5]), baselines=tuple(rows[5:]))


def _surely_less(lower: tuple[float, float], higher: tuple[float, float]) -> bool:
    """Of seven rows, 21 pairs: Bonferroni's normal quantile at 5 %, two-sided."""
    return higher[0] - lower[0] > 3.0380 * hypot(lower[1], higher[1])


def _mean(tier_row: Row) -> tuple[float, float]:
    assert tier_row.scores.divergence is not None
    return tier_row.scores.divergence.mean, tier_row.scores.divergence.mean_error


def _ratio(tier_row: Row) -> tuple[float, float]:
    assert tier_row.scores.divergence is not None
    return tier_row.scores.divergence.ppl_ratio, tier_row.scores.divergence.ppl_ratio_error


def _unsupported(sentence: str, rows: dict[str, Row], tiers: list[str]) -> str | None:
    """What a sentence claims without right, judged from the rows alone."""
    if match := re.match(r"(\S+) \(.*?\) has the lowest mean KL divergence of all tiers", sentence):
        best = _mean(rows[match[1]])
        rest = [_mean(rows[name]) for name in tiers if name != match[1]]
        return None if all(_surely_less(best, other) for other in rest) else "not the lowest mean"
    if match := re.match(r"(\S+) \(.*?\) beats (\S+) \(.*?\): ", sentence):
        one, other = rows[match[1]], rows[match[2]]
        won = [_surely_less(m(one), m(other)) for m in (_mean, _ratio)]
        lost = [_surely_less(m(other), m(one)) for m in (_mean, _ratio)]
        claimed = ["mean KL" in sentence, "PPL" in sentence]
        fair = any(won) and not any(lost) and claimed == won and one.bytes <= other.bytes * 1.001
        return None if fair and "HellaSwag" not in sentence else "does not beat it"
    if match := re.match(r"The importance matrix (lowers|raises) the mean", sentence):
        for before, after in re.findall(r"(\S+) [\d.]+ ± [\d.]+ → (\S+) [\d.]+ ±", sentence):
            pair = [_mean(rows[after]), _mean(rows[before])]
            if not _surely_less(*(pair if match[1] == "lowers" else reversed(pair))):
                return f"{before} and {after} cannot be told apart"
        return None
    if match := re.match(r"(\S+) \(.*?\) is within 5% of BF16's perplexity", sentence):
        value, error = _ratio(rows[match[1]])
        return None if value + 2.3263 * error < 1.05 else "not surely within"  # of five tiers
    if sentence.startswith("Lowest mean KL divergence of the tiers that fit"):
        return _unfit(sentence, rows, tiers)
    return "a sentence that this test does not know"


def _unfit(sentence: str, rows: dict[str, Row], tiers: list[str]) -> str | None:
    for memory, name in re.findall(r"at (\d+) GB (\S+) \(", sentence):
        room = int(memory) * 2**30 - 2**30
        fits = [other for other in tiers if rows[other].bytes <= room]
        rest = [_mean(rows[other]) for other in fits if other != name]
        if name not in fits or not rest:
            return f"{name} at {memory}"
        if not all(_surely_less(_mean(rows[name]), other) for other in rest):
            return f"{name} at {memory} is not surely the best"
    return None


@pytest.mark.road
def test_no_sentence_about_random_results_is_without_support() -> None:
    dice = random.Random(6)  # noqa: S311 - a seed, so that a failure repeats
    count = 0
    for _ in range(1000):
        results = _random(dice)
        rows = {tier_row.name: tier_row for tier_row in (*results.tiers, *results.baselines)}
        best = best_fits(results, CardSettings())
        for sentence in (*highlights(results), *([best] if best else [])):
            count += 1
            wrong = _unsupported(sentence, rows, [tier.name for tier in results.tiers])
            assert wrong is None, f"{wrong}: {sentence}"
    assert count > 1000, "most results have something to tell"
