"""Shapes of real releases, at a chosen number of layers and experts: tensors, keys, and holes.

Numbers are those of the config.json of Qwen3.6-35B-A3B, gpt-oss-120b and DeepSeek-V3.1; names and
order of dimensions are those of llama.cpp (src/models/qwen35moe.cpp, openai-moe.cpp,
deepseek2.cpp). `write_hole` makes a file whose data is a hole; tests/true_weights.py fills it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.clients.files.ggufheader import text_value, u32, write_header
from bot.clients.llama.library import ggml_type
from bot.tensors.sizes import file_bytes, tensor_bytes

Shapes = dict[str, tuple[int, ...]]
MOSTLY_BF16, MOSTLY_MXFP4 = 32, 38  # LLAMA_FTYPE, llama.h


@dataclass(frozen=True, kw_only=True)
class Size:
    """What of a release can be chosen; all else keeps its shape."""

    layers: int
    experts: int
    vocabulary: int


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A release: its size, and the tensors and keys of any size."""

    name: str
    family: str
    size: Size
    fewest: int  # layers, so that each kind of layer is among them
    width: int
    tokenizer: str  # models/ggml-vocab-NAME.gguf of llama.cpp that comes nearest
    layer: Callable[[int, Size], Shapes]
    keys: Callable[[Size], Iterator[bytes]]
    kept: Mapping[str, str] = field(default_factory=dict)  # types of matrices below 16 bits

    def sized(
        self, layers: int | None = None, experts: int | None = None, vocabulary: int | None = None
    ) -> Size:
        """The release's own size, but for what is named. Raises ValueError for too few layers."""
        own = self.size
        if layers is not None and layers < self.fewest:
            raise ValueError(f"{self.name} has layers of several kinds; name {self.fewest} or more")
        return Size(
            layers=own.layers if layers is None else layers,
            experts=own.experts if experts is None else experts,
            vocabulary=own.vocabulary if vocabulary is None else vocabulary,
        )

    def tensors(self, size: Size) -> Shapes:
        """Each tensor's shape, its row length first."""
        around: Shapes = {
            "token_embd.weight": (self.width, size.vocabulary),
            "output_norm.weight": (self.width,),
            "output.weight": (self.width, size.vocabulary),
        }
        for layer in range(size.layers):
            inner = self.layer(layer, size)
            around |= {f"blk.{layer}.{name}": shape for name, shape in inner.items()}
        return around

    def typed(
        self, size: Size, types: Mapping[str, str] | None = None
    ) -> Iterator[tuple[str, tuple[int, ...], str]]:
        """Name, shape and type, as the converter stores them, or as `types` says."""
        for name, shape in self.tensors(size).items():
            yield name, shape, (types or {}).get(name, self._stored(name, shape))

    def _stored(self, name: str, shape: tuple[int, ...]) -> str:
        plain = len(shape) == 1 or name.endswith(".bias")
        if plain or "conv1d" in name or "ffn_gate_inp" in name:
            return "F32"
        return next((kind for part, kind in self.kept.items() if part in name), "BF16")

    def header(
        self, size: Size, tokenizer: list[bytes], types: Mapping[str, str] | None = None
    ) -> tuple[bytes, int]:
        """The bytes before the first tensor's data, and the size of the whole file."""
        entries = [
            (name, shape, ggml_type(kind), tensor_bytes(kind, shape))
            for name, shape, kind in self.typed(size, types)
        ]
        kind = MOSTLY_MXFP4 if self.kept else MOSTLY_BF16
        keys = [
            text_value("general.architecture", self.family),
            text_value("general.name", self.name),
            u32("general.file_type", kind),
            u32("general.quantization_version", 2),
            u32(f"{self.family}.block_count", size.layers),
            u32(f"{self.family}.vocab_size", size.vocabulary),
            *self.keys(size),
        ]
        head = write_header([*keys, *tokenizer], entries, 32)
        return head, file_bytes((bytes_of for *_, bytes_of in entries), len(head))


def write_hole(target: Path, *, layers: int = 40, types: Mapping[str, str] | None = None) -> None:
    """Qwen3.6-35B-A3B of so many layers without a tokenizer, or with the types of `types`."""
    write_header_of(QWEN, QWEN.sized(layers), target, types)


