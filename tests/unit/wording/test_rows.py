"""Rows from a reader's side: their order, which coincide, which surely differ, which to take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot import evidence
from bot.card.highlights import highlights
from bot.records.measured import Imported, Row
from bot.records.results import Results
from bot.wording.rows import (
    card_rows,
    close_to_reference,
    distinct,
    elsewhere,
    entry,
    files_of,
    less_divergent,
    less_perplexed,
    recommended,
    row_names,
    to_take,
)
from tests.unit.card.samples import coinciding, divergence, nine_tiers, row, with_baselines

FAR = {"ppl_ratio": 1.5}  # keeps the perplexity rule silent


def _results(*tiers: Row) -> Results:
    return replace(nine_tiers(), tiers=tiers)


def test_a_tier_that_a_smaller_one_beats_is_not_recommended() -> None:
    large = row("L", 9_000_000_000, divergence(0.03, 0.02, ppl_ratio=1.01, ppl_ratio_error=0.0))
    small = row("S", 5_000_000_000, divergence(0.02, 0.02, ppl_ratio=1.2, ppl_ratio_error=0.0))
    assert close_to_reference(_results(large, small)) is None
    assert highlights(_results(large, small)) == ()


def test_the_one_to_take_is_the_smallest_that_is_as_good_as_the_largest() -> None:
    chosen = to_take(nine_tiers())
    assert chosen is not None
    assert chosen.name == "I-Balanced"
    alike = [
        row(name, size, divergence(mean, 0.01, **FAR))
        for name, size, mean in (("A", 9, 0.30), ("B", 8, 0.31), ("C", 7, 0.305), ("D", 6, 0.9))
    ]
    smallest = to_take(_results(*alike))
    assert smallest is not None
    assert smallest.name == "C"  # D is surely worse than A
    assert to_take(_results()) is None


def test_with_too_little_text_the_least_divergent_is_the_one_to_take() -> None:
    results = nine_tiers()
    few = replace(results, evaluation=replace(results.evaluation, chunks=evidence.CHUNKS - 1))
    tiers = [row(n, s, divergence(m, 0.01, **FAR)) for n, s, m in (("A", 9, 0.3), ("B", 8, 0.29))]
    chosen = to_take(replace(few, tiers=tuple(tiers)))
    assert chosen is not None
    assert chosen.name == "B"


def test_rows_stand_by_size_below_the_reference() -> None:
    rows = card_rows(with_baselines())
    assert (rows[0].kind, rows[0].title) == ("reference", "BF16 (reference)")
    sizes = [each.bytes for each in rows[1:]]
    assert sizes == sorted(sizes, reverse=True)
    titles = {each.title for each in rows}
    assert {"APEX I-Mini", "llama.cpp Q8_0"} <= titles


def test_what_others_measured_stands_in_the_table_only_where_it_has_a_kind() -> None:
    named = Imported(name="X", origin="a log", kind="tier", bytes=7, choices={"T": 0.5})
    stranger = Imported(name="Y", origin="a log", intervals={"T": (0.4, 0.6)}, choices={"T": 0.5})
    results = replace(nine_tiers(), imported=(named, stranger))
    (last,) = (each for each in card_rows(results) if each.name == "X")
    assert (last.title, last.names, last.shares["T"].low) == ("APEX X", ("X",), None)
    (other,) = elsewhere(results)
    assert (other.kind, other.bytes) == ("other", 0)
    assert (other.shares["T"].low, other.shares["T"].high) == (0.4, 0.6)


def test_a_reference_that_others_measured_takes_the_place_of_ours() -> None:
    imported = Imported(name="F16", origin="a log", kind="reference", bytes=9, perplexity=7.0)
    rows = card_rows(replace(nine_tiers(), imported=(imported,)))
    assert [each.name for each in rows if each.kind == "reference"] == ["F16"]


def test_tiers_that_are_one_file_are_named_together_and_counted_once() -> None:
    results = coinciding()
    assert [each.name for each in distinct(results)] == ["I-Balanced", "Balanced"]
    assert row_names(results, results.tiers[0]) == ["Balanced", "Quality"]
    assert [each.label for each in files_of(results)] == [
        "I-Balanced = I-Quality",
        "Balanced = Quality",
    ]


@pytest.mark.parametrize(
    ("means", "errors", "answer"),
    [
        ((0.010, 0.011), (1e-4, 1e-4), True),
        ((0.011, 0.010), (1e-4, 1e-4), False),
        ((0.010, 0.0101), (1e-4, 1e-4), None),  # within both errors
    ],
)
def test_without_a_test_errors_decide_which_diverges_less(
    means: tuple[float, float], errors: tuple[float, float], answer: bool | None
) -> None:
    tiers = [row(name, 9, divergence(*pair)) for name, pair in
             zip("AB", zip(means, errors, strict=True), strict=True)]  # fmt: skip
    results = _results(*tiers)
    first, second = (entry(tier, "tier") for tier in tiers)
    assert less_divergent(results, first, second) is answer
    few = replace(results, evaluation=replace(results.evaluation, chunks=evidence.CHUNKS - 1))
    assert less_divergent(few, first, second) is None


def test_perplexities_are_compared_by_their_ratios_where_both_are_known() -> None:
    """Errors of perplexities hold what the text has in common; those of ratios do not."""
    close = [row(name, 9, divergence(0.01, 1e-4, ppl_ratio=ratio, ppl_ratio_error=1e-3))
             for name, ratio in (("A", 1.01), ("B", 1.02))]  # fmt: skip
    results = _results(*close)
    first, second = (entry(tier, "tier") for tier in close)
    assert less_perplexed(results, first, second) is True
    bare = replace(second, ratio=None)
    assert less_perplexed(results, first, bare) is None


def test_files_that_a_smaller_one_beats_are_not_recommended() -> None:
    names = [each.name for each in recommended(nine_tiers())]
    assert names == ["I-Balanced", "I-Quality", "I-Compact", "I-Mini", "I-Nano", "I-Micro"]
