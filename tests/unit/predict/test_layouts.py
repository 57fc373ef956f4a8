"""Layouts that the converter does not read, by one name of each."""

from __future__ import annotations

import pytest

from bot.errors import SourceError
from bot.predict.layouts import LAYOUTS, require_known_layout
from tests.headers import MODELS

NAMES = {
    "model.layers.0.mlp.switch_mlp.gate_proj.weight": "MLX's layout",
    "model.layers.0.self_attn.q_proj.lora_A.default.weight": "factors of an adapter",
    "model.layers.0.self_attn.q_proj.base_layer.weight": "an adapter's training",
    "module.model.norm.weight": "a training run",
    "decoder.layers.0.mlp.experts.linear_fc1.weight": "Megatron's layout",
    "layers.0.attention.wq.weight": "Meta's and Mistral's own files",
    "model.layers.0.self_attn.q_proj.weight.absmax": "bitsandbytes",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_is_named_with_a_tensor_and_what_to_do(name: str) -> None:
    with pytest.raises(SourceError, match=NAMES[name]) as error:
        require_known_layout(["model.norm.weight", name])
    assert str(error.value).startswith(f"tensor {name!r}: ")
    assert ("choose" in str(error.value)) or ("save" in str(error.value))


def test_every_layout_has_a_name_here() -> None:
    assert len(NAMES) == len(LAYOUTS)
    for pattern, _, _ in LAYOUTS:
        assert any(pattern.search(name) for name in NAMES)


def test_names_of_known_families_are_of_no_such_layout() -> None:
    for make in MODELS:
        require_known_layout(tensor.name for tensor in make().tensors)