def write_header_of(
    shape: Shape, size: Size, target: Path, types: Mapping[str, str] | None = None
) -> None:
    """A release's header and, as long as its data would be, a hole."""
    head, whole = shape.header(size, [text_value("tokenizer.ggml.model", "none")], types)
    with target.open("wb") as file:
        file.write(head)
        file.truncate(whole)


def _counts(family: str, counts: Mapping[str, int]) -> Iterator[bytes]:
    return (u32(f"{family}.{name}", count) for name, count in counts.items())


def key_name(key: str) -> bytes:
    """The name of a key, before its type and value."""
    return struct.pack("<Q", len(key)) + key.encode()


def f32(key: str, value: float) -> bytes:
    """A key with a float."""
    return key_name(key) + struct.pack("<If", 6, value)


def flag(key: str) -> bytes:
    """A key that is true."""
    return key_name(key) + struct.pack("<I?", 7, True)


# ── Qwen3.6-35B-A3B: linear attention, each fourth layer full; a shared expert ───────────────

_Q_WIDTH, _Q_FFN, _Q_HEADS, _Q_KV, _Q_HEAD, _Q_FULL = 2048, 512, 16, 2, 256, 4
_KEY_HEADS, _VALUE_HEADS, _STATE = 16, 32, 128


def _qwen_layer(layer: int, size: Size) -> Shapes:
    full = layer % _Q_FULL == _Q_FULL - 1
    shapes: Shapes = {"attn_norm.weight": (_Q_WIDTH,), "post_attention_norm.weight": (_Q_WIDTH,)}
    shapes |= _qwen_full() if full else _qwen_linear()
    shapes |= _stacks(_Q_WIDTH, _Q_FFN, size.experts)
    shapes |= {"ffn_gate_inp_shexp.weight": (_Q_WIDTH,)}
    return shapes | _shared(_Q_WIDTH, _Q_FFN)


def _qwen_full() -> Shapes:
    return {
        "attn_q.weight": (_Q_WIDTH, 2 * _Q_HEADS * _Q_HEAD),
        "attn_k.weight": (_Q_WIDTH, _Q_KV * _Q_HEAD),
        "attn_v.weight": (_Q_WIDTH, _Q_KV * _Q_HEAD),
        "attn_output.weight": (_Q_HEADS * _Q_HEAD, _Q_WIDTH),
        "attn_q_norm.weight": (_Q_HEAD,),
        "attn_k_norm.weight": (_Q_HEAD,),
    }


def _qwen_linear() -> Shapes:
    values, inner = _VALUE_HEADS * _STATE, (2 * _KEY_HEADS + _VALUE_HEADS) * _STATE
    return {
        "attn_qkv.weight": (_Q_WIDTH, inner),
        "attn_gate.weight": (_Q_WIDTH, values),
        "ssm_conv1d.weight": (4, inner),
        "ssm_dt.bias": (_VALUE_HEADS,),
        "ssm_a": (_VALUE_HEADS,),
        "ssm_alpha.weight": (_Q_WIDTH, _VALUE_HEADS),
        "ssm_beta.weight": (_Q_WIDTH, _VALUE_HEADS),
        "ssm_norm.weight": (_STATE,),
        "ssm_out.weight": (values, _Q_WIDTH),
    }


def _stacks(width: int, ffn: int, experts: int) -> Shapes:
    """The router and the experts of a layer."""
    return {
        "ffn_gate_inp.weight": (width, experts),
        "ffn_gate_exps.weight": (width, ffn, experts),
        "ffn_up_exps.weight": (width, ffn, experts),
        "ffn_down_exps.weight": (ffn, width, experts),
    }


def _shared(width: int, ffn: int) -> Shapes:
    return {
        "ffn_gate_shexp.weight": (width, ffn),
        "ffn_up_shexp.weight": (width, ffn),
        "ffn_down_shexp.weight": (ffn, width),
    }


