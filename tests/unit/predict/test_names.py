"""Names of real families' tensors are all known: a plan stops at any other."""

from __future__ import annotations

import pytest

from bot.clients.files.gguf import tensor_names
from bot.predict.conversion import predict
from bot.tensors.stored import read_content
from tests.tensor_names import NAMES, model


@pytest.mark.parametrize("family", NAMES)
def test_every_name_of_a_family_is_known(family: str) -> None:
    config, tensors = model(family)
    content = read_content(config, tensors)
    found = predict(config, content)
    assert (found.family, found.guessed) == (family, ())
    assert sum(tensor.parameters for tensor in found.tensors) == content.weights("main")


def test_looking_at_one_family_changes_no_other() -> None:
    """The gguf package writes Arctic's names into the table that all families share."""
    name = "model.layers.0.post_attention_layernorm.weight"
    tensor_names("arctic")
    assert tensor_names("qwen2moe")(name) == "blk.0.ffn_norm.weight"
