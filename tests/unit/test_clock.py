"""Times and lengths of time in words, and back."""

from __future__ import annotations

import pytest

from bot.clock import instant, iso, moment, span

AT = 1_793_614_500.0  # 2026-11-02 10:15 UTC


def test_times_for_people_and_for_machines() -> None:
    assert moment(AT) == "2026-11-02 10:15 UTC"
    assert iso(AT) == "2026-11-02T10:15:00Z"
    assert iso(None) is None


@pytest.mark.parametrize("text", ["2026-11-02T10:15:00Z", "2026-11-02T11:15:00+01:00"])
def test_times_of_machines_are_read(text: str) -> None:
    assert instant(text) == AT
    assert instant(None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_600, "1 h"),
        (3_660, "1 h 1 min"),
        (86_400 + 60, "1 d 1 min"),
        (3 * 86_400 + 4 * 3_600 + 59 * 60, "3 d 4 h"),
    ],
)
def test_a_length_of_time_has_two_units_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text
