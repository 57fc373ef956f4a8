"""Rows of llama.cpp's file of log-probabilities, and the file itself."""

import math
from pathlib import Path

import numpy as np
import pytest

from bot.errors import BuildError
from bot.measures import logits
from tests.evaluation import chunks_of, packed, refer, some_logits, unpacked


def test_packed_log_probabilities_come_back_within_half_a_step() -> None:
    rows = some_logits(5, 101)
    codes = packed(rows)
    assert codes.shape == (5, 2 * 51 + 4)
    back = unpacked(codes, 101)
    for row, exactly in zip(back, rows.astype(np.float64), strict=True):
        exact = exactly - np.log(np.exp(exactly).sum())
        likely = exact > exact.max() - 15.9
        step = 16 / 65535
        assert np.abs(row - exact)[likely].max() < 0.51 * step + 2e-6


def test_rows_of_equal_logits_pack() -> None:
    back = unpacked(packed(np.zeros((1, 64), np.float32)), 64)
    assert np.allclose(back, -math.log(64))


def test_packing_tells_the_likelihood_of_the_true_token() -> None:
    rows, out = some_logits(3, 50), np.empty((3, logits.width(50)), np.uint16)
    targets = np.array([4, 0, 49], np.int32)
    exact = np.log(np.exp(rows.astype(np.float64)).sum(1)) - rows[np.arange(3), targets]
    assert logits.pack(rows, targets, out) == pytest.approx(exact, abs=1e-5)
    assert logits.nll_of(rows, targets) == pytest.approx(exact, abs=1e-5)


def test_a_cut_file_of_log_probabilities_is_refused(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    base = tmp_path / "reference.logits"
    refer(demo_model, chunks_of(demo_model, demo_text, 128, 2), base)
    content = base.read_bytes()
    for cut_at in (4, 15, len(content) // 2, len(content) - 1):
        base.write_bytes(content[:cut_at])
        with pytest.raises(BuildError, match="measure the reference again"):
            logits.open_base(base)
    base.write_bytes(content)
    with logits.open_base(base) as opened:
        base.write_bytes(content[:5000])
        with pytest.raises(BuildError, match="became shorter"):
            opened.read(0, 4)
