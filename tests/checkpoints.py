"""Tiny random checkpoints as a Hub would hold them: config, safetensors, tokenizer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader  # noqa: TID251 - vocabularies, which our reader steps over
from numpy.typing import NDArray

from bot.settings.sections import DEMO
from bot.toolchain.toolchain import Toolchain

H, FFN, EXPERTS, HEADS, KV, DIM = 256, 256, 4, 4, 2, 64
ODD = 288  # no whole number of 256
SPM, BPE = 1000, 50257  # vocabularies: made here; GPT-2's, from llama.cpp's models folder

Shapes = dict[str, tuple[int, ...]]
Typed = dict[str, tuple[str, tuple[int, ...]]]  # dtype, shape
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family: what its config says and the tensors its checkpoint holds."""

    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    vocabulary: int
    packed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # U8 tensors
    typed: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # any dtype
    fp8: bool = False  # linear weights in FP8 with a scale for each 128×128 block

    @property
    def fours(self) -> bool:
        """Whether its experts have four bits."""
        return bool(self.packed) or any(dtype in ("I8", "U8") for dtype, _ in self.typed.values())


# ── the parts of a layer ────────────────────────────────────────────────────────────────────


def norms(layer: str, *names: str) -> Shapes:
    return {f"{layer}.{name}.weight": (H,) for name in names}


def attention(layer: str, *, gate: int = 1, bias: bool = False, kv: int = KV) -> Shapes:
    rows = {"q_proj": gate * HEADS * DIM, "k_proj": kv * DIM, "v_proj": kv * DIM}
    shapes: Shapes = {f"{layer}.self_attn.{name}.weight": (n, H) for name, n in rows.items()}
    shapes[f"{layer}.self_attn.o_proj.weight"] = (H, HEADS * DIM)
    if bias:
        shapes |= {f"{layer}.self_attn.{name}.bias": (n,) for name, n in rows.items()}
        shapes[f"{layer}.self_attn.o_proj.bias"] = (H,)
    return shapes


def mlp(prefix: str, width: int = FFN) -> Shapes:
    return {
        f"{prefix}.gate_proj.weight": (width, H),
        f"{prefix}.up_proj.weight": (width, H),
        f"{prefix}.down_proj.weight": (H, width),
    }


def experts(layer: str) -> Shapes:
    shapes: Shapes = {f"{layer}.mlp.gate.weight": (EXPERTS, H)}
    for i in range(EXPERTS):
        shapes |= mlp(f"{layer}.mlp.experts.{i}")
    return shapes


def around(vocabulary: int, *, tied: bool, prefix: str = "model") -> Shapes:
    shapes: Shapes = {
        f"{prefix}.embed_tokens.weight": (vocabulary, H),
        f"{prefix}.norm.weight": (H,),
    }
    return shapes if tied else {**shapes, "lm_head.weight": (vocabulary, H)}


def base(architecture: str, kind: str, layers: int, vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": kind,
        "torch_dtype": "bfloat16",
        "hidden_size": H,
        "intermediate_size": FFN,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "vocab_size": vocabulary,
        "hidden_act": "silu",
        **more,
    }


# ── families ────────────────────────────────────────────────────────────────────────────────


def mixtral() -> Family:
    shapes = around(SPM, tied=False)
    for layer in (f"model.layers.{i}" for i in range(3)):
        shapes |= norms(layer, "input_layernorm", "post_attention_layernorm") | attention(layer)
        shapes[f"{layer}.block_sparse_moe.gate.weight"] = (EXPERTS, H)
        for i in range(EXPERTS):
            expert = f"{layer}.block_sparse_moe.experts.{i}"
            shapes |= {f"{expert}.w1.weight": (FFN, H), f"{expert}.w3.weight": (FFN, H)}
            shapes[f"{expert}.w2.weight"] = (H, FFN)
    more: dict[str, Any] = {
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
    }
    config = base("MixtralForCausalLM", "mixtral", 3, SPM, **more)
    return Family(config=config, shapes=shapes, vocabulary=SPM)


