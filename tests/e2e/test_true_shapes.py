"""Models with the shapes of real releases: llama.cpp runs them, and tiers are made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.settings.sections import DEMO
from tests.e2e.road import Road
from tests.true_shapes import DEEPSEEK, GPT_OSS, QWEN, SHAPES
from tests.true_weights import write_model

TOKENIZER = DEMO / "tiny-moe-Q8_0.gguf"
TOKENS = 4096  # the tokenizer's own
# the fewest layers and experts that a shape has all its tensors with
SIZES = {QWEN.name: (4, 8), GPT_OSS.name: (2, 4), DEEPSEEK.name: (2, 8)}
QUICK = (QWEN.name, GPT_OSS.name)
ONE = {"context": 64, "chunks": 1}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.road if n in QUICK else pytest.mark.long) for n in SHAPES],
)
def test_a_tier_of_each_shape_is_made_and_measured(tmp_path: Path, name: str) -> None:
    """Log-probabilities of both are finite, and the tier's are near the model's."""
    model = tmp_path / f"{name}-BF16.gguf"
    size = SHAPES[name].sized(*SIZES[name], TOKENS)
    write_model(SHAPES[name], model, size, tokenizer=TOKENIZER)
    road = Road(folder=tmp_path, url="http://127.0.0.1:9", token="")
    road.settings(
        calibration=ONE,
        evaluation={**ONE, "tasks": [], "noise_chunks": 0, "behaviour": {"measure": False}},
    )
    done = road.bot("evaluate", str(model), "--profiles", "Quality", "--json")
    assert done.returncode == 0, done.stderr
    [tier] = json.loads(done.stdout)["tiers"]
    divergence = tier["scores"]["divergence"]
    assert 0 < divergence["mean"] < 0.1, divergence  # nan is neither
    assert tier["bytes"] < model.stat().st_size
