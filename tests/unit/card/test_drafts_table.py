"""What multi-token prediction brings, on the card."""

from __future__ import annotations

from dataclasses import replace

from bot.records.measured import DraftPlace, Drafts
from bot.records.results import Results
from tests.unit.card.samples import files, nine_tiers, readme


def drafts(guesses: int, rate: float, same: int = 8) -> Drafts:
    places = (
        DraftPlace(offered=200, kept=150, low=0.686, high=0.805),
        DraftPlace(offered=200, kept=100, low=0.431, high=0.569),
    )
    return Drafts(
        guesses=guesses,
        drafts=200,
        offered=200 * guesses,
        kept=150,
        places=places[:guesses],
        rate=rate,
        rate_without=40.0,
        texts=8,
        same_texts=same,
    )


def results_with(*measured: Drafts) -> Results:
    results = nine_tiers()
    first, *rest = results.tiers
    with_drafts = replace(first, scores=replace(first.scores, drafts=measured))
    return replace(results, tiers=(with_drafts, *rest))


def card(results: Results) -> str:
    extra = replace(files(results)[0], path="mtp-Sample-30B-A3B.gguf", tier=None)
    return readme(results, files=[*files(results), extra])


def test_guesses_and_speed_of_each_tier() -> None:
    results = results_with(drafts(1, 55.0), drafts(2, 61.25))
    text = card(results)
    assert "### Multi-token prediction" in text
    assert "are in `mtp-Sample-30B-A3B.gguf`" in text
    assert "| Model | 1st kept | 2nd kept | tok/s without | tok/s with 1 | tok/s with 2 |" in text
    name = results.tiers[0].name
    assert f"| {name} | 75.0% (68.6%–80.5%) | 50.0% (43.1%–56.9%) | 40.0 | 55.0 | 61.3 |" in text
    assert "it was in all 16 texts that were written with and without" in text


def test_a_text_that_differs_is_counted() -> None:
    assert "Of 16 texts written with and without, 15 were the same" in card(
        results_with(drafts(1, 55.0), drafts(2, 61.0, same=7))
    )


def test_nothing_is_said_of_a_model_without_such_layers() -> None:
    assert "Multi-token prediction" not in readme(nine_tiers())