def granite() -> Family:
    shapes = around(SPM, tied=True)
    for layer in (f"model.layers.{i}" for i in range(3)):
        shapes |= norms(layer, "input_layernorm", "post_attention_layernorm") | attention(layer)
        moe = f"{layer}.block_sparse_moe"
        shapes[f"{moe}.router.layer.weight"] = (EXPERTS, H)
        shapes[f"{moe}.input_linear.weight"] = (EXPERTS, 2 * FFN, H)
        shapes[f"{moe}.output_linear.weight"] = (EXPERTS, H, FFN)
        shapes[f"{layer}.shared_mlp.input_linear.weight"] = (2 * FFN, H)
        shapes[f"{layer}.shared_mlp.output_linear.weight"] = (H, FFN)
    more: dict[str, Any] = {
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "tie_word_embeddings": True,
    }
    scales = {"attention_multiplier": 0.125, "embedding_multiplier": 1.5}
    scales |= {"residual_multiplier": 0.5, "logits_scaling": 2.0}
    more |= {"shared_intermediate_size": FFN, **scales}
    config = base("GraniteMoeSharedForCausalLM", "granitemoeshared", 3, SPM, **more)
    return Family(config=config, shapes=shapes, vocabulary=SPM)


def deepseek2() -> Family:
    """Multi-head latent attention, one dense layer before the sparse ones."""
    latent, rope, query = 256, 64, 128
    shapes = around(BPE, tied=True)
    for i, layer in enumerate(f"model.layers.{i}" for i in range(3)):
        own = f"{layer}.self_attn"
        shapes |= norms(layer, "input_layernorm", "post_attention_layernorm")
        shapes[f"{own}.q_a_proj.weight"] = (query, H)
        shapes[f"{own}.q_a_layernorm.weight"] = (query,)
        shapes[f"{own}.q_b_proj.weight"] = (HEADS * (DIM + rope), query)
        shapes[f"{own}.kv_a_proj_with_mqa.weight"] = (latent + rope, H)
        shapes[f"{own}.kv_a_layernorm.weight"] = (latent,)
        shapes[f"{own}.kv_b_proj.weight"] = (HEADS * 2 * DIM, latent)
        shapes[f"{own}.o_proj.weight"] = (H, HEADS * DIM)
        if i == 0:
            shapes |= mlp(f"{layer}.mlp", 2 * FFN)
        else:
            shapes |= experts(layer) | mlp(f"{layer}.mlp.shared_experts", 2 * FFN)
    more: dict[str, Any] = {
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 2,
        "num_experts_per_tok": 2,
    }
    more |= {"moe_intermediate_size": FFN, "first_k_dense_replace": 1, "kv_lora_rank": latent}
    more |= {"qk_nope_head_dim": DIM, "qk_rope_head_dim": rope, "v_head_dim": DIM}
    config = base("DeepseekV2ForCausalLM", "deepseek_v2", 3, BPE, **more)
    other = {"num_key_value_heads": HEADS, "intermediate_size": 2 * FFN}
    config |= other | {"q_lora_rank": query, "tie_word_embeddings": True}
    return Family(config=config, shapes=shapes, vocabulary=BPE)


def qwen3moe(*, fp8: bool = False, vocabulary: int = BPE) -> Family:
    shapes = around(vocabulary, tied=True)
    for layer in (f"model.layers.{i}" for i in range(3)):
        shapes |= norms(layer, "input_layernorm", "post_attention_layernorm") | attention(layer)
        shapes |= {f"{layer}.self_attn.{name}_norm.weight": (DIM,) for name in "qk"}
        shapes |= experts(layer)
    more: dict[str, Any] = {
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": FFN,
    }
    more |= {"head_dim": DIM, "norm_topk_prob": True, "tie_word_embeddings": True}
    config = base("Qwen3MoeForCausalLM", "qwen3_moe", 3, vocabulary, **more)
    if fp8:
        block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
        config["quantization_config"] = block
    return Family(config=config, shapes=shapes, vocabulary=vocabulary, fp8=fp8)


