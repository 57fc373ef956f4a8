"""Which layer has which attention, in words."""

from __future__ import annotations

import pytest

from bot.records.patterns import attention_pattern, ordinal


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((), "unknown"),
        (("full",) * 3, "full attention in every layer"),
        (
            ("linear", "linear", "linear", "full") * 3,
            "full attention every 4th layer, linear otherwise",
        ),
        (
            ("sliding", "full", "sliding") * 2,
            "full attention every 3rd layer from layer 2, sliding otherwise",
        ),
        (
            ("full", "sliding", "full", "sliding", "sliding", "full"),
            "sliding attention in 3 layers, full attention in 3 layers",
        ),
        (
            ("none", "full", "sparse", "sparse"),
            "sparse attention in 2 layers, no attention in 1 layer, full attention in 1 layer",
        ),
    ],
)  # fmt: skip
def test_a_pattern_in_words(layers: tuple[str, ...], words: str) -> None:
    assert attention_pattern(layers) == words


def test_ordinals() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th",
    ]  # fmt: skip
