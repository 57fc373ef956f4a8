"""Layers, experts and windows in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.card import words
from bot.records.model import StoredShare
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


SHARES = (
    StoredShare(precision="MXFP4", weights=9, bytes=5),
    StoredShare(precision="FP8", weights=3, bytes=3),
    StoredShare(precision="BF16", weights=1, bytes=2),
    StoredShare(precision="scales", weights=0, bytes=1),
)


@pytest.mark.parametrize(
    ("family", "kind", "shares", "text"),
    [
        ("qwen3moe", "BF16", SHARES, ""),
        ("deepseek4", "MXFP4", SHARES, "MXFP4, FP8 as Q8_0, BF16"),
        ("gpt-oss", "MXFP4", (SHARES[0], SHARES[2]), "MXFP4, BF16"),
        ("gpt-oss", "MXFP4", (), "MXFP4"),
    ],
)
def test_what_an_original_below_16_bits_is_measured_in(
    family: str, kind: str, shares: tuple[StoredShare, ...], text: str
) -> None:
    model = replace(
        nine_tiers().architecture, family=family, source_type=kind, source_shares=shares
    )
    assert words.native_words(model) == text
