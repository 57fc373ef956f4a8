"""Names of steps are read as they were written, and nothing else is."""

from __future__ import annotations

import pytest

from bot.records.steps import Kind, MeasureStep, TierStep


@pytest.mark.parametrize("kind", ["quantize", "free", "check"])
def test_a_step_of_a_tier(kind: Kind) -> None:
    step = TierStep(kind, "I-Mini")
    assert step.name == f"{kind} I-Mini"
    assert TierStep.read(step.name) == step


@pytest.mark.parametrize("name", ["quantize", "quantize ", "make I-Mini", "free a b", "results"])
def test_what_is_no_step_of_a_tier(name: str) -> None:
    assert TierStep.read(name) is None


def test_a_measure_is_named_by_the_beginnings_of_hashes() -> None:
    step = MeasureStep.of("multiple choice", "ab" * 32, "cd" * 32)
    assert step.name == f"multiple choice {'ab' * 6} {'cd' * 8}"
    assert MeasureStep.read(step.name) == step


@pytest.mark.parametrize("name", ["speed", f"speed {'a' * 12}", f"speed {'g' * 12} {'a' * 16}"])
def test_what_is_no_measure(name: str) -> None:
    assert MeasureStep.read(name) is None