def _qwen_keys(size: Size) -> Iterator[bytes]:
    family = "qwen35moe"
    yield from _counts(
        family,
        {
            "context_length": 262_144,
            "embedding_length": _Q_WIDTH,
            "attention.head_count": _Q_HEADS,
            "attention.head_count_kv": _Q_KV,
            "expert_count": size.experts,
            "expert_used_count": 8,
            "attention.key_length": _Q_HEAD,
            "attention.value_length": _Q_HEAD,
            "expert_feed_forward_length": _Q_FFN,
            "expert_shared_feed_forward_length": _Q_FFN,
            "ssm.conv_kernel": 4,
            "ssm.state_size": _STATE,
            "ssm.group_count": _KEY_HEADS,
            "ssm.time_step_rank": _VALUE_HEADS,
            "ssm.inner_size": _VALUE_HEADS * _STATE,
            "full_attention_interval": _Q_FULL,
            "rope.dimension_count": _Q_HEAD // 4,
        },
    )
    yield f32(f"{family}.rope.freq_base", 1e7)
    yield f32(f"{family}.attention.layer_norm_rms_epsilon", 1e-6)
    sections = struct.pack("<IIQ4i", 9, 5, 4, 11, 11, 10, 0)  # an array of i32
    yield key_name(f"{family}.rope.dimension_sections") + sections


# ── gpt-oss-120b: windows and sinks, biases everywhere, experts in MXFP4 with rows of 2880 ────

_G_WIDTH, _G_HEADS, _G_KV, _G_HEAD = 2880, 64, 8, 64


def _gpt_oss_layer(_layer: int, size: Size) -> Shapes:
    query, keys = _G_HEADS * _G_HEAD, _G_KV * _G_HEAD
    return {
        **{"attn_norm.weight": (_G_WIDTH,), "post_attention_norm.weight": (_G_WIDTH,)},
        **{"attn_q.weight": (_G_WIDTH, query), "attn_q.bias": (query,)},
        **{"attn_k.weight": (_G_WIDTH, keys), "attn_k.bias": (keys,)},
        **{"attn_v.weight": (_G_WIDTH, keys), "attn_v.bias": (keys,)},
        **{"attn_output.weight": (query, _G_WIDTH), "attn_output.bias": (_G_WIDTH,)},
        "attn_sinks.weight": (_G_HEADS,),
        **_stacks(_G_WIDTH, _G_WIDTH, size.experts),
        "ffn_gate_inp.bias": (size.experts,),
        **{f"ffn_{part}_exps.bias": (_G_WIDTH, size.experts) for part in ("gate", "up", "down")},
    }


def _gpt_oss_keys(size: Size) -> Iterator[bytes]:
    family = "gpt-oss"
    yield from _counts(
        family,
        {
            "context_length": 131_072,
            "embedding_length": _G_WIDTH,
            "feed_forward_length": _G_WIDTH,
            "attention.head_count": _G_HEADS,
            "attention.head_count_kv": _G_KV,
            "attention.key_length": _G_HEAD,
            "attention.value_length": _G_HEAD,
            "attention.sliding_window": 128,
            "expert_count": size.experts,
            "expert_used_count": 4,
            "expert_feed_forward_length": _G_WIDTH,
            "rope.scaling.original_context_length": 4096,
        },
    )
    yield f32(f"{family}.rope.freq_base", 150_000)
    yield text_value(f"{family}.rope.scaling.type", "yarn")
    yield f32(f"{family}.rope.scaling.factor", 32)
    yield f32(f"{family}.attention.layer_norm_rms_epsilon", 1e-5)


# ── DeepSeek-V3.1: latent attention, leading dense layers, groups of experts ─────────────────

_D_WIDTH, _D_HEADS, _D_DENSE, _D_FFN, _D_INNER = 7168, 128, 3, 2048, 18_432
_D_QUERY, _D_RANK, _D_NOPE, _D_ROPE, _D_VALUE, _D_GROUPS = 1536, 512, 128, 64, 128, 8


def _dense(size: Size) -> int:
    """Leading dense layers: of few layers at least one has experts."""
    return min(_D_DENSE, size.layers - 1)


