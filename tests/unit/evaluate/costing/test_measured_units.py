"""Units of a measure, by its value."""

from __future__ import annotations

import pytest

from bot.evaluate.costing.measured_units import units_of


@pytest.mark.parametrize(
    ("measure", "value", "units"),
    [
        ("divergence", {"chunks": [0.1, 0.2, 0.3]}, 3),
        ("perplexity", {"perplexity": {}}, 7),
        ("noise", [{"chunks": 8}, {"chunks": 8}], 24),
        ("speed", [{}, {}], 1),
        ("drafts", [{}], 1),
        ("behaviour", {"prompts": ["a", "b"]}, 2),
        ("benchmark gsm8k", {"requests": 11}, 11),
        ("HellaSwag", {"tasks": 400}, 400),
    ],
)
def test_units_of_a_measure_stand_in_its_value(measure: str, value: object, units: int) -> None:
    assert units_of(measure, value, 7) == units
