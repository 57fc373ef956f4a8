"""Sampling settings: out of a header, into Ollama's file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.catalogue.ollama_params import params_text
from bot.clients.files import gguf
from bot.predict.architecture import architecture_of
from tests.unit.card.samples import nine_tiers


def test_settings_are_called_as_ollama_calls_them() -> None:
    told = (("temp", 0.6), ("top_k", 20), ("penalty_repeat", 1.05), ("penalty_last_n", 64))
    text = params_text(replace(nine_tiers().architecture, sampling=told))
    assert text is not None
    assert json.loads(text) == {
        "temperature": 0.6, "top_k": 20, "repeat_penalty": 1.05, "repeat_last_n": 64,
    }  # fmt: skip


def test_without_settings_there_is_no_file() -> None:
    assert params_text(nine_tiers().architecture) is None


@pytest.mark.parametrize(
    ("value", "read"),
    [(float(np.float32(0.7)), 0.7), (20, 20), (float("nan"), None), ("hot", None), (True, None)],
)
def test_a_headers_settings_are_numbers_as_they_were_meant(
    demo_model: Path, value: object, read: float | None
) -> None:
    header = gguf.read_gguf(demo_model)
    metadata = {**header.metadata, "general.sampling.temp": value}
    expected = () if read is None else (("temp", read),)
    assert architecture_of(metadata, header.tensors).sampling == expected
