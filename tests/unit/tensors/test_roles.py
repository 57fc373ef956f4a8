"""Roles by names of tensors, and what llama.cpp does with a tensor by its shape."""

from __future__ import annotations

import numpy as np
import pytest

from bot.clients.llama import ggml
from bot.records.model import Tensor
from bot.tensors.roles import (
    SHORT_BLOCKS,
    allows_quantization,
    layer_of,
    role_of,
    stored_type,
)
from bot.tensors.sizes import BLOCKS, bits_per_weight, tensor_bytes


def tensor(name: str, *shape: int, kind: str = "BF16") -> Tensor:
    return Tensor(name=name, shape=shape, type=kind, bytes=tensor_bytes(kind, shape))


# one of each tensor name of LLM_TENSOR_NAMES (src/llama-arch.cpp) that a text decoder can have
ROLES = {
    "routed expert": "ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_up_exps ffn_gate_chexps"
    " ffn_down_chexps ffn_up_chexps",
    "shared expert": "ffn_gate_shexp ffn_up_shexp ffn_down_shexp",
    "router": "ffn_gate_inp ffn_gate_inp_shexp exp_probs_b exp_probs_b_vl ffn_gate_tid2eid",
    "attention": "attn_q attn_k attn_v attn_output attn_qkv attn_gate attn_q_a attn_q_b"
    " attn_kv_a_mqa attn_kv_b attn_kv attn_k_b attn_v_b attn_output_a attn_output_b"
    " attn_compressor_kv attn_compressor_gate indexer.proj indexer.attn_k indexer.attn_q_b"
    " indexer.q_proj indexer.k_proj indexer_compressor_kv indexer_compressor_gate",
    "linear attention": "ssm_ba ssm_alpha ssm_in ssm_out ssm_x ssm_dt ssm_f_a ssm_f_b ssm_beta"
    " ssm_g_a ssm_g ssm_g_b shortconv.in_proj shortconv.out_proj",
    "dense": "ffn_gate ffn_up ffn_down ffn_latent_down ffn_latent_up ffn_routed_down ffn_routed_up",
    "norm": "attn_norm ffn_norm post_attention_norm attn_q_norm attn_k_norm post_ffw_norm"
    " post_ffw_norm_1 post_ffw_norm_2 pre_ffw_norm_2 attn_norm_2 layer_output_norm"
    " attn_output_norm ssm_norm ssm_dt_norm ssm_b_norm ssm_c_norm ffn_routed_norm attn_q_a_norm"
    " attn_kv_a_norm hc_attn_norm hc_ffn_norm ple_norm_key ple_norm_query ple_norm_conv"
    " attn_compressor_norm ffn_norm_exps attn_sub_norm ffn_sub_norm indexer.k_norm"
    " indexer.q_norm indexer_compressor_norm nextn.enorm nextn.hnorm nextn.shared_head_norm"
    " laurel_post_norm altup_router_norm post_norm",
    "MTP": "nextn.eh_proj nextn.embed_tokens nextn.shared_head_head",
    "kept": "ssm_conv1d ssm_conv1d_q ssm_conv1d_k ssm_conv1d_v shortconv.conv attn_sinks"
    " attn_rot_embd rope_freqs rope_factors_long rope_factors_short layer_output_scale"
    " attn_compressor_ape indexer_compressor_ape hc_attn_fn hc_attn_base hc_attn_scale"
    " hc_ffn_fn hc_attn_down hc_ffn_inject attn_res_score ffn_res_score ple_key ple_value"
    " ple_conv1d altup_router altup_predict_coef laurel_l laurel_r inp_gate proj",
}


@pytest.mark.parametrize("role", ROLES)
def test_every_name_has_one_role(role: str) -> None:
    for name in ROLES[role].split():
        assert role_of(f"blk.7.{name}.weight") == role, name


