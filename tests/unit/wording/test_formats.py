"""Numbers as the card writes them."""

from __future__ import annotations

import pytest

from bot.wording import formats


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.0 kB"),
        (18_204, "18.2 kB"),
        (999_960, "1.0 MB"),
        (192_412_160, "192.4 MB"),
        (999_949_999, "999.9 MB"),
        (999_960_000, "1.0 GB"),
        (1_240_000_000, "1.2 GB"),
        (267_000_000_000, "267.0 GB"),
    ],
)
def test_sizes_are_decimal_with_one_place(count: int, text: str) -> None:
    assert formats.size_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (30_532_122_624, "~31B"),
        (3_345_212_416, "~3B"),
        (14_200_000, "14.2M"),
        (999_960_000, "1.0B"),
        (812, "812"),
    ],
)
def test_parameter_counts_are_short(count: int, text: str) -> None:
    assert formats.large(count) == text


@pytest.mark.parametrize(
    ("errors", "places"),
    [
        ([0.0432, 0.048], 3),
        ([0.00011, 0.0026], 5),
        ([0.0, 0.0026], 4),
        ([], 4),
        ([0.0], 4),
        ([3.1], 2),
        ([1e-9], 6),
        ([0.01], 3),
    ],
)
def test_places_show_two_digits_of_the_smallest_error(errors: list[float], places: int) -> None:
    assert formats.error_places(errors) == places


@pytest.mark.parametrize(("values", "places"), [([4.53, 165.0], 2), ([0.00215], 5), ([], 4)])
def test_places_show_three_digits_of_the_smallest_value(values: list[float], places: int) -> None:
    assert formats.value_places(values) == places


@pytest.mark.parametrize(
    ("count", "text"),
    [(64 << 30, "64 GB"), ((64 << 30) + 1, "65 GB"), (round(23.8 * 2**30), "24 GB"), (9, "~1 GB")],
)
def test_sizes_can_be_rounded_up_in_gib(count: int, text: str) -> None:
    assert formats.size_text(count, "GiB rounded up") == text


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(6.7525, 3, "6.753"), (0.0145, 3, "0.015"), (2.5, 0, "3"), (float("inf"), 2, "—")],
)
def test_halves_round_away_from_zero(value: float, places: int, text: str) -> None:
    assert formats.fixed(value, places) == text
    assert formats.percent(0.8325) == "83.3%"


def test_a_value_and_its_error_have_the_same_places() -> None:
    assert formats.with_error(0.0102749, 0.000113, 5) == "0.01027 ± 0.00011"
    assert formats.percent(0.8275) == "82.8%"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.7e308, None, "1.7e+308"),
        (-3e15, None, "-3.0e+15"),
        (9.9e14, 1e-20, "990000000000000.000000 ± 0.000000"),
        (1.5e300, 2e299, "1.5e+300 ± 2.0e+299"),
    ],
)
def test_what_a_broken_model_measures_can_be_written(
    value: float, error: float | None, text: str
) -> None:
    places = formats.error_places([error], 1)
    assert formats.with_error(value, error, places) == text
    assert formats.percent(value) in ("—", "99000000000000000.0%")
