"""Changes of the converter by name and shape; shapes have the length of a row last."""

from __future__ import annotations

import pytest

from bot.predict.reshaping import Pieces, Shape, Sizes, change

SIZES = Sizes(family="qwen3moe", experts=8, hidden=512, nope=128, value=64, linear_values=256)
FUSED = Sizes(family="gemma4", experts=8, hidden=512, nope=0, value=0, linear_values=0)


@pytest.mark.parametrize(
    ("name", "shape", "pieces"),
    [
        # routed experts: stacked, turned where rows lie across, gate and up apart
        ("mlp.experts.up_proj.weight", (8, 256, 512), [("ffn_up_exps.weight", (8, 256, 512))]),
        ("mlp.experts.w2.weight", (8, 256, 512), [("ffn_down_exps.weight", (8, 512, 256))]),
        (
            "mlp.experts.gate_up_proj",
            (8, 512, 128),
            [("ffn_gate_exps.weight", (8, 64, 512)), ("ffn_up_exps.weight", (8, 64, 512))],
        ),
        ("ffn.experts.mlp.w1", (8 * 256, 512), [("ffn_gate_exps.weight", (8, 256, 512))]),
        ("ffn.experts.mlp.w2", (8 * 256, 512), [("ffn_down_exps.weight", (8, 512, 256))]),
        (
            "mlp.experts.gate_up_proj_bias",
            (8, 128),
            [("ffn_gate_exps.bias", (8, 64)), ("ffn_up_exps.bias", (8, 64))],
        ),
        ("mlp.experts.gate_up_proj", (8, 512, 127), None),  # no two halves
        (
            "mlp.shared_expert.down_proj.weight",
            (512, 64),
            [("ffn_down_shexp.weight", (512, 64))],
        ),
        (
            "mlp.chunk_experts.up_proj.weight",
            (4, 64, 512),
            [("ffn_up_chexps.weight", (4, 64, 512))],
        ),
        # attention
        (
            "self_attn.kv_b_proj.weight",
            (4 * 192, 96),
            [("attn_k_b.weight", (4, 96, 128)), ("attn_v_b.weight", (4, 64, 96))],
        ),
        ("self_attn.kv_b_proj.weight", (100, 96), None),
        (
            "linear_attn.in_proj_qkvz.weight",
            (768, 512),
            [("attn_qkv.weight", (512, 512)), ("attn_gate.weight", (256, 512))],
        ),
        ("linear_attn.conv1d.weight", (96, 1, 4), [("ssm_conv1d.weight", (96, 4))]),
        ("self_attn.q_conv1d.weight", (96, 1, 4), [("ssm_conv1d_q.weight", (1, 96, 1, 4))]),
        # a gate with a row for each expert is a router
        ("ffn.gate.weight", (8, 512), [("ffn_gate_inp.weight", (8, 512))]),
        ("ffn.gate.weight", (256, 512), None),
        ("self_attn.q_proj.weight", (512, 512), None),
    ],
)
def test_each_change(name: str, shape: Shape, pieces: Pieces | None) -> None:
    assert change(name, shape, SIZES) == pieces


def test_a_family_that_keeps_gate_and_up_together() -> None:
    name, shape = "moe.experts.gate_up_proj", (8, 128, 512)
    assert change(name, shape, FUSED) == [("ffn_gate_up_exps.weight", shape)]


def test_sizes_are_the_configs_and_zero_where_it_has_none() -> None:
    config = {
        "text_config": {"n_routed_experts": 8, "hidden_size": 512, "qk_nope_head_dim": 128},
        "v_head_dim": 64,
    }
    sizes = Sizes.of(config, "deepseek2")
    assert (sizes.experts, sizes.hidden, sizes.nope, sizes.value) == (8, 512, 128, 64)
    assert sizes.linear_values == 0
