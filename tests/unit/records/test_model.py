"""Tensors count weights, and integers are none."""

from __future__ import annotations

import pytest

from bot.records.model import Tensor


@pytest.mark.parametrize(
    ("kind", "parameters"), [("BF16", 24), ("Q6_K", 24), ("I32", 0), ("U8", 0), ("BOOL", 0)]
)
def test_weights_of_a_tensor(kind: str, parameters: int) -> None:
    assert Tensor(name="t", shape=(2, 3, 4), type=kind, bytes=1).parameters == parameters
