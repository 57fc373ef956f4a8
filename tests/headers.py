"""Headers of checkpoints that were never made: names, types and shapes, by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from bot.clients.files.safetensors import BITS
from bot.records.model import HeaderTensor

Shape = tuple[int, ...]
H, FF, E = 512, 256, 8  # model width, an expert's width, experts


def tensors(shapes: Mapping[str, Shape], dtype: str = "BF16") -> list[HeaderTensor]:
    """Tensors of one type in one file."""
    return [
        HeaderTensor(
            name=name,
            dtype=dtype,
            shape=shape,
            bytes=prod(shape) * BITS[dtype] // 8,
            file="model.safetensors",
        )
        for name, shape in shapes.items()
    ]


def file(entries: Mapping[str, tuple[str, Shape]], *, data: bool = True) -> bytes:
    """A safetensors file with zeros for weights, or its header alone."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, (dtype, shape) in entries.items():
        end = start + prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(start if data else 0)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A family at toy size, and what must be found of it."""

    config: dict[str, Any]
    tensors: list[HeaderTensor]
    family: str
    experts: tuple[int, int, int]  # routed, active, shared
    layers: tuple[int, int, int] = (2, 0, 0)  # main, dense, MTP
    attention: str = "full attention in every layer"
    precision: str = "BF16"
    # some tensors of the GGUF: name → shape with the row first
    becomes: dict[str, Shape] = field(default_factory=dict)
    packed: int = 0  # weights that the headers' shapes do not count


def around(prefix: str = "model", vocabulary: int = 1024) -> dict[str, Shape]:
    return {
        f"{prefix}.embed_tokens.weight": (vocabulary, H),
        f"{prefix}.norm.weight": (H,),
        "lm_head.weight": (vocabulary, H),
    }


def norms(layer: str, *names: str) -> dict[str, Shape]:
    names = names or ("input_layernorm", "post_attention_layernorm")
    return {f"{layer}.{name}.weight": (H,) for name in names}


def attention(layer: str, query: int = H, key: int = 128) -> dict[str, Shape]:
    own = f"{layer}.self_attn"
    return {
        f"{own}.q_proj.weight": (query, H),
        f"{own}.k_proj.weight": (key, H),
        f"{own}.v_proj.weight": (key, H),
        f"{own}.o_proj.weight": (H, query),
    }


def mlp(prefix: str, width: int = FF) -> dict[str, Shape]:
    return {
        f"{prefix}.gate_proj.weight": (width, H),
        f"{prefix}.up_proj.weight": (width, H),
        f"{prefix}.down_proj.weight": (H, width),
    }


def experts(prefix: str, names: tuple[str, str, str] = ("w1", "w3", "w2")) -> dict[str, Shape]:
    gate, up, down = names
    found: dict[str, Shape] = {}
    for i in range(E):
        found[f"{prefix}.experts.{i}.{gate}.weight"] = (FF, H)
        found[f"{prefix}.experts.{i}.{up}.weight"] = (FF, H)
        found[f"{prefix}.experts.{i}.{down}.weight"] = (H, FF)
    return found


def config(architecture: str, kind: str, layers: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": kind,
        "hidden_size": H,
        "num_hidden_layers": layers,
        "max_position_embeddings": 4096,
        "vocab_size": 1024,
        "tie_word_embeddings": False,
        **more,
    }


def count(**more: Any) -> dict[str, Any]:
    return {"num_experts": E, "num_experts_per_tok": 2, **more}


# ── families ────────────────────────────────────────────────────────────────────────────────


def llama4() -> Model:
    """Stacked experts stored with inputs first, in every second layer; vision beside."""
    prefix = "language_model.model"
    shapes = around(prefix) | {"vision_model.patch_embedding.linear.weight": (64, 588)}
    for i in range(4):
        layer = f"{prefix}.layers.{i}"
        shapes |= norms(layer) | attention(layer)
        if i % 2 == 0:
            shapes |= mlp(f"{layer}.feed_forward", 1024)
            continue
        shapes[f"{layer}.feed_forward.router.weight"] = (E, H)
        shapes[f"{layer}.feed_forward.experts.gate_up_proj"] = (E, H, 2 * FF)
        shapes[f"{layer}.feed_forward.experts.down_proj"] = (E, FF, H)
        shapes |= mlp(f"{layer}.feed_forward.shared_expert")
    text = config("", "llama4_text", 4, num_local_experts=E, num_experts_per_tok=1)
    text |= {"no_rope_layers": [], "attention_chunk_size": 8192, "interleave_moe_layer_step": 2}
    del text["architectures"]
    outer = {"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4"}
    return Model(
        config={**outer, "text_config": text},
        tensors=tensors(shapes),
        family="llama4",
        experts=(E, 1, 1),
        layers=(4, 2, 0),
        attention="chunked attention in 3 layers, full attention in 1 layer",
        becomes={
            "blk.1.ffn_gate_exps.weight": (H, FF, E),
            "blk.1.ffn_down_exps.weight": (FF, H, E),
            "blk.1.ffn_up_shexp.weight": (H, FF),
            "blk.0.ffn_up.weight": (H, 1024),
        },
    )


def dbrx() -> Model:
    """All experts in one matrix, sizes in ffn_config, queries, keys and values together."""
    shapes: dict[str, Shape] = {
        "transformer.wte.weight": (1024, H),
        "transformer.norm_f.weight": (H,),
        "lm_head.weight": (1024, H),
    }
    for i in range(2):
        layer = f"transformer.blocks.{i}"
        shapes[f"{layer}.norm_attn_norm.norm_1.weight"] = (H,)
        shapes[f"{layer}.norm_attn_norm.norm_2.weight"] = (H,)
        shapes[f"{layer}.norm_attn_norm.attn.Wqkv.weight"] = (H + 256, H)
        shapes[f"{layer}.norm_attn_norm.attn.out_proj.weight"] = (H, H)
        shapes[f"{layer}.ffn.router.layer.weight"] = (E, H)
        for name in ("w1", "v1", "w2"):
            shapes[f"{layer}.ffn.experts.mlp.{name}"] = (E * FF, H)
    return Model(
        config={
            "architectures": ["DbrxForCausalLM"],
            "model_type": "dbrx",
            "d_model": H,
            "n_layers": 2,
            "vocab_size": 1024,
            "max_seq_len": 4096,
            "ffn_config": {"moe_num_experts": E, "moe_top_k": 2},
        },
        tensors=tensors(shapes),
        family="dbrx",
        experts=(E, 2, 0),
        becomes={
            "blk.0.ffn_gate_exps.weight": (H, FF, E),
            "blk.0.ffn_down_exps.weight": (FF, H, E),
            "blk.1.attn_qkv.weight": (H, H + 256),
        },
    )


def kimi_linear() -> Model:
    """Delta attention and latent attention in turn, a dense layer first."""
    shapes = around()
    heads, nope, value, rank = 4, 128, 128, 256
    for i in range(4):
        layer = f"model.layers.{i}"
        own = f"{layer}.self_attn"
        shapes |= norms(layer)
        if i == 3:
            shapes[f"{own}.q_proj.weight"] = (heads * (nope + 64), H)
            shapes[f"{own}.kv_a_proj_with_mqa.weight"] = (rank + 64, H)
            shapes[f"{own}.kv_a_layernorm.weight"] = (rank,)
            shapes[f"{own}.kv_b_proj.weight"] = (heads * (nope + value), rank)
            shapes[f"{own}.o_proj.weight"] = (H, heads * value)
        else:
            shapes |= attention(layer, key=H)
            shapes |= {f"{own}.{name}_conv1d.weight": (H, 1, 4) for name in "qkv"}
            shapes |= {f"{own}.A_log": (1, 1, heads, 1), f"{own}.dt_bias": (H,)}
            shapes |= {f"{own}.f_a_proj.weight": (128, H), f"{own}.f_b_proj.weight": (H, 128)}
            shapes |= {f"{own}.g_a_proj.weight": (128, H), f"{own}.g_b_proj.weight": (H, 128)}
            shapes |= {f"{own}.b_proj.weight": (heads, H), f"{own}.o_norm.weight": (128,)}
        moe = f"{layer}.block_sparse_moe"
        if i == 0:
            shapes |= mlp(f"{layer}.mlp", 1024)
            continue
        shapes |= experts(moe) | mlp(f"{moe}.shared_experts")
        shapes |= {f"{moe}.gate.weight": (E, H), f"{moe}.gate.e_score_correction_bias": (E,)}
    more: dict[str, Any] = {
        "linear_attn_config": {"full_attn_layers": [4], "kda_layers": [1, 2, 3]},
        "qk_nope_head_dim": nope,
        "v_head_dim": value,
        "kv_lora_rank": rank,
        "num_key_value_heads": heads,
        "num_experts_per_token": 2,
        "num_shared_experts": 1,
        "first_k_dense_replace": 1,
    }
    return Model(
        config=config("KimiLinearForCausalLM", "kimi_linear", 4, num_experts=E, **more),
        tensors=tensors(shapes),
        family="kimi-linear",
        experts=(E, 2, 1),
        layers=(4, 1, 0),
        attention="linear attention in 3 layers, full attention in 1 layer",
        becomes={
            "blk.3.attn_k_b.weight": (nope, rank, heads),
            "blk.3.attn_v_b.weight": (rank, value, heads),
            "blk.0.ssm_conv1d_q.weight": (4, 1, H, 1),
            "blk.1.exp_probs_b.bias": (E,),
        },
    )


def nemotron_h() -> Model:
    """Mamba, attention and experts each in layers of their own; experts without a gate."""
    shapes: dict[str, Shape] = {
        "backbone.embeddings.weight": (1024, H),
        "backbone.norm_f.weight": (H,),
        "lm_head.weight": (1024, H),
    }
    for i, kind in enumerate("ME*E"):
        layer = f"backbone.layers.{i}"
        own = f"{layer}.mixer"
        shapes[f"{layer}.norm.weight"] = (H,)
        if kind == "M":
            shapes |= {f"{own}.in_proj.weight": (2 * H + 264, H), f"{own}.out_proj.weight": (H, H)}
            shapes |= {f"{own}.conv1d.weight": (H + 256, 1, 4), f"{own}.conv1d.bias": (H + 256,)}
            shapes |= {f"{own}.A_log": (8,), f"{own}.D": (8,), f"{own}.dt_bias": (8,)}
            shapes[f"{own}.norm.weight"] = (H,)
        elif kind == "*":
            shapes |= {f"{own}.{name}_proj.weight": (H, H) for name in "qkvo"}
        else:
            for e in range(E):
                shapes[f"{own}.experts.{e}.up_proj.weight"] = (FF, H)
                shapes[f"{own}.experts.{e}.down_proj.weight"] = (H, FF)
            shapes |= {f"{own}.gate.weight": (E, H), f"{own}.gate.e_score_correction_bias": (E,)}
            shapes[f"{own}.shared_experts.up_proj.weight"] = (FF, H)
            shapes[f"{own}.shared_experts.down_proj.weight"] = (H, FF)
    more = {"hybrid_override_pattern": "ME*E", "n_routed_experts": E, "n_shared_experts": 1}
    return Model(
        config=config("NemotronHForCausalLM", "nemotron_h", 4, num_experts_per_tok=2, **more),
        tensors=tensors(shapes),
        family="nemotron_h_moe",
        experts=(E, 2, 1),
        layers=(4, 2, 0),
        attention="no attention in 2 layers, linear attention in 1 layer, "
        "full attention in 1 layer",
        becomes={
            "blk.1.ffn_up_exps.weight": (H, FF, E),
            "blk.0.ssm_conv1d.weight": (4, H + 256),
            "blk.0.ssm_in.weight": (H, 2 * H + 264),
            "blk.2.attn_q.weight": (H, H),
        },
    )


def gemma4() -> Model:
    """A dense part beside the experts, whose gate and up stay together; tied; vision."""
    prefix = "model.language_model"
    shapes = around(prefix)
    del shapes["lm_head.weight"]
    shapes["model.vision_tower.encoder.layers.0.mlp.up_proj.weight"] = (64, 64)
    shapes["model.embed_vision.embedding_projection.weight"] = (H, 64)
    for i in range(6):
        layer = f"{prefix}.layers.{i}"
        shapes |= norms(layer, "input_layernorm", "post_attention_layernorm")
        shapes |= norms(layer, "pre_feedforward_layernorm", "post_feedforward_layernorm")
        shapes |= norms(layer, "pre_feedforward_layernorm_2", "post_feedforward_layernorm_1")
        shapes |= norms(layer, "post_feedforward_layernorm_2")
        shapes |= attention(layer) | mlp(f"{layer}.mlp")
        shapes |= {f"{layer}.self_attn.{name}_norm.weight": (128,) for name in "qk"}
        shapes |= {f"{layer}.router.proj.weight": (E, H), f"{layer}.router.scale": (H,)}
        shapes[f"{layer}.router.per_expert_scale"] = (E,)
        shapes[f"{layer}.layer_scalar"] = (1,)
        shapes[f"{layer}.experts.gate_up_proj"] = (E, 2 * FF, H)
        shapes[f"{layer}.experts.down_proj"] = (E, H, FF)
    text = config("", "gemma4_text", 6, num_experts=E, top_k_experts=2, enable_moe_block=True)
    text |= {"layer_types": ["sliding_attention"] * 5 + ["full_attention"], "sliding_window": 1024}
    text |= {"tie_word_embeddings": True}
    del text["architectures"]
    outer = {"architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4"}
    return Model(
        config={**outer, "text_config": text, "tie_word_embeddings": True},
        tensors=tensors(shapes),
        family="gemma4",
        experts=(E, 2, 1),
        layers=(6, 0, 0),
        attention="sliding attention in 5 layers, full attention in 1 layer",
        becomes={
            "blk.0.ffn_gate_up_exps.weight": (H, 2 * FF, E),
            "blk.5.ffn_down.weight": (FF, H),
            "blk.0.ffn_gate_inp.scale": (H,),
        },
    )


def deepseek_v3() -> Model:
    """FP8 with scales, latent attention, a layer for multi-token prediction after the others."""
    heads, nope, rank = 4, 128, 256
    plain, eight, scales = around(), dict[str, Shape](), dict[str, Shape]()
    for i in range(4):
        layer = f"model.layers.{i}"
        own = f"{layer}.self_attn"
        plain |= norms(layer) | {f"{own}.kv_a_layernorm.weight": (rank,)}
        plain[f"{own}.q_a_layernorm.weight"] = (rank,)
        eight |= {f"{own}.q_a_proj.weight": (rank, H), f"{own}.o_proj.weight": (H, heads * nope)}
        eight[f"{own}.q_b_proj.weight"] = (heads * (nope + 64), rank)
        eight[f"{own}.kv_a_proj_with_mqa.weight"] = (rank + 64, H)
        eight[f"{own}.kv_b_proj.weight"] = (2 * heads * nope, rank)
        if i == 0:
            eight |= mlp(f"{layer}.mlp", 1024)
            continue
        eight |= experts(f"{layer}.mlp", ("gate_proj", "up_proj", "down_proj"))
        eight |= mlp(f"{layer}.mlp.shared_experts")
        plain |= {f"{layer}.mlp.gate.weight": (E, H)}
        plain[f"{layer}.mlp.gate.e_score_correction_bias"] = (E,)
    plain |= {"model.layers.3.eh_proj.weight": (H, 2 * H), "model.layers.3.enorm.weight": (H,)}
    for name, (rows, columns) in eight.items():
        scales[f"{name}_scale_inv"] = (-(-rows // 128), -(-columns // 128))
    more: dict[str, Any] = {
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
        "num_nextn_predict_layers": 1,
        "first_k_dense_replace": 1,
        "qk_nope_head_dim": nope,
        "v_head_dim": nope,
        "n_routed_experts": E,
        "n_shared_experts": 1,
    }
    return Model(
        config=config("DeepseekV3ForCausalLM", "deepseek_v3", 3, num_experts_per_tok=2, **more),
        tensors=[*tensors(plain), *tensors(eight, "F8_E4M3"), *tensors(scales, "F32")],
        family="deepseek2",
        experts=(E, 2, 1),
        layers=(3, 1, 1),
        precision="FP8",
        becomes={
            "blk.2.attn_k_b.weight": (nope, rank, heads),
            "blk.1.ffn_gate_exps.weight": (H, FF, E),
            "blk.0.ffn_gate.weight": (H, 1024),
        },
    )


def kimi_k2() -> Model:
    """Experts as 4-bit integers, eight of them packed into 32 bits."""
    plain, packed, scales = around(), dict[str, Shape](), dict[str, Shape]()
    shapes = dict[str, Shape]()
    for i in range(2):
        layer = f"language_model.model.layers.{i}"
        plain |= norms(layer) | attention(layer)
        plain[f"{layer}.mlp.gate.weight"] = (E, H)
        for name, (rows, columns) in experts(
            f"{layer}.mlp", ("gate_proj", "up_proj", "down_proj")
        ).items():
            packed[f"{name}_packed"] = (rows, columns // 8)
            scales[f"{name}_scale"] = (rows, columns // 32)
            shapes[f"{name}_shape"] = (2,)
    weights = {"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group"}
    quantization = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"weights": weights}},
    }
    more: dict[str, Any] = {"n_routed_experts": E, "num_experts_per_tok": 2}
    more["quantization_config"] = quantization
    text = config("DeepseekV3ForCausalLM", "kimi_k2", **more)
    outer = {"architectures": ["KimiK25ForConditionalGeneration"], "model_type": "kimi_k25"}
    return Model(
        config={**outer, "text_config": text},
        tensors=[
            *tensors(plain),
            *tensors(packed, "I32"),
            *tensors(scales),
            *tensors(shapes, "I32"),
        ],
        family="deepseek2",
        experts=(E, 2, 0),
        precision="INT4",
        packed=2 * E * 3 * FF * H - 2 * E * 3 * (FF * H // 8 + FF * H // 32 + 2),
        becomes={"blk.1.ffn_down_exps.weight": (FF, H, E)},
    )


def qwen3moe(experts_in: Sequence[int] = (E, E)) -> Model:
    """Plain: full attention and experts in every layer, by default as many in each."""
    shapes = around()
    for i, count_in in enumerate(experts_in):
        layer = f"model.layers.{i}"
        shapes |= norms(layer) | attention(layer)
        shapes |= {f"{layer}.self_attn.{name}_norm.weight": (128,) for name in "qk"}
        shapes[f"{layer}.mlp.gate.weight"] = (count_in, H)
        for e in range(count_in):
            shapes |= mlp(f"{layer}.mlp.experts.{e}")
    return Model(
        config=config("Qwen3MoeForCausalLM", "qwen3_moe", len(experts_in), **count()),
        tensors=tensors(shapes),
        family="qwen3moe",
        experts=(E, 2, 0),
        becomes={"blk.1.ffn_up_exps.weight": (H, FF, E)},
    )


def mistral_small_4() -> Model:
    """FP8 with a scale for all of a stacked tensor, and scales of activations that nobody reads."""
    plain, eight, scales = around(), dict[str, Shape](), dict[str, Shape]()
    for i in range(2):
        layer = f"model.layers.{i}"
        plain |= norms(layer)
        eight |= attention(layer)
        plain[f"{layer}.mlp.gate.weight"] = (E, H)
        eight[f"{layer}.mlp.experts.gate_up_proj"] = (E, 2 * FF, H)
        eight[f"{layer}.mlp.experts.down_proj"] = (E, H, FF)
        scales |= {f"{name}_scale_inv": () for name in attention(layer)}
        for name in ("gate_up_proj", "down_proj"):
            scales[f"{layer}.mlp.experts.{name}_scale_inv"] = (E, 1, 1)
            scales[f"{layer}.mlp.experts.{name}_activation_scale"] = ()
    quantization = {"quant_method": "fp8", "activation_scheme": "static"}
    return Model(
        config=config(
            *("Qwen3MoeForCausalLM", "qwen3_moe"), **count(), quantization_config=quantization
        ),
        tensors=[*tensors(plain), *tensors(eight, "F8_E4M3"), *tensors(scales, "F32")],
        family="qwen3moe",
        experts=(E, 2, 0),
        precision="FP8",
        becomes={"blk.1.ffn_up_exps.weight": (H, FF, E), "blk.0.ffn_down_exps.weight": (FF, H, E)},
    )


def deepseek_v4() -> Model:
    """FP4 experts, routing by a table of integers in the first layer, whose bias is unused."""
    plain, eight, four = dict[str, Shape](), dict[str, Shape](), dict[str, Shape]()
    plain |= {"embed.weight": (1024, H), "norm.weight": (H,), "head.weight": (1024, H)}
    scales, tables = dict[str, Shape](), dict[str, Shape]()
    for i in range(2):
        layer = f"layers.{i}"
        plain |= {f"{layer}.attn_norm.weight": (H,), f"{layer}.ffn_norm.weight": (H,)}
        plain |= {f"{layer}.ffn.gate.weight": (E, H), f"{layer}.ffn.gate.bias": (E,)}
        eight |= {f"{layer}.attn.wq_a.weight": (128, H), f"{layer}.attn.wq_b.weight": (H, 128)}
        eight |= {f"{layer}.ffn.shared_experts.{w}.weight": (FF, H) for w in ("w1", "w3")}
        eight |= {f"{layer}.ffn.shared_experts.w2.weight": (H, FF)}
        for e in range(E):
            for name, (rows, columns) in {"w1": (FF, H), "w3": (FF, H), "w2": (H, FF)}.items():
                four[f"{layer}.ffn.experts.{e}.{name}.weight"] = (rows, columns // 2)
                scales[f"{layer}.ffn.experts.{e}.{name}.scale"] = (rows, columns // 32)
    for name, (rows, columns) in eight.items():
        scales[name.replace(".weight", ".scale")] = (-(-rows // 128), -(-columns // 128))
    tables["layers.0.ffn.gate.tid2eid"] = (1024, 2)
    more: dict[str, Any] = {"n_routed_experts": E, "n_shared_experts": 1, "num_hash_layers": 1}
    more["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    return Model(
        config=config("DeepseekV4ForCausalLM", "deepseek_v4", num_experts_per_tok=2, **more),
        tensors=[
            *tensors(plain),
            *tensors(eight, "F8_E4M3"),
            *tensors(four, "I8"),
            *tensors(scales, "F8_E8M0"),
            *tensors(tables, "I64"),
        ],
        family="deepseek4",
        experts=(E, 2, 1),
        precision="MXFP4",
        packed=2 * E * 3 * FF * H // 2 - E - 2 * 1024,
        becomes={
            "blk.0.ffn_gate_tid2eid.weight": (2, 1024),
            "blk.1.ffn_down_exps.weight": (FF, H, E),
        },
    )


def never_seen() -> Model:
    """Nobody's family: words of its own for everything but the experts."""
    shapes: dict[str, Shape] = {
        "net.embedding_table.weight": (1024, H),
        "net.layers.final_scale": (H,),
        "net.output_head.weight": (1024, H),
    }
    for i in range(2):
        layer = f"net.layers.{i}"
        shapes |= {f"{layer}.alpha": (H,), f"{layer}.beta": (H,)}
        shapes |= {f"{layer}.attn_mix.first.weight": (H, H), f"{layer}.attn_mix.second": (H, H)}
        shapes |= {f"{layer}.chooser.weight": (E, H)}
        shapes |= experts(f"{layer}.sparse")
    return Model(
        config=config("NobodysForCausalLM", "nobodys", **count()),
        tensors=tensors(shapes),
        family="nobodys",
        experts=(E, 2, 0),
        becomes={"blk.1.ffn_up_exps.weight": (H, FF, E)},
    )


MODELS = (
    *(llama4, dbrx, kimi_linear, nemotron_h, gemma4, deepseek_v3, kimi_k2, qwen3moe),
    *(mistral_small_4, deepseek_v4),
)
