"""Rows from a reader's side: their order, which coincide, which surely differ, which to take."""

from __future__ import annotations

from dataclasses import replace

from bot.card.highlights import highlights
from bot.records.measured import Row
from bot.records.results import Results
from bot.wording.rows import close_to_reference, example
from tests.unit.card.samples import divergence, nine_tiers, row

FAR = {"ppl_ratio": 1.5}  # keeps the perplexity rule silent


def _results(*tiers: Row) -> Results:
    return replace(nine_tiers(), tiers=tiers)


def test_a_tier_that_a_smaller_one_beats_is_not_recommended() -> None:
    large = row("L", 9_000_000_000, divergence(0.03, 0.02, ppl_ratio=1.01, ppl_ratio_error=0.0))
    small = row("S", 5_000_000_000, divergence(0.02, 0.02, ppl_ratio=1.2, ppl_ratio_error=0.0))
    assert close_to_reference(_results(large, small)) is None
    assert highlights(_results(large, small)) == ()


def test_the_example_is_near_the_reference_or_the_least_divergent() -> None:
    chosen = example(nine_tiers())
    assert chosen is not None
    assert chosen.name == "I-Mini"
    far = [row(n, s, divergence(m, 0.01, **FAR)) for n, s, m in (("A", 9, 0.3), ("B", 8, 0.9))]
    least = example(_results(*far))
    assert least is not None
    assert least.name == "A"
    assert example(_results()) is None
