"""A GGUF file with the shapes of a real release and nothing in it: its data is a hole.

Shapes and numbers are those of Qwen3.6-35B-A3B's config.json; the vocabulary is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from bot.clients.files.ggufheader import text_value, u32, write_header
from bot.clients.llama.library import ggml_type
from bot.tensors.sizes import file_bytes, tensor_bytes

FAMILY = "qwen35moe"
WIDTH, EXPERTS, FFN, HEADS, KV_HEADS, HEAD = 2048, 256, 512, 16, 2, 256
KEY_HEADS, VALUE_HEADS, STATE, VOCABULARY, CONTEXT, FULL = 16, 32, 128, 248_320, 262_144, 4
_COUNTS = {
    "context_length": CONTEXT,
    "embedding_length": WIDTH,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KV_HEADS,
    "expert_count": EXPERTS,
    "expert_used_count": 8,
    "attention.key_length": HEAD,
    "attention.value_length": HEAD,
    "expert_feed_forward_length": FFN,
    "expert_shared_feed_forward_length": FFN,
    "ssm.conv_kernel": 4,
    "ssm.state_size": STATE,
    "ssm.group_count": KEY_HEADS,
    "ssm.time_step_rank": VALUE_HEADS,
    "ssm.inner_size": VALUE_HEADS * STATE,
    "full_attention_interval": FULL,
    "rope.dimension_count": HEAD // 4,
    "vocab_size": VOCABULARY,
}


def write_hole(target: Path, *, layers: int = 40, types: Mapping[str, str] | None = None) -> None:
    """The 16-bit model of so many layers, or with the types that `types` gives to tensors."""
    entries = [
        (name, shape, ggml_type(kind), tensor_bytes(kind, shape))
        for name, shape, kind in _typed(layers, types or {})
    ]
    head = write_header([*_keys(layers)], entries, 32)
    with target.open("wb") as file:
        file.write(head)
        file.truncate(file_bytes((size for *_, size in entries), len(head)))


def _typed(layers: int, types: Mapping[str, str]) -> Iterator[tuple[str, tuple[int, ...], str]]:
    for name, shape in shapes(layers).items():
        plain = "F32" if len(shape) == 1 or "conv1d" in name or "gate_inp" in name else "BF16"
        yield name, shape, types.get(name, plain)


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Each tensor's shape, its row length first."""
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WIDTH, VOCABULARY),
        "output_norm.weight": (WIDTH,),
        "output.weight": (WIDTH, VOCABULARY),
    }
    for layer in range(layers):
        inner = _full() if layer % FULL == FULL - 1 else _linear()
        inner |= _experts()
        found |= {f"blk.{layer}.{name}": shape for name, shape in inner.items()}
    return found


def _full() -> dict[str, tuple[int, ...]]:
    return {
        "attn_q.weight": (WIDTH, 2 * HEADS * HEAD),
        "attn_k.weight": (WIDTH, KV_HEADS * HEAD),
        "attn_v.weight": (WIDTH, KV_HEADS * HEAD),
        "attn_output.weight": (HEADS * HEAD, WIDTH),
        "attn_q_norm.weight": (HEAD,),
        "attn_k_norm.weight": (HEAD,),
    }


def _linear() -> dict[str, tuple[int, ...]]:
    values, inner = VALUE_HEADS * STATE, (2 * KEY_HEADS + VALUE_HEADS) * STATE
    return {
        "attn_qkv.weight": (WIDTH, inner),
        "attn_gate.weight": (WIDTH, values),
        "ssm_conv1d.weight": (4, inner),
        "ssm_dt.bias": (VALUE_HEADS,),
        "ssm_a": (VALUE_HEADS,),
        "ssm_alpha.weight": (WIDTH, VALUE_HEADS),
        "ssm_beta.weight": (WIDTH, VALUE_HEADS),
        "ssm_norm.weight": (STATE,),
        "ssm_out.weight": (values, WIDTH),
    }


def _experts() -> dict[str, tuple[int, ...]]:
    return {
        "attn_norm.weight": (WIDTH,),
        "post_attention_norm.weight": (WIDTH,),
        "ffn_gate_inp.weight": (WIDTH, EXPERTS),
        "ffn_gate_inp_shexp.weight": (WIDTH,),
        "ffn_gate_exps.weight": (WIDTH, FFN, EXPERTS),
        "ffn_up_exps.weight": (WIDTH, FFN, EXPERTS),
        "ffn_down_exps.weight": (FFN, WIDTH, EXPERTS),
        "ffn_gate_shexp.weight": (WIDTH, FFN),
        "ffn_up_shexp.weight": (WIDTH, FFN),
        "ffn_down_shexp.weight": (FFN, WIDTH),
    }


def _keys(layers: int) -> Iterator[bytes]:
    yield text_value("general.architecture", FAMILY)
    yield text_value("general.name", "Hole-35B-A3B")
    yield u32(f"{FAMILY}.block_count", layers)
    for name, count in _COUNTS.items():
        yield u32(f"{FAMILY}.{name}", count)
    yield _f32(f"{FAMILY}.rope.freq_base", 1e7)
    yield _f32(f"{FAMILY}.attention.layer_norm_rms_epsilon", 1e-6)
    sections = struct.pack("<IIQ4i", 9, 5, 4, 11, 11, 10, 0)  # an array of i32
    yield _name(f"{FAMILY}.rope.dimension_sections") + sections
    yield text_value("tokenizer.ggml.model", "none")


def _name(key: str) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode()


def _f32(key: str, value: float) -> bytes:
    return _name(key) + struct.pack("<If", 6, value)
