"""Headers of published checkpoints at their full size, from their config.json alone.

Names and shapes as transformers, the makers' own code and llama.cpp's converter read them; nothing
of the weights is here. Parts that a text decoder does not need (vision, multi-token prediction) are
left out, except where a repository's size counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bot.records.model import HeaderTensor
from tests.checkpoints import Typed, deepseek4_prediction, deepseek4_tensors
from tests.headers import tensors

Config = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]


def headers_of(typed: Typed) -> list[HeaderTensor]:
    return [t for name, (dtype, shape) in typed.items() for t in tensors({name: shape}, dtype)]


def plain(shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> Typed:
    return {name: (dtype, shape) for name, shape in shapes.items()}


def around(config: Config, prefix: str = "model", head: str = "lm_head") -> Shapes:
    rows, wide = config["vocab_size"], config["hidden_size"]
    shapes: Shapes = {f"{prefix}.embed_tokens.weight": (rows, wide)}
    shapes[f"{prefix}.norm.weight"] = (wide,)
    tied = config.get("tie_word_embeddings", False)
    return shapes if tied else {**shapes, f"{head}.weight": (rows, wide)}


def norms(layer: str, wide: int) -> Shapes:
    return {f"{layer}.{n}_layernorm.weight": (wide,) for n in ("input", "post_attention")}


def gpt_oss(config: Config) -> Typed:
    """Blocks and scales of all experts in one tensor; everything else in BF16."""
    wide, width, count = (
        config[n] for n in ("hidden_size", "intermediate_size", "num_local_experts")
    )
    heads, head = config["num_attention_heads"], config["head_dim"]
    keys = config["num_key_value_heads"] * head
    typed = plain(around(config))
    for layer in (f"model.layers.{i}" for i in range(config["num_hidden_layers"])):
        own, experts = f"{layer}.self_attn", f"{layer}.mlp.experts"
        shapes: Shapes = {
            f"{layer}.{n}_layernorm.weight": (wide,) for n in ("input", "post_attention")
        }
        rows = {"q": heads * head, "k": keys, "v": keys}
        shapes |= {f"{own}.{n}_proj.weight": (count_, wide) for n, count_ in rows.items()}
        shapes |= {f"{own}.{n}_proj.bias": (count_,) for n, count_ in rows.items()}
        shapes |= {f"{own}.o_proj.weight": (wide, heads * head), f"{own}.o_proj.bias": (wide,)}
        shapes |= {f"{own}.sinks": (heads,), f"{layer}.mlp.router.weight": (count, wide)}
        shapes[f"{layer}.mlp.router.bias"] = (count,)
        for name, (rows_, columns) in {
            "gate_up": (2 * width, wide),
            "down": (wide, width),
        }.items():
            shapes[f"{experts}.{name}_proj_bias"] = (count, rows_)
            typed[f"{experts}.{name}_proj_blocks"] = ("U8", (count, rows_, columns // 32, 16))
            typed[f"{experts}.{name}_proj_scales"] = ("U8", (count, rows_, columns // 32))
        typed |= plain(shapes)
    return typed


def deepseek_v4(config: Config) -> Typed:
    """Experts in FP4, most else in FP8; its layer of multi-token prediction is 2 % of it."""
    return deepseek4_tensors(config) | deepseek4_prediction(config)


def minimax_m2(config: Config) -> Typed:
    """Attention and experts in FP8 with a scale for each block of 128×128."""
    wide, width, count = (
        config[n] for n in ("hidden_size", "intermediate_size", "num_local_experts")
    )
    heads, head = config["num_attention_heads"], config["head_dim"]
    keys = config["num_key_value_heads"] * head
    typed = plain(around(config))
    for layer in (f"model.layers.{i}" for i in range(config["num_hidden_layers"])):
        own, moe = f"{layer}.self_attn", f"{layer}.block_sparse_moe"
        shapes: Shapes = {
            f"{layer}.{n}_layernorm.weight": (wide,) for n in ("input", "post_attention")
        }
        shapes |= {f"{own}.q_norm.weight": (heads * head,), f"{own}.k_norm.weight": (keys,)}
        typed |= plain(shapes)
        typed[f"{moe}.gate.weight"] = ("F32", (count, wide))
        typed[f"{moe}.e_score_correction_bias"] = ("F32", (count,))
        matrices: dict[str, tuple[int, int]] = {
            **{f"{own}.q_proj": (heads * head, wide), f"{own}.o_proj": (wide, heads * head)},
            **{f"{own}.k_proj": (keys, wide), f"{own}.v_proj": (keys, wide)},
        }
        for own_expert in (f"{moe}.experts.{number}" for number in range(count)):
            matrices |= {f"{own_expert}.w1": (width, wide), f"{own_expert}.w3": (width, wide)}
            matrices[f"{own_expert}.w2"] = (wide, width)
        typed |= matrices_of(config, matrices)
    return typed


def matrices_of(config: Config, matrices: Mapping[str, tuple[int, int]]) -> Typed:
    """Matrices as the config's quantization stores them: FP8 in blocks, or NVFP4 of modelopt.

    NVIDIA's quantizations of MiniMax leave attention in BF16.
    """
    typed: Typed = {}
    four = config["quantization_config"].get("quant_algo") == "NVFP4"
    for name, (rows, columns) in matrices.items():
        if four and ".experts." not in name:
            typed[f"{name}.weight"] = ("BF16", (rows, columns))
        elif four:
            typed |= nvfp4(name, rows, columns)
        else:
            typed[f"{name}.weight"] = ("F8_E4M3", (rows, columns))
            typed[f"{name}.weight_scale_inv"] = ("F32", (-(-rows // 128), -(-columns // 128)))
    return typed


def nvfp4(name: str, rows: int, columns: int) -> Typed:
    """Four bits, an FP8 scale for each 16 of them, one for all, and one of activations."""
    return {
        f"{name}.weight": ("U8", (rows, columns // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (rows, columns // 16)),
        f"{name}.weight_scale_2": ("F32", ()),
        f"{name}.input_scale": ("F32", ()),
    }


def kimi_k3(config: Config) -> Typed:
    """Experts in MXFP4 in a space of their own; linear and latent attention in BF16."""
    text = config["text_config"]
    wide, count = text["hidden_size"], text["num_experts"]
    latent, width = text["routed_expert_hidden_size"], text["moe_intermediate_size"]
    prefix = "language_model.model"
    typed = plain(around(text, prefix, "language_model.lm_head"))
    typed[f"{prefix}.output_attn_res_norm.weight"] = ("BF16", (wide,))
    typed[f"{prefix}.output_attn_res_proj.weight"] = ("BF16", (1, wide))
    for i in range(text["num_hidden_layers"]):
        layer = f"{prefix}.layers.{i}"
        shapes: Shapes = {
            f"{layer}.{n}_layernorm.weight": (wide,) for n in ("input", "post_attention")
        }
        for part in ("self_attention", "mlp"):
            shapes[f"{layer}.{part}_res_norm.weight"] = (wide,)
            shapes[f"{layer}.{part}_res_proj.weight"] = (1, wide)
        full = i + 1 in text["linear_attn_config"]["full_attn_layers"]
        attention = _latent(text) if full else _kda(text)
        shapes |= {f"{layer}.self_attn.{name}": shape for name, shape in attention.items()}
        if i < text["first_k_dense_replace"]:
            shapes |= _gated(f"{layer}.mlp", wide, text["intermediate_size"])
            typed |= plain(shapes)
            continue
        moe = f"{layer}.block_sparse_moe"
        shapes |= {f"{moe}.gate.weight": (count, wide)}
        shapes[f"{moe}.gate.e_score_correction_bias"] = (count,)
        shapes |= {f"{moe}.routed_expert_down_proj.weight": (latent, wide)}
        shapes |= {f"{moe}.routed_expert_up_proj.weight": (wide, latent)}
        shapes |= {f"{moe}.routed_expert_norm.weight": (latent,)}
        shapes |= _gated(f"{moe}.shared_experts", wide, text["num_shared_experts"] * width)
        typed |= plain(shapes)
        for number in range(count):
            for name, (rows, columns) in {
                **{"w1": (width, latent), "w3": (width, latent)},
                "w2": (latent, width),
            }.items():
                own = f"{moe}.experts.{number}.{name}"
                typed[f"{own}.weight_packed"] = ("U8", (rows, columns // 2))
                typed[f"{own}.weight_scale"] = ("U8", (rows, columns // 32))
    return typed


def _gated(prefix: str, wide: int, width: int) -> Shapes:
    shapes: Shapes = {f"{prefix}.{n}_proj.weight": (width, wide) for n in ("gate", "up")}
    return {**shapes, f"{prefix}.down_proj.weight": (wide, width)}


def _latent(text: Config) -> Shapes:
    wide, heads = text["hidden_size"], text["num_attention_heads"]
    query, rank = text["q_lora_rank"], text["kv_lora_rank"]
    nope, rope, value = (text[n] for n in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    return {
        **{"q_a_proj.weight": (query, wide), "q_a_layernorm.weight": (query,)},
        "q_b_proj.weight": (heads * (nope + rope), query),
        **{"kv_a_proj_with_mqa.weight": (rank + rope, wide), "kv_a_layernorm.weight": (rank,)},
        "kv_b_proj.weight": (heads * (nope + value), rank),
        **{"o_proj.weight": (wide, heads * value), "g_proj.weight": (heads * value, wide)},
    }


def _kda(text: Config) -> Shapes:
    linear, wide = text["linear_attn_config"], text["hidden_size"]
    head, inner = linear["head_dim"], linear["num_heads"] * linear["head_dim"]
    shapes: Shapes = {f"{n}_proj.weight": (inner, wide) for n in "qkvg"}
    shapes |= {f"{n}_conv1d.weight": (inner, 1, linear["short_conv_kernel_size"]) for n in "qkv"}
    return {
        **shapes,
        **{"f_a_proj.weight": (head, wide), "f_b_proj.weight": (inner, head)},
        **{"b_proj.weight": (linear["num_heads"], wide), "o_norm.weight": (head,)},
        **{"A_log": (linear["num_heads"],), "dt_bias": (inner,), "o_proj.weight": (wide, inner)},
    }


def qwen35_nvfp4(config: Config) -> Typed:
    """NVIDIA's mixture of precisions: FP8 attention, NVFP4 experts and head."""
    text = config["text_config"]
    wide, width, count = (text[n] for n in ("hidden_size", "moe_intermediate_size", "num_experts"))
    query, key = (text[f"num_{n}_heads"] * text["head_dim"] for n in ("attention", "key_value"))
    heads = text["linear_num_value_heads"]
    keys = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    values = heads * text["linear_value_head_dim"]
    prefix = "model.language_model"
    typed = plain({f"{prefix}.embed_tokens.weight": (text["vocab_size"], wide)})
    typed |= plain({f"{prefix}.norm.weight": (wide,)})
    typed |= nvfp4("lm_head", text["vocab_size"], wide)
    for i, kind in enumerate(text["layer_types"]):
        layer = f"{prefix}.layers.{i}"
        typed |= plain(
            {f"{layer}.{n}_layernorm.weight": (wide,) for n in ("input", "post_attention")}
        )
        typed |= plain({f"{layer}.mlp.gate.weight": (count, wide)})
        typed |= plain({f"{layer}.mlp.shared_expert_gate.weight": (1, wide)})
        stacks = [f"{layer}.mlp.experts.{n}" for n in range(count)]
        for own in (*stacks, f"{layer}.mlp.shared_expert"):
            for name in ("gate", "up"):
                typed |= nvfp4(f"{own}.{name}_proj", width, wide)
            typed |= nvfp4(f"{own}.down_proj", wide, width)
        if kind == "full_attention":
            eight = {"q_proj": (2 * query, wide), "k_proj": (key, wide), "v_proj": (key, wide)}
            own, eight = f"{layer}.self_attn", {**eight, "o_proj": (wide, query)}
        else:
            own = f"{layer}.linear_attn"
            eight = {"in_proj_qkv": (2 * keys + values, wide), "in_proj_z": (values, wide)}
            eight |= {"out_proj": (wide, values)}
            typed |= plain({f"{own}.in_proj_{n}.weight": (heads, wide) for n in "ab"})
            typed |= plain({f"{own}.conv1d.weight": (2 * keys + values, 1, 4)})
        typed |= plain({f"{own}.{n}.weight": shape for n, shape in eight.items()}, "F8_E4M3")
        typed |= plain({f"{own}.{n}.weight_scale": () for n in eight}, "F32")
    return typed


