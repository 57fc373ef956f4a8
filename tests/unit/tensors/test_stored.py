"""Tensors of checkpoints: parts, layers, experts, and weights behind packed formats."""

from __future__ import annotations

from typing import Any

import pytest

from bot.tensors.stored import (
    Part,
    dropped_parts,
    expert_of,
    part_of,
    parts_by_file,
    read_content,
    without_expert,
)
from tests import headers
from tests.headers import Shape

UP = "model.layers.0.mlp.up_proj"
CONFIG = {"num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.layers.1.self_attn.q_proj.weight", "main"),
        ("model.embed_tokens.weight", "main"),
        ("model.layers.2.mlp.up_proj.weight", "mtp"),  # after the last of 2 layers
        ("mtp.layers.0.mlp.up_proj.weight", "mtp"),
        ("model.visual.blocks.0.attn.qkv.weight", "vision"),
        ("vision_tower.encoder.layers.7.mlp.weight", "vision"),
        ("audio_tower.layers.0.weight", "audio"),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "none"),
        ("model.layers.0.mlp.up_proj.weight_scale_inv", "none"),
    ],
)
def test_a_name_tells_the_part(name: str, part: Part) -> None:
    assert part_of(name, 2) == part


def test_without_a_count_of_layers_no_layer_is_the_last() -> None:
    assert part_of("model.layers.99.mlp.up_proj.weight", None) == "main"


def test_experts_have_numbers_and_share_a_name() -> None:
    name = "model.layers.3.mlp.experts.17.up_proj.weight"
    assert expert_of(name) == 17
    assert without_expert(name) == "model.layers.3.mlp.experts.up_proj.weight"
    assert expert_of("model.layers.3.mlp.shared_experts.0.up_proj.weight") is None
    assert without_expert(f"{UP}.weight") == f"{UP}.weight"


def test_an_index_becomes_parts_by_file() -> None:
    index = {
        f"{UP}.weight": "a.safetensors",
        f"{UP}.weight_scale_inv": "a.safetensors",
        "mtp.layers.0.weight": "b.safetensors",
    }
    assert parts_by_file(CONFIG, index) == {
        "a.safetensors": ("main", "none"),
        "b.safetensors": ("mtp",),
    }


def test_weights_are_counted_by_part_and_layer() -> None:
    shapes = {
        "model.embed_tokens.weight": (10, 4),
        f"{UP}.weight": (8, 4),
        "model.layers.1.mlp.up_proj.weight": (6, 4),
        "model.layers.2.mlp.up_proj.weight": (5, 4),
        "model.visual.weight": (3, 4),
    }
    content = read_content(CONFIG, headers.tensors(shapes))
    assert content.by_layer("main") == {-1: 40, 0: 32, 1: 24}
    assert content.weights("mtp", "vision") == 32
    assert (content.layers, content.mtp_layers, content.precision) == (2, 1, "BF16")
    assert content.has("vision")
    assert not content.has("audio")


@pytest.mark.parametrize(
    ("tensors", "config", "precision"),
    [
        # what is stored, with its scales, of 64 rows of 128 weights
        ({".weight": ("F8_E4M3", (64, 128)), ".weight_scale_inv": ("F32", (1, 1))}, {}, "FP8"),
        ({".weight": ("U8", (64, 64)), ".weight_scale": ("F8_E4M3", (64, 8))}, {}, "NVFP4"),
        ({".weight": ("I8", (64, 64)), ".scale": ("F8_E8M0", (64, 4))}, {}, "MXFP4"),
        ({"_blocks": ("U8", (64, 4, 16)), "_scales": ("U8", (64, 4))}, {}, "MXFP4"),
        ({".qweight": ("I32", (16, 64))}, {"bits": 4, "quant_method": "gptq"}, "INT4"),
        ({".qweight": ("I32", (128, 8))}, {"bits": 4, "quant_method": "awq"}, "INT4"),
        ({".weight_packed": ("I32", (64, 32))}, {"num_bits": 8}, "INT8"),
        ({".weight": ("U8", (64, 64)), ".weight_scale": ("F32", (64, 1))}, {}, "INT4"),
        ({".weight_packed": ("U8", (64, 64)), ".weight_scale": ("U8", (64, 4))}, {}, "MXFP4"),
    ],
)
def test_packed_weights_are_counted_as_weights(
    tensors: dict[str, tuple[str, Shape]], config: dict[str, Any], precision: str
) -> None:
    stored = [
        tensor
        for suffix, (dtype, shape) in tensors.items()
        for tensor in headers.tensors({UP + suffix: shape}, dtype)
    ]
    content = read_content(CONFIG | {"quantization_config": config}, stored)
    assert content.precision == precision
    assert content.weights("main") == 64 * 128
    weights, *scales = content.shares
    assert (weights.precision, weights.weights) == (precision, 64 * 128)
    assert weights.bytes == stored[0].bytes
    assert [share.bytes for share in scales] == [sum(t.bytes for t in stored[1:])][: len(scales)]
    assert content.bytes == sum(tensor.bytes for tensor in stored)


def test_precision_is_a_fact_of_each_tensor() -> None:
    """DeepSeek-V4 declares FP8 and keeps most of its weights in four bits."""
    model = headers.deepseek_v4()
    content = read_content(model.config, model.tensors)
    by_name = {tensor.name: tensor.precision for tensor in content.tensors}
    assert by_name["layers.1.ffn.experts.0.w1.weight"] == "MXFP4"
    assert by_name["layers.1.ffn.shared_experts.w1.weight"] == "FP8"
    assert by_name["layers.1.ffn.gate.weight"] == "BF16"
    assert by_name["layers.0.ffn.gate.tid2eid"] == "I64"
    assert {share.precision for share in content.shares} == {
        *by_name.values(),
        "scales",
    }
    assert content.bytes == sum(tensor.bytes for tensor in model.tensors)


def test_a_padded_format_hides_how_many_weights_there_are() -> None:
    stored = headers.tensors({f"{UP}.qweight": (16, 64)}, "I32")
    assert read_content(CONFIG, stored).by_layer("main") is None


def test_routing_tables_and_biases_that_nobody_reads_are_no_weights() -> None:
    shapes = {"model.layers.0.ffn.gate.tid2eid": (2, 100), "model.layers.0.ffn.gate.bias": (8,)}
    stored = headers.tensors({n: s for n, s in shapes.items() if "tid2eid" in n}, "I64")
    stored += headers.tensors({n: s for n, s in shapes.items() if n.endswith("bias")})
    content = read_content(CONFIG, stored)
    assert [tensor.name for tensor in content.tensors] == ["model.layers.0.ffn.gate.tid2eid"]
    assert content.tensors[0].is_table
    assert content.weights("main") == 0


def test_parts_that_settings_leave_out() -> None:
    assert dropped_parts("drop", "none") == {"mtp", "vision", "audio"}
    assert dropped_parts("keep", "F16") == frozenset()
