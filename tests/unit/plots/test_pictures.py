"""Plots are drawn in a child: what comes back, what is left out, and with which reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.apart import sandbox
from bot.errors import CapacityError
from bot.plots import pictures
from tests.unit.card.samples import divergence, drawn, nine_tiers, row

NAMES = (
    "$\\frac{",
    "$x^2$ | <b>",
    "\x00\x1b[31m\x9b",
    "x" * 100_000,
    "\u202eمرحبا שלום",
    "模型 🦊👩‍🚀",
    "",
)


@pytest.mark.road
def test_the_child_draws_what_would_be_drawn_here(tmp_path: Path) -> None:
    """Every name that could break a plot, each on a row of its own: all plots are there."""
    results = nine_tiers()
    tiers = tuple(
        replace(tier, name=f"{NAMES[i % len(NAMES)]}{i}") for i, tier in enumerate(results.tiers)
    )
    model = replace(results.architecture, name=NAMES[0])
    reference = replace(results.reference, name=NAMES[2])
    results = replace(results, release=None, architecture=model, tiers=tiers, reference=reference)
    assert pictures.draw_pictures(results, tmp_path / "child" / "plots") == {}
    _, plot_files = drawn(results, tmp_path / "here" / "plots")
    for path in plot_files:
        assert (tmp_path / "child" / "plots" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.road
def test_a_plot_that_breaks_is_left_out_alone(tmp_path: Path) -> None:
    """A number that no axis can show: beyond the largest there is no room for a margin."""
    results = nine_tiers()
    first = results.tiers[0]
    perplexity = first.scores.perplexity
    assert perplexity is not None
    wild = replace(perplexity, value=1.7e308)
    tiers = (replace(first, scores=replace(first.scores, perplexity=wild)), *results.tiers[1:])
    folder = tmp_path / "plots"
    folder.mkdir()
    (folder / "size-vs-ppl.svg").write_text("of an earlier time")
    lacking = pictures.draw_pictures(replace(results, tiers=tiers), folder)
    assert list(lacking) == ["size-vs-ppl"]
    drawn_ones = {"size-vs-kld.svg", "kl-max.svg", "accuracy.svg"}
    assert {path.name for path in folder.glob("*.svg")} == drawn_ones
    assert pictures.lacking_plots(lacking)[0].startswith("without its plot size-vs-ppl: ")


def test_a_child_that_fails_costs_the_plots_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LIMITS", replace(pictures.LIMITS, memory=24 << 20))
    lacking = pictures.draw_pictures(nine_tiers(), tmp_path / "plots")
    assert set(lacking) == {drawing.name for drawing in pictures.drawings_of(nine_tiers())}
    assert not list(tmp_path.rglob("*.png"))


def test_a_system_without_the_isolation_that_is_asked_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "none")
    with pytest.raises(CapacityError, match="isolation is cell"):
        pictures.draw_pictures(nine_tiers(), tmp_path / "plots", "cell")


@pytest.mark.parametrize("mean", [None, 0.0, -1e-6])
def test_what_has_no_place_on_a_logarithmic_axis_is_left_out(mean: float | None) -> None:
    tier = row("A", 10**9, divergence(mean, 1e-6, same_top=1.0) if mean is not None else None)
    images, _ = pictures.pictures(replace(nine_tiers(), tiers=(tier,)), "plots")
    assert "plots/size-vs-kld.png" not in [picture.light for picture in images]