def nvfp4() -> Family:
    """Qwen3-MoE with experts as NVIDIA's modelopt packs them: 16 weights share an FP8 scale.

    A scale of its own for each expert, and one of activations (_generate_nvfp4_tensors).
    """
    family = qwen3moe(vocabulary=BPE)
    shapes, typed = dict[str, tuple[int, ...]](), Typed()
    for name, shape in family.shapes.items():
        if ".experts." not in name:
            shapes[name] = shape
            continue
        rows, columns = shape
        stem = name.removesuffix(".weight")
        typed[name] = ("U8", (rows, columns // 2))
        typed[f"{stem}.weight_scale"] = ("F8_E4M3", (rows, columns // 16))
        typed |= {f"{stem}.{scale}": ("F32", ()) for scale in ("weight_scale_2", "input_scale")}
    quantization = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    config = {**family.config, "quantization_config": quantization}
    return Family(config=config, shapes=shapes, vocabulary=BPE, typed=typed)


def qwen35moe(*, mtp: bool = True) -> Family:
    """Three linear layers and one of full attention, a vision tower, one MTP layer."""
    heads, dim, prefix = (2, 4), 64, "model.language_model"
    shapes = around(BPE, tied=False, prefix=prefix)
    for i, layer in enumerate(f"{prefix}.layers.{i}" for i in range(4)):
        shapes |= _qwen35_feed_forward(layer)
        if i == 3:
            shapes |= attention(layer, gate=2)
            shapes |= {f"{layer}.self_attn.{name}_norm.weight": (DIM,) for name in "qk"}
        else:
            shapes |= _linear(f"{layer}.linear_attn", *heads, dim)
    if mtp:
        shapes |= _qwen35_feed_forward("mtp.layers.0") | attention("mtp.layers.0", gate=2)
        shapes |= {f"mtp.layers.0.self_attn.{name}_norm.weight": (DIM,) for name in "qk"}
        shapes |= norms("mtp", "pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")
        shapes["mtp.fc.weight"] = (H, 2 * H)
    more: dict[str, Any] = {
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": FFN,
    }
    more |= {"shared_expert_intermediate_size": FFN, "head_dim": DIM, "mtp_num_hidden_layers": 1}
    more |= {"linear_num_key_heads": heads[0], "linear_num_value_heads": heads[1]}
    more |= {"linear_key_head_dim": dim, "linear_value_head_dim": dim, "linear_conv_kernel_dim": 4}
    more |= {"layer_types": ["linear_attention"] * 3 + ["full_attention"]}
    more |= {"full_attention_interval": 4, "rope_parameters": _MROPE}
    text = base("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe_text", 4, BPE, **more)
    del text["architectures"]
    vision, tower = _vision()
    return Family(
        config={
            "architectures": ["Qwen3_5MoeForConditionalGeneration"],
            "model_type": "qwen3_5_moe",
            "tie_word_embeddings": False,
            "text_config": text,
            "vision_config": vision,
        },
        shapes=shapes | tower,
        vocabulary=BPE,
    )


_MROPE = {
    "rope_type": "default",
    "rope_theta": 10000000,
    "partial_rotary_factor": 0.25,
    "mrope_section": [3, 3, 2],
    "mrope_interleaved": True,
}


def _linear(own: str, keys: int, values: int, dim: int) -> Shapes:
    width = (2 * keys + values) * dim
    return {
        f"{own}.in_proj_qkv.weight": (width, H),
        f"{own}.in_proj_z.weight": (values * dim, H),
        f"{own}.in_proj_a.weight": (values, H),
        f"{own}.in_proj_b.weight": (values, H),
        f"{own}.conv1d.weight": (width, 1, 4),
        f"{own}.A_log": (values,),
        f"{own}.dt_bias": (values,),
        f"{own}.norm.weight": (dim,),
        f"{own}.out_proj.weight": (H, values * dim),
    }


def _qwen35_feed_forward(layer: str) -> Shapes:
    return {
        **norms(layer, "input_layernorm", "post_attention_layernorm"),
        **mlp(f"{layer}.mlp.shared_expert"),
        f"{layer}.mlp.gate.weight": (EXPERTS, H),
        f"{layer}.mlp.experts.gate_up_proj": (EXPERTS, 2 * FFN, H),
        f"{layer}.mlp.experts.down_proj": (EXPERTS, H, FFN),
        f"{layer}.mlp.shared_expert_gate.weight": (1, H),
    }


def _vision() -> tuple[dict[str, Any], Shapes]:
    width, merged = 64, 256
    own = "model.visual"
    shapes: Shapes = {
        f"{own}.patch_embed.proj.weight": (width, 3, 2, 16, 16),
        f"{own}.patch_embed.proj.bias": (width,),
        f"{own}.pos_embed.weight": (16, width),
    }
    pairs = {"merger.norm": (width,), "merger.linear_fc1": (merged, merged)}
    pairs |= {"merger.linear_fc2": (H, merged)}
    for i in range(2):
        block = f"blocks.{i}"
        pairs |= {f"{block}.norm1": (width,), f"{block}.norm2": (width,)}
        pairs |= {f"{block}.attn.qkv": (3 * width, width), f"{block}.attn.proj": (width, width)}
        pairs |= {f"{block}.mlp.linear_fc1": (96, width), f"{block}.mlp.linear_fc2": (width, 96)}
    for name, shape in pairs.items():
        shapes[f"{own}.{name}.weight"] = shape
        shapes[f"{own}.{name}.bias"] = shape[:1]
    config: dict[str, Any] = {
        "model_type": "qwen3_5_moe",
        "depth": 2,
        "hidden_size": width,
        "num_heads": 4,
    }
    config |= {"intermediate_size": 96, "patch_size": 16, "spatial_merge_size": 2}
    config |= {"temporal_patch_size": 2, "num_position_embeddings": 16, "out_hidden_size": H}
    return config | {"deepstack_visual_indexes": [], "in_channels": 3}, shapes


def olmoe() -> Family:
    shapes = around(BPE, tied=False)
    for layer in (f"model.layers.{i}" for i in range(2)):
        shapes |= norms(layer, "input_layernorm", "post_attention_layernorm")
        shapes |= attention(layer, kv=HEADS) | experts(layer)
        shapes |= {f"{layer}.self_attn.{name}_norm.weight": (HEADS * DIM,) for name in "qk"}
    more: dict[str, Any] = {
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
    }
    config = base("OlmoeForCausalLM", "olmoe", 2, BPE, **more) | {"num_key_value_heads": HEADS}
    return Family(config=config, shapes=shapes, vocabulary=BPE)


def gptoss(*, vocabulary: int = BPE) -> Family:
    """Experts in MXFP4, four bits with a shared exponent for each 32 weights.

    Its rows of 288 are to blocks of 32 and 256 what gpt-oss's own of 2,880 are.
    """
    wide = ODD
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, wide), "model.norm.weight": (wide,)}
    shapes["lm_head.weight"] = (vocabulary, wide)
    packed = Shapes()
    for layer in (f"model.layers.{i}" for i in range(2)):
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{layer}.{name}.weight"] = (wide,)
        for name, (rows, columns) in {
            **{"q": (HEADS * DIM, wide), "k": (KV * DIM, wide), "v": (KV * DIM, wide)},
            "o": (wide, HEADS * DIM),
        }.items():
            shapes[f"{layer}.self_attn.{name}_proj.weight"] = (rows, columns)
            shapes[f"{layer}.self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{layer}.self_attn.sinks"] = (HEADS,)
        shapes[f"{layer}.mlp.router.weight"] = (EXPERTS, wide)
        shapes[f"{layer}.mlp.router.bias"] = (EXPERTS,)
        for name, rows in {"gate_up": 2 * wide, "down": wide}.items():
            shapes[f"{layer}.mlp.experts.{name}_proj_bias"] = (EXPERTS, rows)
            packed[f"{layer}.mlp.experts.{name}_proj_blocks"] = (EXPERTS, rows, wide // 32, 16)
            packed[f"{layer}.mlp.experts.{name}_proj_scales"] = (EXPERTS, rows, wide // 32)
    more: dict[str, Any] = {"num_local_experts": EXPERTS, "num_experts_per_tok": 2, "head_dim": DIM}
    more |= {"hidden_size": wide, "intermediate_size": wide, "sliding_window": 128}
    more |= {"layer_types": ["sliding_attention", "full_attention"]}
    more |= {"tie_word_embeddings": False, "quantization_config": {"quant_method": "mxfp4"}}
    config = base("GptOssForCausalLM", "gpt_oss", 2, vocabulary) | more
    return Family(config=config, shapes=shapes, vocabulary=vocabulary, packed=packed)


def deepseek4() -> Family:
    """FP4 experts, FP8 attention, a layer that routes by a table, and both kinds of compression."""
    ratios = [0, 128, 4]
    more: dict[str, Any] = {
        **{"n_routed_experts": EXPERTS, "n_shared_experts": 1, "num_experts_per_tok": 2},
        **{"moe_intermediate_size": FFN, "num_hash_layers": 1, "routed_scaling_factor": 1.5},
        **{"norm_topk_prob": True, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc"},
        **{"swiglu_limit": 10.0, "head_dim": DIM, "qk_rope_head_dim": DIM // 2},
        **{"q_lora_rank": 128, "o_lora_rank": 128, "o_groups": 2, "sliding_window": 128},
        **{"index_n_heads": 2, "index_head_dim": 64, "index_topk": 16, "hc_mult": 4},
        **{"hc_eps": 1e-6, "hc_sinkhorn_iters": 4, "compress_rope_theta": 160000.0},
        **{"compress_ratios": ratios, "num_key_value_heads": 1, "expert_dtype": "fp4"},
        **{"num_nextn_predict_layers": 0, "tie_word_embeddings": False},
        "quantization_config": {
            **{"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0"},
            "weight_block_size": [128, 128],
        },
    }
    config = base("DeepseekV4ForCausalLM", "deepseek_v4", len(ratios), BPE) | more
    return Family(config=config, shapes={}, vocabulary=BPE, typed=deepseek4_tensors(config))


def deepseek4_tensors(config: Mapping[str, Any]) -> Typed:
    """All tensors of a DeepSeek-V4 of these sizes, but its layer of multi-token prediction.

    Names and shapes as models/deepseek4.cpp and conversion/deepseek.py of llama.cpp read them.
    """
    wide, mult, rows = config["hidden_size"], config["hc_mult"], config["vocab_size"]
    typed: Typed = {f"{name}.weight": ("BF16", (rows, wide)) for name in ("embed", "head")}
    typed |= {"norm.weight": ("BF16", (wide,)), "hc_head_fn": ("F32", (mult, mult * wide))}
    typed |= {"hc_head_base": ("F32", (mult,)), "hc_head_scale": ("F32", (1,))}
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        for part in (
            *(_attention_of_4(config, config["compress_ratios"][i]), _experts_of_4(config)),
            _connections_of_4(config),
        ):
            typed |= {f"{layer}.{name}": tensor for name, tensor in part.items()}
        if i < config["num_hash_layers"]:
            typed[f"{layer}.ffn.gate.tid2eid"] = ("I64", (rows, config["num_experts_per_tok"]))
        else:
            typed[f"{layer}.ffn.gate.bias"] = ("F32", (config["n_routed_experts"],))
    return typed


def deepseek4_prediction(config: Mapping[str, Any]) -> Typed:
    """The layers of multi-token prediction that lie beside `deepseek4_tensors`.

    Named as DeepseekV4Model.filter_tensors in conversion/deepseek.py of llama.cpp reads them.
    """
    wide, mult, layers = (config[n] for n in ("hidden_size", "hc_mult", "num_hidden_layers"))
    typed: Typed = {}
    for i in range(config["num_nextn_predict_layers"]):
        own = _attention_of_4(config, config["compress_ratios"][layers + i])
        own |= _experts_of_4(config) | _connections_of_4(config)
        own |= _eights({f"{name}_proj": (wide, wide) for name in "eh"})
        own |= {f"{name}.weight": ("BF16", (wide,)) for name in ("enorm", "hnorm", "norm")}
        own |= {"hc_head_fn": ("F32", (mult, mult * wide)), "hc_head_base": ("F32", (mult,))}
        own |= {"hc_head_scale": ("F32", (1,))}
        own["ffn.gate.bias"] = ("F32", (config["n_routed_experts"],))
        typed |= {f"mtp.{i}.{name}": tensor for name, tensor in own.items()}
    return typed


def _attention_of_4(config: Mapping[str, Any], ratio: int) -> Typed:
    wide, head, lora = (config[n] for n in ("hidden_size", "head_dim", "q_lora_rank"))
    groups, out = config["o_groups"], config["o_groups"] * config["o_lora_rank"]
    index, all_heads = config["index_head_dim"], config["num_attention_heads"] * head
    plain: Shapes = {"q_norm": (lora,), "kv_norm": (head,)}
    eight = {
        **{"wq_a": (lora, wide), "wq_b": (all_heads, lora), "wkv": (head, wide)},
        **{"wo_a": (out, all_heads // groups), "wo_b": (wide, out)},
    }
    compressed = {"compressor": (head * (2 if ratio == 4 else 1), head)} if ratio else {}
    if ratio == 4:
        eight["indexer.wq_b"] = (config["index_n_heads"] * index, lora)
        plain["indexer.weights_proj"] = (config["index_n_heads"], wide)
        compressed["indexer.compressor"] = (2 * index, index)
    typed: Typed = {"attn.attn_sink": ("F32", (config["num_attention_heads"],))}
    for name, (rows, width) in compressed.items():
        plain |= {f"{name}.wkv": (rows, wide), f"{name}.wgate": (rows, wide)}
        plain[f"{name}.norm"] = (width,)
        typed[f"attn.{name}.ape"] = ("F32", (ratio, rows))
    typed |= {f"attn.{name}.weight": ("BF16", shape) for name, shape in plain.items()}
    return typed | _eights({f"attn.{name}": shape for name, shape in eight.items()})


def _experts_of_4(config: Mapping[str, Any]) -> Typed:
    wide, width = config["hidden_size"], config["moe_intermediate_size"]
    count = config["n_routed_experts"]
    shapes = {"w1": (width, wide), "w2": (wide, width), "w3": (width, wide)}
    typed: Typed = {"ffn.gate.weight": ("BF16", (count, wide))}
    for number in range(count):
        for name, (rows, columns) in shapes.items():
            own = f"ffn.experts.{number}.{name}"
            typed[f"{own}.weight"] = ("I8", (rows, columns // 2))
            typed[f"{own}.scale"] = ("F8_E8M0", (rows, columns // 32))
    return typed | _eights({f"ffn.shared_experts.{name}": s for name, s in shapes.items()})


def _connections_of_4(config: Mapping[str, Any]) -> Typed:
    wide, mult = config["hidden_size"], config["hc_mult"]
    mixes = (2 + mult) * mult
    typed: Typed = {f"{part}_norm.weight": ("BF16", (wide,)) for part in ("attn", "ffn")}
    for part in ("attn", "ffn"):
        typed[f"hc_{part}_fn"] = ("F32", (mixes, mult * wide))
        typed |= {f"hc_{part}_base": ("F32", (mixes,)), f"hc_{part}_scale": ("F32", (3,))}
    return typed


def _eights(shapes: Mapping[str, tuple[int, int]]) -> Typed:
    """Matrices in FP8 with an exponent for each block of 128×128."""
    typed: Typed = {f"{name}.weight": ("F8_E4M3", shape) for name, shape in shapes.items()}
    for name, (rows, columns) in shapes.items():
        typed[f"{name}.scale"] = ("F8_E8M0", (-(-rows // 128), -(-columns // 128)))
    return typed


FAMILIES: dict[str, Callable[[], Family]] = {
    "mixtral": mixtral,
    "granite": granite,
    "deepseek2": deepseek2,
    "qwen3moe": qwen3moe,
    "qwen3moe-fp8": lambda: qwen3moe(fp8=True),
    "qwen35moe": qwen35moe,
    "olmoe": olmoe,
    "gptoss": gptoss,
    "deepseek4": deepseek4,
}
# of four bits that makers publish beside 16-bit originals, and the converter keeps all the same
QUANTIZATIONS = {"nvfp4": nvfp4}


# ── writing them ────────────────────────────────────────────────────────────────────────────


def write(family: Family, folder: Path, toolchain: Toolchain, *, shards: int = 1) -> Path:
    """Write the checkpoint to `folder`, its weights in `shards` files; the folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(family.config), encoding="utf-8")
    if "vision_config" in family.config:
        mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        _write(folder / "preprocessor_config.json", mean)
    if family.vocabulary == SPM:
        sentencepiece(folder, toolchain)
    else:
        byte_pairs(folder, toolchain)
    weights(family, folder, shards)
    return folder


def weights(family: Family, folder: Path, shards: int = 1) -> None:
    """Random weights of a family, in `shards` safetensors files with an index if several."""
    made = arrays(family)
    names = sorted(made)
    if shards == 1:
        safetensors(folder / "model.safetensors", made)
        return
    index: dict[str, str] = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        own = names[i::shards]
        safetensors(folder / file, {name: made[name] for name in own})
        index |= dict.fromkeys(own, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def arrays(family: Family) -> dict[str, tuple[str, Array]]:
    """Every tensor as (dtype, raw array)."""
    random = np.random.default_rng(20)
    made: dict[str, tuple[str, Array]] = {}
    for name, shape in family.shapes.items():
        spread = 0.02 if len(shape) > 1 else 0.1
        values = random.standard_normal(shape, np.float32) * np.float32(spread)
        if "norm" in name and name.endswith("weight"):
            values += np.float32(1)
        if family.fp8 and name.endswith("_proj.weight"):
            made[name] = ("F8_E4M3", _fp8(random, shape))
            rows, columns = (-(-n // 128) for n in shape)
            scale = np.full((rows, columns), 2.0**-10, np.float32)
            made[f"{name}_scale_inv"] = ("F32", scale)
        else:
            made[name] = ("BF16", bf16(values))
    for name, shape in family.packed.items():
        low, high = (115, 122) if name.endswith("scales") else (0, 256)
        made[name] = ("U8", random.integers(low, high, shape, np.uint8))
    return made | {n: (d, _typed(random, n, d, s)) for n, (d, s) in family.typed.items()}


def _typed(random: np.random.Generator, name: str, dtype: str, shape: tuple[int, ...]) -> Array:
    match dtype:
        case "BF16":
            values = random.standard_normal(shape, np.float32) * np.float32(0.02)
            return bf16(values + np.float32("norm" in name))
        case "F32" if not shape:
            return np.asarray(2.0**-4 + 2.0**-9 * random.random(), np.float32)
        case "F32":
            return random.standard_normal(shape, np.float32) * np.float32(0.02)
        case "F8_E4M3" if name.endswith("_scale"):  # from 2^-3 to 2^3
            return random.integers(0x20, 0x50, shape, np.uint8)
        case "F8_E4M3":
            return _fp8(random, shape)
        case "F8_E8M0":  # 2 to the power of the number less 127
            return random.integers(115, 119, shape, np.uint8)
        case "I64":
            return random.integers(0, EXPERTS, shape, np.int64)
        case _:
            return random.integers(0, 256, shape, np.uint8)


def bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of f32 numbers, rounded to the nearest, to even between two."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _fp8(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """E4M3 numbers without the two that mean no number."""
    values: NDArray[np.uint8] = random.integers(0, 0x7F, shape, np.uint8)
    values[random.random(shape) < 0.5] += 0x80
    return values


def safetensors(path: Path, arrays: Mapping[str, tuple[str, Array]]) -> None:
    """A safetensors file: header length, JSON header, data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, (dtype, array) in arrays.items():
        end = start + array.nbytes
        entry = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
        header[name], start = entry, end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in arrays.values():
            file.write(array.tobytes())


# ── tokenizers ──────────────────────────────────────────────────────────────────────────────

_TRAIN = """
import sys
import sentencepiece
sentencepiece.SentencePieceTrainer.train(
    input=sys.argv[1], model_prefix=sys.argv[2], vocab_size=int(sys.argv[3]),
    byte_fallback=True, minloglevel=2, num_threads=1,
)
"""


def sentencepiece(folder: Path, toolchain: Toolchain) -> None:
    """tokenizer.model with 1,000 pieces, trained on the demo's text; made once a toolchain."""
    made = toolchain.tree.parent / "test-tokenizer.model"
    if not made.is_file():
        prefix, text = str(folder / "tokenizer"), str(DEMO / "calibration.txt")
        command = [str(toolchain.python), "-c", _TRAIN, text, prefix, str(SPM)]
        subprocess.run(command, check=True, capture_output=True)
        (folder / "tokenizer.vocab").unlink()
        made.write_bytes((folder / "tokenizer.model").read_bytes())
    (folder / "tokenizer.model").write_bytes(made.read_bytes())
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})


def byte_pairs(folder: Path, toolchain: Toolchain) -> None:
    """tokenizer.json as GPT-2 has it, from llama.cpp's vocabulary file without weights."""
    fields = GGUFReader(toolchain.tree / "models" / "ggml-vocab-gpt-2.gguf").fields
    tokens, end = fields["tokenizer.ggml.tokens"].contents(), "<|endoftext|>"
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    level["use_regex"] = True
    special = {"id": len(tokens) - 1, "content": end, "special": True, "normalized": False}
    special |= {"single_word": False, "lstrip": False, "rstrip": False}
    model: dict[str, Any] = {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}}
    model |= {"merges": fields["tokenizer.ggml.merges"].contents(), "byte_fallback": False}
    _write(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "added_tokens": [special],
            "normalizer": None,
            "pre_tokenizer": level,
            "post_processor": level,
            "decoder": level,
            "model": model,
        },
    )
    # as transformers 5 saves it
    config = {"tokenizer_class": "TokenizersBackend", "eos_token": end, "bos_token": end}
    _write(folder / "tokenizer_config.json", config | {"extra_special_tokens": []})


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
