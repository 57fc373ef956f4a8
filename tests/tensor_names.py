"""Names of tensors as makers of mixtures publish them, one layer of each family.

From the modules of transformers and of makers' own code, as their checkpoints save them.
"""

from __future__ import annotations

import re
from typing import Any

from bot.predict.converter_classes import CLASSES
from bot.records.model import HeaderTensor
from tests.headers import config, count, tensors

_AROUND = "model.embed_tokens model.norm lm_head"
_ATTENTION = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
_BIASES = "self_attn.q_proj.bias self_attn.k_proj.bias self_attn.v_proj.bias"
_QK = "self_attn.q_norm self_attn.k_norm"
_NORMS = "input_layernorm post_attention_layernorm"
_DENSE = "mlp.gate_proj mlp.up_proj mlp.down_proj"
_EXPERTS = "mlp.experts.0.gate_proj mlp.experts.0.up_proj mlp.experts.0.down_proj"
_SHARED = "mlp.shared_experts.gate_proj mlp.shared_experts.up_proj mlp.shared_experts.down_proj"
_W = "block_sparse_moe.experts.0.w1 block_sparse_moe.experts.0.w2 block_sparse_moe.experts.0.w3"
_LATENT = (
    "self_attn.q_proj self_attn.q_a_proj self_attn.q_a_layernorm self_attn.q_b_proj "
    "self_attn.kv_a_proj_with_mqa self_attn.kv_a_layernorm self_attn.kv_b_proj self_attn.o_proj"
)

