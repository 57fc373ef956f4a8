"""Tensors whose shape or name the converter changes: modify_tensors of llama.cpp's conversion/*.py.

One table for all families, by the names within a layer. Shapes are in torch's order throughout:
the length of a row comes last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bot.predict.converter_classes import FUSED
from bot.tensors.configs import EXPERT_KEYS, number, scopes_of

Shape = tuple[int, ...]
Pieces = list[tuple[str, Shape]]  # GGUF names within a layer, and their shapes

MOST = 1 << 30
HIDDEN_KEYS = ("hidden_size", "d_model", "n_embd", "dim", "model_dim")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a config that do not follow from shapes; 0 where it has none."""

    family: str
    experts: int
    hidden: int
    nope: int  # part of a head without positions, of multi-head latent attention
    value: int  # a head's values there
    linear_values: int  # values of all heads of gated linear attention

    @classmethod
    def of(cls, config: Mapping[str, Any], family: str) -> Sizes:
        scopes = tuple(scopes_of(config))

        def size(*keys: str) -> int:
            return number(scopes, keys, MOST) or 0

        return cls(
            family=family,
            experts=number(scopes, EXPERT_KEYS) or 0,
            hidden=size(*HIDDEN_KEYS),
            nope=size("qk_nope_head_dim"),
            value=size("v_head_dim"),
            linear_values=size("linear_num_value_heads") * size("linear_value_head_dim"),
        )


class Change(NamedTuple):
    """Names within a layer, and the pieces of such a tensor; None leaves it as it is."""

    names: re.Pattern[str]
    makes: Callable[[Shape, Sizes, re.Match[str]], Pieces | None]


def change(inner_name: str, shape: Shape, sizes: Sizes) -> Pieces | None:
    """Pieces of a tensor by its name within the layer; None when only its name changes."""
    for row in TABLE:
        match = row.names.fullmatch(inner_name)
        pieces = row.makes(shape, sizes, match) if match else None
        if pieces is not None:
            return pieces
    return None


# ── experts ─────────────────────────────────────────────────────────────────────────────────

_KINDS = {
    **dict.fromkeys(("gate_proj", "w1", "gate", "linear"), "gate"),
    **dict.fromkeys(("up_proj", "w3", "v1", "up", "linear_v"), "up"),
    **dict.fromkeys(("down_proj", "w2", "down", "linear_1", "output_linear"), "down"),
    **dict.fromkeys(("gate_up_proj", "up_gate_proj", "input_linear", "w13"), "gate_up"),
}
_KIND = f"(?P<kind>{'|'.join(sorted(_KINDS, key=len, reverse=True))})"
_MOE_KIND = "(?P<kind>gate_proj|up_proj|down_proj|linear_v|linear_1|linear)"  # moe.gate: a router
_END = r"(?P<bias>[._]bias)?(?:\.weight)?"


def _experts(where: str) -> Callable[[Shape, Sizes, re.Match[str]], Pieces | None]:
    """Tensors of all experts: `where` ends their names (exps, shexp, chexps)."""

    def make(shape: Shape, sizes: Sizes, match: re.Match[str]) -> Pieces | None:
        kind = _KINDS[match["kind"]]
        if match["bias"]:
            return _split(kind, where, "bias", shape, len(shape) - 1, fused=False)
        shape = _upright(kind, shape, sizes) if where == "exps" else shape
        if len(shape) < 2:
            return None
        fused = where == "exps" and sizes.family in FUSED
        return _split(kind, where, "weight", shape, len(shape) - 2, fused=fused)

    return make


def _split(
    kind: str, where: str, suffix: str, shape: Shape, axis: int, *, fused: bool
) -> Pieces | None:
    """Gate and up apart where they are stored together, unless the family keeps them so."""
    if kind != "gate_up" or fused:
        return [(f"ffn_{kind}_{where}.{suffix}", shape)]
    if shape[axis] % 2:
        return None
    half = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
    return [(f"ffn_{part}_{where}.{suffix}", half) for part in ("gate", "up")]