def _deepseek_layer(layer: int, size: Size) -> Shapes:
    shapes: Shapes = {
        **{"attn_norm.weight": (_D_WIDTH,), "ffn_norm.weight": (_D_WIDTH,)},
        **{"attn_q_a.weight": (_D_WIDTH, _D_QUERY), "attn_q_a_norm.weight": (_D_QUERY,)},
        "attn_q_b.weight": (_D_QUERY, _D_HEADS * (_D_NOPE + _D_ROPE)),
        "attn_kv_a_mqa.weight": (_D_WIDTH, _D_RANK + _D_ROPE),
        "attn_kv_a_norm.weight": (_D_RANK,),
        "attn_k_b.weight": (_D_NOPE, _D_RANK, _D_HEADS),
        "attn_v_b.weight": (_D_RANK, _D_VALUE, _D_HEADS),
        "attn_output.weight": (_D_HEADS * _D_VALUE, _D_WIDTH),
    }
    if layer < _dense(size):
        wide = {f"ffn_{part}.weight": (_D_WIDTH, _D_INNER) for part in ("gate", "up")}
        return {**shapes, **wide, "ffn_down.weight": (_D_INNER, _D_WIDTH)}
    shapes |= _stacks(_D_WIDTH, _D_FFN, size.experts) | {"exp_probs_b.bias": (size.experts,)}
    return shapes | _shared(_D_WIDTH, _D_FFN)


def _deepseek_keys(size: Size) -> Iterator[bytes]:
    family = "deepseek2"
    counts = {
        "context_length": 163_840,
        "embedding_length": _D_WIDTH,
        "feed_forward_length": _D_INNER,
        "attention.head_count": _D_HEADS,
        "attention.head_count_kv": 1,
        "attention.q_lora_rank": _D_QUERY,
        "attention.kv_lora_rank": _D_RANK,
        "attention.key_length": _D_RANK + _D_ROPE,
        "attention.value_length": _D_RANK,
        "attention.key_length_mla": _D_NOPE + _D_ROPE,
        "attention.value_length_mla": _D_VALUE,
        "leading_dense_block_count": _dense(size),
        "expert_count": size.experts,
        "expert_used_count": 8,
        "expert_shared_count": 1,
        "expert_feed_forward_length": _D_FFN,
        "expert_gating_func": 2,  # sigmoid
        "rope.dimension_count": _D_ROPE,
        "rope.scaling.original_context_length": 4096,
    }
    if size.experts % _D_GROUPS == 0 and size.experts > _D_GROUPS:
        counts |= {"expert_group_count": _D_GROUPS, "expert_group_used_count": _D_GROUPS // 2}
    yield from _counts(family, counts)
    yield flag(f"{family}.expert_weights_norm")
    yield f32(f"{family}.expert_weights_scale", 2.5)
    yield f32(f"{family}.rope.freq_base", 10_000)
    yield text_value(f"{family}.rope.scaling.type", "yarn")
    yield f32(f"{family}.rope.scaling.factor", 40)
    yield f32(f"{family}.rope.scaling.yarn_log_multiplier", 0.1)
    yield f32(f"{family}.attention.layer_norm_rms_epsilon", 1e-6)


QWEN = Shape(
    name="Qwen3.6-35B-A3B",
    family="qwen35moe",
    size=Size(layers=40, experts=256, vocabulary=248_320),
    fewest=4,
    width=_Q_WIDTH,
    tokenizer="qwen35",
    layer=_qwen_layer,
    keys=_qwen_keys,
)
GPT_OSS = Shape(
    name="gpt-oss-120b",
    family="gpt-oss",
    size=Size(layers=36, experts=128, vocabulary=201_088),
    fewest=2,
    width=_G_WIDTH,
    tokenizer="llama-bpe",
    layer=_gpt_oss_layer,
    keys=_gpt_oss_keys,
    kept={"_exps.weight": "MXFP4"},
)
DEEPSEEK = Shape(
    name="DeepSeek-V3.1",
    family="deepseek2",
    size=Size(layers=61, experts=256, vocabulary=129_280),
    fewest=2,
    width=_D_WIDTH,
    tokenizer="deepseek-llm",
    layer=_deepseek_layer,
    keys=_deepseek_keys,
)
SHAPES = {shape.name: shape for shape in (QWEN, GPT_OSS, DEEPSEEK)}