# outside of layers, and within one; `.weight` is left out
NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "afmoe": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "self_attn.gate_proj pre_mlp_layernorm post_mlp_layernorm mlp.router.gate",
            "mlp.expert_bias",
        ),
    ),
    "arctic": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            _W,
            "residual_layernorm block_sparse_moe.gate residual_mlp.w1 residual_mlp.w2",
            "residual_mlp.w3",
        ),
    ),
    "bailingmoe": (
        "model.word_embeddings model.norm lm_head",
        (
            _NORMS,
            _EXPERTS,
            _SHARED,
            "attention.query_key_value attention.dense mlp.gate",
        ),
    ),
    "bailingmoe2": (
        "model.word_embeddings model.norm lm_head",
        (
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "attention.query_key_value attention.dense attention.query_layernorm",
            "attention.key_layernorm mlp.gate mlp.gate.expert_bias",
        ),
    ),
    "deepseek": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "mlp.gate",
        ),
    ),
    "deepseek2": (
        _AROUND,
        (
            _LATENT,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "mlp.gate mlp.gate.e_score_correction_bias",
        ),
    ),
    "dots1": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "mlp.gate mlp.gate.e_score_correction_bias",
        ),
    ),
    "ernie4_5-moe": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "mlp.gate mlp.moe_statics.e_score_correction_bias",
        ),
    ),
    "exaone-moe": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "mlp.gate mlp.e_score_correction_bias",
        ),
    ),
    "glm4moe": (
        _AROUND,
        (
            _ATTENTION,
            _BIASES,
            _QK,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "mlp.gate mlp.gate.e_score_correction_bias",
        ),
    ),
    "glm-dsa": (
        _AROUND,
        (
            _LATENT,
            _NORMS,
            _DENSE,
            _EXPERTS,
            _SHARED,
            "mlp.gate mlp.gate.e_score_correction_bias self_attn.indexer.wq_b",
            "self_attn.indexer.wk self_attn.indexer.k_norm self_attn.indexer.k_norm.bias",
            "self_attn.indexer.weights_proj",
        ),
    ),
    "gpt-oss": (
        _AROUND,
        (
            _ATTENTION,
            _BIASES,
            _NORMS,
            "self_attn.o_proj.bias self_attn.sinks mlp.router mlp.router.bias",
            "mlp.experts.gate_up_proj mlp.experts.gate_up_proj_bias mlp.experts.down_proj",
            "mlp.experts.down_proj_bias",
        ),
    ),
    "granitemoe": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            "block_sparse_moe.router.layer block_sparse_moe.input_linear",
            "block_sparse_moe.output_linear shared_mlp.input_linear shared_mlp.output_linear",
        ),
    ),
    "granitehybrid": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            "block_sparse_moe.router.layer block_sparse_moe.input_linear",
            "block_sparse_moe.output_linear shared_mlp.input_linear shared_mlp.output_linear",
            "mamba.A_log mamba.D mamba.dt_bias mamba.conv1d mamba.conv1d.bias mamba.in_proj",
            "mamba.out_proj mamba.norm",
        ),
    ),
    "grovemoe": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _EXPERTS,
            "mlp.gate mlp.chunk_experts.0.gate_proj mlp.chunk_experts.0.up_proj",
            "mlp.chunk_experts.0.down_proj",
        ),
    ),
    "hunyuan-moe": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            _EXPERTS,
            "self_attn.query_layernorm self_attn.key_layernorm mlp.gate.wg",
            "mlp.shared_mlp.gate_proj mlp.shared_mlp.up_proj mlp.shared_mlp.down_proj",
        ),
    ),
    "jamba": (
        "model.embed_tokens model.final_layernorm lm_head",
        (
            _ATTENTION,
            "input_layernorm pre_ff_layernorm feed_forward.router mamba.A_log mamba.D",
            "mamba.dt_proj mamba.dt_proj.bias mamba.conv1d mamba.conv1d.bias mamba.in_proj",
            "mamba.out_proj mamba.x_proj mamba.dt_layernorm mamba.b_layernorm",
            "mamba.c_layernorm feed_forward.gate_proj feed_forward.up_proj",
            "feed_forward.down_proj feed_forward.experts.0.gate_proj",
            "feed_forward.experts.0.up_proj feed_forward.experts.0.down_proj",
        ),
    ),
    "lfm2moe": (
        "model.embed_tokens model.embedding_norm",
        (
            "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj",
            "self_attn.q_layernorm self_attn.k_layernorm operator_norm ffn_norm conv.conv",
            "conv.in_proj conv.out_proj feed_forward.gate feed_forward.expert_bias",
            "feed_forward.w1 feed_forward.w2 feed_forward.w3 feed_forward.experts.0.w1",
            "feed_forward.experts.0.w2 feed_forward.experts.0.w3",
        ),
    ),
    "llada-moe": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _EXPERTS,
            "mlp.gate",
        ),
    ),
    "llama": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            _W,
            "block_sparse_moe.gate",
        ),
    ),
    "mimo2": (
        _AROUND,
        (
            _ATTENTION,
            _BIASES,
            _NORMS,
            _DENSE,
            _EXPERTS,
            "self_attn.attention_sink_bias mlp.gate mlp.gate.e_score_correction_bias",
        ),
    ),
    "minicpm": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            _DENSE,
            "mlp.gate mlp.experts.0.w1 mlp.experts.0.w2 mlp.experts.0.w3",
        ),
    ),
    "minimax-m2": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _W,
            "block_sparse_moe.gate block_sparse_moe.e_score_correction_bias",
        ),
    ),
    "mistral4": (
        _AROUND,
        (
            _LATENT,
            _NORMS,
            _SHARED,
            "mlp.gate mlp.experts.gate_up_proj mlp.experts.down_proj",
        ),
    ),
    "olmoe": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _EXPERTS,
            "mlp.gate",
        ),
    ),
    "phimoe": (
        "model.embed_tokens model.norm lm_head model.norm.bias lm_head.bias",
        (
            _ATTENTION,
            _BIASES,
            _NORMS,
            _W,
            "self_attn.o_proj.bias input_layernorm.bias post_attention_layernorm.bias",
            "block_sparse_moe.gate",
        ),
    ),
    "qwen2moe": (
        _AROUND,
        (
            _ATTENTION,
            _BIASES,
            _NORMS,
            _EXPERTS,
            "mlp.gate mlp.shared_expert_gate mlp.shared_expert.gate_proj",
            "mlp.shared_expert.up_proj mlp.shared_expert.down_proj",
        ),
    ),
    "qwen3next": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _EXPERTS,
            "mlp.gate mlp.shared_expert_gate linear_attn.A_log linear_attn.dt_bias",
            "linear_attn.conv1d linear_attn.in_proj_qkvz linear_attn.in_proj_ba",
            "linear_attn.norm linear_attn.out_proj mlp.shared_expert.gate_proj",
            "mlp.shared_expert.up_proj mlp.shared_expert.down_proj",
        ),
    ),
    "qwen35moe": (
        _AROUND,
        (
            "linear_attn.in_proj_qkv linear_attn.in_proj_z linear_attn.in_proj_a",
            "linear_attn.in_proj_b",
        ),
    ),
    "qwen3vlmoe": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            "mlp.gate mlp.experts.gate_up_proj mlp.experts.down_proj",
        ),
    ),
    "rnd1": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _EXPERTS,
            "mlp.gate",
        ),
    ),
    "smallthinker": (
        _AROUND,
        (
            _ATTENTION,
            _NORMS,
            "block_sparse_moe.primary_router block_sparse_moe.experts.0.gate",
            "block_sparse_moe.experts.0.up block_sparse_moe.experts.0.down",
        ),
    ),
    "step35": (
        _AROUND,
        (
            _ATTENTION,
            _QK,
            _NORMS,
            _DENSE,
            "self_attn.g_proj moe.gate moe.router_bias moe.gate_proj moe.up_proj",
            "moe.down_proj share_expert.gate_proj share_expert.up_proj share_expert.down_proj",
        ),
    ),
    "grok": (
        "transformer.in_out_embed transformer.rms_norm lm_head",
        (
            "multi_head_attention.query multi_head_attention.key multi_head_attention.value",
            "multi_head_attention.linear rms_norm rms_norm_1 rms_norm_2 rms_norm_3 router",
        ),
    ),
    "kimi-linear": (_AROUND, ("self_attn.g_a_proj self_attn.b_proj",)),
}
_BARE = ("bias", "sinks", "A_log", ".D", "experts.gate_up_proj", "experts.down_proj")


def model(family: str) -> tuple[dict[str, Any], list[HeaderTensor]]:
    """A config and headers with all names of a family, in shapes that tell experts."""
    around, layers = NAMES[family]
    prefix = "transformer.decoder_layer.0" if family == "grok" else "model.layers.0"
    names = [*around.split(), *(f"{prefix}.{name}" for part in layers for name in part.split())]
    whole = (name if name.endswith(_BARE) else f"{name}.weight" for name in names)
    stacked = re.compile(r"experts\.(gate_up|down)_proj$|(moe\.\w+|(input|output)_linear)\.weight$")
    shapes = {name: (8, 512, 512) if stacked.search(name) else (512, 512) for name in whole}
    kind = family if family == "mistral4" else ""
    (name, *_) = CLASSES.get(family) or CLASSES["mistral3"]
    return config(name, kind, 1, **count()), tensors(shapes)