def gemma4_nvfp4(config: Config) -> Typed:
    """Experts alone in NVFP4; a dense part beside them, and no output head of its own."""
    text = config["text_config"]
    wide, width, count = (text[n] for n in ("hidden_size", "moe_intermediate_size", "num_experts"))
    prefix = "model.language_model"
    typed = plain(around(text | {"tie_word_embeddings": True}, prefix))
    for i, kind in enumerate(text["layer_types"]):
        layer, full = f"{prefix}.layers.{i}", kind == "full_attention"
        head = text["global_head_dim" if full else "head_dim"]
        keys = text["num_global_key_value_heads" if full else "num_key_value_heads"] * head
        query, own = text["num_attention_heads"] * head, f"{layer}.self_attn"
        shapes = norms(layer, wide) | _gated(f"{layer}.mlp", wide, text["intermediate_size"])
        for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            shapes[f"{layer}.{name}.weight"] = (wide,)
        shapes |= {f"{own}.q_proj.weight": (query, wide), f"{own}.o_proj.weight": (wide, query)}
        shapes |= {f"{own}.{n}_proj.weight": (keys, wide) for n in ("k" if full else "kv")}
        shapes |= {f"{own}.{n}_norm.weight": (head,) for n in "qk"}
        shapes |= {f"{layer}.router.proj.weight": (count, wide), f"{layer}.router.scale": (wide,)}
        typed |= plain(shapes)
        for expert in (f"{layer}.experts.{number}" for number in range(count)):
            for name in ("gate", "up"):
                typed |= nvfp4(f"{expert}.{name}_proj", width, wide)
            typed |= nvfp4(f"{expert}.down_proj", wide, width)
    return typed


