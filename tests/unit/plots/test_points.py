"""What plots show: points with their errors, the Pareto front, the same in words."""

from __future__ import annotations

from bot.plots.points import Point, alt_text, front, points
from tests.unit.card.samples import (
    coinciding,
    nine_tiers,
    with_speed,
)


def test_the_alternative_text_holds_the_numbers() -> None:
    assert alt_text(coinciding(), "kld") == (
        "Plot of file size against mean KL divergence from BF16 in nats per token, logarithmic, "
        "lower is better: I-Balanced = I-Quality 5.1 GB, 0.01030 ± 0.00010; "
        "Balanced = Quality 5.1 GB, 0.01170 ± 0.00010."
    )
    assert alt_text(coinciding(), "kl-max").endswith(
        "I-Balanced = I-Quality 4.12; Balanced = Quality 4.68."
    )
    assert "BF16 82.8% (78.8–86.2)" in alt_text(coinciding(), "accuracy")
    assert "tg128: BF16 62.0 ± 0.4; " in alt_text(with_speed(), "speed")


def test_the_pareto_front() -> None:
    names = [point.label for point in front(points(nine_tiers()))]
    assert names == ["I-Micro", "I-Nano", "I-Mini", "I-Compact", "I-Quality", "I-Balanced"]
    worse = Point(label="large and far", kind="plain", bytes=30_000_000_000, value=0.2, error=0.1)
    assert [p.label for p in front([*points(nine_tiers()), worse])] == names