def test_names_without_weight_and_outside_the_layers() -> None:
    expected = {
        "token_embd.weight": "embedding",
        "per_layer_token_embd.weight": "embedding",
        "output.weight": "output",
        "output_norm.weight": "norm",
        "output_norm.bias": "norm",
        "token_embd_norm.weight": "norm",
        "rope_freqs.weight": "kept",
        "output.bias": "kept",
        "blk.0.ssm_a": "kept",
        "blk.0.ssm_d": "kept",
        "blk.0.ssm_dt.bias": "kept",
        "blk.0.attn_q.bias": "kept",
        "blk.0.ffn_up_exps.scale": "kept",
        "blk.0.exp_probs_b.bias": "router",
        "blk.0.ffn_gate_inp.bias": "router",
        "blk.0.ffn_gate_inp.scale": "router",  # Gemma 4
        "blk.12345.attn_norm.weight": "norm",
    }
    assert {name: role_of(name) for name in expected} == expected
    assert (layer_of("blk.12.attn_q.weight"), layer_of("output.weight")) == (12, None)


@pytest.mark.parametrize(
    ("kind", "row", "stored"),
    [
        ("Q6_K", 256, "Q6_K"),
        ("Q6_K", 96, "Q5_1"),
        ("Q5_K", 96, "Q5_0"),
        ("Q4_K", 96, "IQ4_NL"),
        ("Q3_K", 96, "IQ4_NL"),
        ("IQ4_XS", 96, "MXFP4"),
        ("NVFP4", 96, "IQ4_NL"),
        ("MXFP4", 100, "F16"),
        ("IQ1_M", 96, "IQ4_NL"),
        ("Q8_0", 96, "Q8_0"),
        ("Q8_0", 100, "F16"),
        ("IQ2_S", 100, "F16"),
        ("Q6_K", 100, "F16"),
    ],
)
def test_rows_that_a_block_does_not_divide(kind: str, row: int, stored: str) -> None:
    assert stored_type(kind, tensor("blk.0.attn_q.weight", row, 4)) == stored


@pytest.mark.parametrize(
    ("name", "shape", "allowed"),
    [
        ("blk.0.attn_q.weight", (256, 4), True),
        ("blk.0.attn_q.weight", (256, 1), False),
        ("blk.0.ffn_up_exps.weight", (256, 1, 8), True),
        ("blk.0.attn_norm.weight", (256, 4), False),
        ("blk.0.ffn_gate_inp.weight", (256, 8), False),
        ("blk.0.ffn_gate_inp_shexp.weight", (256, 8), True),
        ("blk.0.ssm_conv1d.weight", (4, 512), False),
        ("blk.0.attn_q.bias", (256, 4), False),
        ("token_types.weight", (256, 2), False),
    ],
)
def test_what_llama_cpp_never_quantizes(name: str, shape: tuple[int, ...], allowed: bool) -> None:
    assert allows_quantization(tensor(name, *shape), "llama") is allowed


@pytest.mark.parametrize("kind", [kind for kind, (block, _) in BLOCKS.items() if block > 32])
@pytest.mark.parametrize("row", [2880, 288, 1440, 704])
def test_a_fallback_is_never_larger_than_it_must_be(kind: str, row: int) -> None:
    """No larger than what was asked for; where nothing is as small, than the next quarter bit."""
    whole = tensor("blk.0.attn_q.weight", row, 4)
    stored = stored_type(kind, whole)
    fitting = [
        bits_per_weight(short)
        for short, (block, _) in BLOCKS.items()
        if 1 < block <= 32 and row % block == 0
    ]
    most = max(bits_per_weight(kind), min(fitting) + 0.25)
    if any(bits <= bits_per_weight(kind) for bits in fitting):
        most = bits_per_weight(kind)
    assert bits_per_weight(stored) <= most


def test_the_order_of_fallbacks_is_that_of_their_errors() -> None:
    """Measured here with ggml itself, of normally distributed weights, all as important."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((16, 2880), np.float32)
    weights = np.ones(2880, np.float32)

    def error(kind: str) -> float:
        stored = np.empty(16 * ggml.row_bytes(kind, 2880), np.uint8)
        ggml.from_f32(kind, rows, weights, stored)
        back = np.empty_like(rows)
        ggml.to_f32(kind, stored, back.reshape(-1))
        return float(np.square(back - rows).mean())

    errors = [error(kind) for kind in SHORT_BLOCKS]
    assert errors == sorted(errors)