def glm5_nvfp4(config: Config) -> Typed:
    """Experts alone in NVFP4; latent attention with an indexer in BF16."""
    wide, width = config["hidden_size"], config["moe_intermediate_size"]
    index, count = config["index_head_dim"], config["n_routed_experts"]
    typed = plain(around(config))
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        attention = _latent(config)
        del attention["g_proj.weight"]  # Kimi's alone
        attention |= {
            "indexer.wq_b.weight": (config["index_n_heads"] * index, config["q_lora_rank"]),
            "indexer.wk.weight": (index, wide),
            **{f"indexer.k_norm.{part}": (index,) for part in ("weight", "bias")},
            "indexer.weights_proj.weight": (config["index_n_heads"], wide),
        }
        typed |= plain(norms(layer, wide))
        typed |= plain({f"{layer}.self_attn.{name}": shape for name, shape in attention.items()})
        if i < config["first_k_dense_replace"]:
            typed |= plain(_gated(f"{layer}.mlp", wide, config["intermediate_size"]))
            continue
        typed |= plain({f"{layer}.mlp.gate.weight": (count, wide)})
        typed[f"{layer}.mlp.gate.e_score_correction_bias"] = ("F32", (count,))
        typed |= plain(_gated(f"{layer}.mlp.shared_experts", wide, width))
        for expert in (f"{layer}.mlp.experts.{number}" for number in range(count)):
            for name in ("gate", "up"):
                typed |= nvfp4(f"{expert}.{name}_proj", width, wide)
            typed |= nvfp4(f"{expert}.down_proj", wide, width)
    return typed


PUBLISHED: dict[str, Callable[[Config], Typed]] = {
    "openai__gpt-oss-120b": gpt_oss,
    "deepseek-ai__DeepSeek-V4-Flash": deepseek_v4,
    "deepseek-ai__DeepSeek-V4-Pro": deepseek_v4,
    "moonshotai__Kimi-K3": kimi_k3,
    "MiniMaxAI__MiniMax-M2.7": minimax_m2,
    "nvidia__MiniMax-M2.5-NVFP4": minimax_m2,
    "nvidia__Qwen3.6-35B-A3B-NVFP4": qwen35_nvfp4,
    "nvidia__Gemma-4-26B-A4B-NVFP4": gemma4_nvfp4,
    "nvidia__GLM-5-NVFP4": glm5_nvfp4,
}
