"""Layers, experts and windows in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.card import words
from bot.records.recipes import Windows
from tests.unit.card.samples import nine_tiers


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (
            ("linear", "linear", "linear", "full") * 10,
            "Hybrid (full attention every 4th layer, linear/Mamba otherwise)",
        ),
        (("full",) * 24, "full attention in every layer"),
        (
            ("sliding",) * 5 + ("full",),
            "Hybrid (sliding attention in 5 layers, full attention in 1 layer)",
        ),
        (
            ("full", "sliding") * 9,
            "Hybrid (full attention every 2nd layer from layer 1, sliding otherwise)",
        ),
        (
            ("full", "linear", "linear", "full", "linear"),
            "Hybrid (full attention every 3rd layer from layer 1, linear/Mamba otherwise)",
        ),
        (
            ("full", "full", "linear", "full", "linear"),
            "Hybrid (full attention in 3 layers, linear attention in 2 layers)",
        ),
        (
            ("linear", "full", "none"),
            (
                "Hybrid (no attention in 1 layer, linear attention in 1 layer, "
                "full attention in 1 layer)"
            ),
        ),
        ((), "unknown"),
    ],
)
def test_attention(layers: tuple[str, ...], text: str) -> None:
    assert words.attention_words(layers) == text


def test_experts() -> None:
    model = nine_tiers().architecture
    assert words.experts_words(model) == "256 routed + shared (8 active per token)"
    plain = replace(model, experts=64, experts_active=6, shared_expert=False)
    assert words.experts_words(plain) == "64 routed (6 active per token)"


def test_windows() -> None:
    windows = Windows(edge=5, near=5, attention_edge=3)
    assert words.gradient(windows, 40) == "5+5 symmetric edge gradient across 40 layers"
    assert words.windows_words(windows, 40).startswith(
        "5+5 edge and 5+5 near layers, 20 of 40 in the middle"
    )
    assert "none of 16 in the middle" in words.windows_words(windows, 16)


def test_lists() -> None:
    assert words.enumerated(["A"]) == "A"
    assert words.enumerated(["A", "B"]) == "A and B"
    assert words.enumerated(["A", "B", "C"]) == "A, B and C"
