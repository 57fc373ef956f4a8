"""Perplexity and its error; a reference's file as it is written."""

import math
from pathlib import Path

import numpy as np
import pytest

from bot.measures import perplexity
from tests.evaluation import chunks_of, refer


def test_mean_and_error_by_hand() -> None:
    values = np.array([1.0, 2.0] * 8)
    mean, error = perplexity.mean_and_error(values)
    assert mean == 1.5
    assert error == pytest.approx(0.5 / math.sqrt(15))
    assert perplexity.mean_and_error(values[:10])[1] == 0.0  # too few for an error


def test_perplexity_is_the_exponential_of_the_mean() -> None:
    perplexity_ = perplexity.perplexity_of(np.array([1.0, 2.0] * 8, np.float32))
    assert perplexity_.value == pytest.approx(math.exp(1.5))
    assert perplexity_.error == pytest.approx(math.exp(1.5) * 0.5 / math.sqrt(15))


def test_a_reference_whose_file_is_gone_starts_anew(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    windows = chunks_of(demo_model, demo_text, 128, 2)
    base = tmp_path / "reference.logits"
    first = refer(demo_model, windows, base)
    content = base.read_bytes()
    base.unlink()
    assert refer(demo_model, windows, base) == first
    assert base.read_bytes() == content