def _upright(kind: str, shape: Shape, sizes: Sizes) -> Shape:
    """Experts first, rows last: stacked tensors are stored either way, or all in one matrix."""
    count, hidden = sizes.experts, sizes.hidden
    if len(shape) == 2 and count and shape[0] % count == 0:  # dbrx
        shape = (count, shape[0] // count, shape[1])
        return (count, shape[2], shape[1]) if kind == "down" else shape
    if len(shape) != 3:
        return shape
    row = 1 if kind == "down" else 2  # where the model's width belongs
    other = 3 - row
    turned = shape[row] != hidden and shape[other] == hidden
    return (shape[0], shape[2], shape[1]) if turned else shape


# ── attention ───────────────────────────────────────────────────────────────────────────────


def _latent(shape: Shape, sizes: Sizes, _match: re.Match[str]) -> Pieces | None:
    """kv_b_proj → k_b, transposed, and v_b, head by head (absorption of latent attention)."""
    head = sizes.nope + sizes.value
    if len(shape) != 2 or not sizes.nope or not sizes.value or shape[0] % head:
        return None
    heads, rank = shape[0] // head, shape[1]
    return [
        ("attn_k_b.weight", (heads, rank, sizes.nope)),
        ("attn_v_b.weight", (heads, sizes.value, rank)),
    ]


def _gated(shape: Shape, sizes: Sizes, _match: re.Match[str]) -> Pieces | None:
    """in_proj_qkvz → queries, keys and values together, and the gate."""
    if len(shape) != 2 or not 0 < sizes.linear_values < shape[0]:
        return None
    gate = sizes.linear_values
    return [
        ("attn_qkv.weight", (shape[0] - gate, shape[1])),
        ("attn_gate.weight", (gate, shape[1])),
    ]


def _convolution(shape: Shape, _sizes: Sizes, match: re.Match[str]) -> Pieces | None:
    which = match["which"]
    if which is None:
        return [("ssm_conv1d.weight", tuple(length for length in shape if length != 1))]
    if len(shape) < 2:
        return None
    return [(f"ssm_conv1d_{which}.weight", (1, shape[0], 1, shape[-1]))]


def _router(shape: Shape, sizes: Sizes, _match: re.Match[str]) -> Pieces | None:
    """DeepSeek-V4 calls the router what others call a dense gate: a row for each expert tells."""
    return [("ffn_gate_inp.weight", shape)] if shape[:1] == (sizes.experts,) else None


def _named(name: str) -> Callable[[Shape, Sizes, re.Match[str]], Pieces | None]:
    return lambda shape, _sizes, _match: [(name, shape)]


def _table(rows: Sequence[tuple[str, Any]]) -> tuple[Change, ...]:
    return tuple(Change(re.compile(names), makes) for names, makes in rows)


_SHARED = r"(?:.*\.)?(?:shared_experts?|share_expert|shared_mlp|shared_moe)\."
_ROUTED = r"(?:.*\.)?(?<![a-z_])experts?\.(?:mlp\.)?"

TABLE = _table(
    (
        (_SHARED + _KIND + _END, _experts("shexp")),
        (r"(?:.*\.)?chunk_experts\." + _KIND + _END, _experts("chexps")),
        (_ROUTED + _KIND + _END, _experts("exps")),
        (r"(?:.*\.)?moe\." + _MOE_KIND + _END, _experts("exps")),
        (
            r"block_sparse_moe\.(?P<kind>input_linear|output_linear)" + _END,
            _experts("exps"),
        ),
        (r"(?:.*\.)?kv_b_proj\.weight", _latent),
        (r"(?:.*\.)?in_proj_qkvz\.weight", _gated),
        (r"(?:.*\.)?(?:(?P<which>[qkv])_)?conv1d\.weight", _convolution),
        (r"ffn\.gate\.weight", _router),
        (r"attention\.query_key_value\.weight", _named("attn_qkv.weight")),  # BailingMoe
        (r"(?:.*\.)?gate\.tid2eid", _named("ffn_gate_tid2eid.weight")),
        (r"router\.scale", _named("ffn_gate_inp.scale")),
        (r"(?:.*\.)?per_expert_scale", _named("ffn_down_exps.scale")),
    )
)
