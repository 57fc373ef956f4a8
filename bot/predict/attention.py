"""Which kind of attention each layer has, by config.json: one table, in the order it is asked.

A word per layer: full, sliding (a window), chunked, sparse (an indexer or compression chooses
what is attended to), linear (recurrent: gated delta, Mamba, short convolution), none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bot.tensors.configs import LONGEST_LIST, integer

Scopes = Sequence[Mapping[str, Any]]
Layers = tuple[str, ...]
Reader = Callable[[Any, int, Scopes], Layers | None]

# a layer's own word in a list or string, as transformers, NVIDIA and others write it
WORDS: dict[object, str] = {
    **dict.fromkeys(("full_attention", "attention", "full", "global", "*", "G"), "full"),
    **dict.fromkeys(("global_attention", "softmax", "hybrid"), "full"),
    **dict.fromkeys(("sliding_attention", "sliding", "sliding_window", "swa", "L"), "sliding"),
    **dict.fromkeys(("hybrid_sliding", "reference_sliding_attention", "local"), "sliding"),
    **dict.fromkeys(("local_attention", "sliding_window_attention"), "sliding"),
    **dict.fromkeys(("chunked_attention", "chunked"), "chunked"),
    **dict.fromkeys(("linear_attention", "mamba", "mamba2", "M", "conv", "recurrent"), "linear"),
    **dict.fromkeys(("linear", "lightning", "lightning_attn", "kda", "gated_delta"), "linear"),
    **dict.fromkeys(("indexed_attention", "compressed_sparse_attention"), "sparse"),
    **dict.fromkeys(("sparse_attention", "deepseek_sparse_attention"), "sparse"),
    **dict.fromkeys(("heavily_compressed_attention", "minimax_m3_sparse", "sparse"), "sparse"),
    **dict.fromkeys(("-", "E", "mlp", "moe"), "none"),
}


# families that attend in chunks where their config does not say otherwise
CHUNKED_TYPES = ("llama4", "llama4_text")


class AttentionRule(NamedTuple):
    """A key, and the reader of its value: kinds for a number of layers, None for another form."""

    key: str
    reads: Reader


def attention_kinds(scopes: Scopes, layers: int) -> Layers | None:
    """The kind of attention of each of `layers` layers, None where no key gives it."""
    for rule in RULES:
        for scope in scopes:
            if scope.get(rule.key) is not None:
                kinds = rule.reads(scope[rule.key], layers, scopes)
                if kinds is not None:
                    return kinds
    return None


# ── readers ─────────────────────────────────────────────────────────────────────────────────


def _named(value: Any, layers: int, _scopes: Scopes) -> Layers | None:
    """A word or letter for each layer; further entries are of MTP layers."""
    if not isinstance(value, list | str) or not layers <= len(value) <= LONGEST_LIST:
        return None
    words = [WORDS.get(item) if isinstance(item, str) else None for item in value[:layers]]
    return tuple(word for word in words if word) if all(words) else None


def _numbered(words: Mapping[int, str], other: str | None = None) -> Reader:
    """A number for each layer."""

    def read(value: Any, layers: int, _scopes: Scopes) -> Layers | None:
        if not isinstance(value, list) or not layers <= len(value) <= LONGEST_LIST:
            return None
        plain = [int(item) if isinstance(item, int) else None for item in value[:layers]]
        kinds = [words.get(item, other) if item is not None else None for item in plain]
        return tuple(kind for kind in kinds if kind) if all(kinds) else None

    return read


def _every(rare: str, usual: str) -> Reader:
    """Every n-th layer, counted from 1, is of the rare kind."""

    def read(value: Any, layers: int, _scopes: Scopes) -> Layers | None:
        step = integer(value, LONGEST_LIST)
        if not step:
            return None
        return tuple(rare if i % step == step - 1 else usual for i in range(layers))

    return read


def _window_pattern(value: Any, layers: int, scopes: Scopes) -> Layers | None:
    """A number (every n-th layer is full) or letters that recur (LLLG)."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST_LIST:
        words = [WORDS.get(letter) for letter in value]
        kinds = [words[i % len(words)] for i in range(layers)]
        return tuple(kind for kind in kinds if kind) if all(kinds) else None
    if isinstance(value, list):
        return _numbered({0: "full", 1: "sliding"})(value, layers, scopes)
    return _every("full", "sliding")(value, layers, scopes)


def _period(value: Any, layers: int, scopes: Scopes) -> Layers | None:
    """Jamba: one layer of attention in each period, at an offset."""
    step = integer(value, LONGEST_LIST)
    offset = next((n for s in scopes if (n := integer(s.get("attn_layer_offset"), 4096))), 0)
    if not step:
        return None
    return tuple("full" if i % step == offset % step else "linear" for i in range(layers))


def _listed_layers(value: Any, layers: int, _scopes: Scopes) -> Layers | None:
    """Kimi: the layers of full attention by their numbers, counted from 1."""
    places = value.get("full_attn_layers") if isinstance(value, Mapping) else None
    if not isinstance(places, list) or len(places) > LONGEST_LIST:
        return None
    full = {place for place in places if type(place) is int}
    return tuple("full" if i + 1 in full else "linear" for i in range(layers))


def _without_rope(value: Any, layers: int, scopes: Scopes) -> Layers | None:
    """Llama 4: layers without rotary positions (0) attend to everything, others to their chunk.

    Other families leave positions out of layers that all attend to everything.
    """
    if not _in_chunks(scopes):
        return None
    if value == []:
        return _every("full", "chunked")(4, layers, scopes)
    return _numbered({0: "full", 1: "chunked"})(value, layers, scopes)


def _chunks(value: Any, layers: int, scopes: Scopes) -> Layers | None:
    """Llama 4 without a list: every 4th layer attends to everything."""
    return _without_rope([], layers, scopes) if integer(value, 1 << 30) else None


def _by_family(value: Any, layers: int, scopes: Scopes) -> Layers | None:
    """Llama 4 attends in chunks unless its config says null (Llama4TextConfig's default)."""
    return _without_rope([], layers, scopes) if value in CHUNKED_TYPES else None


def _in_chunks(scopes: Scopes) -> bool:
    chunk_sizes = [
        scope["attention_chunk_size"] for scope in scopes if "attention_chunk_size" in scope
    ]
    if chunk_sizes:
        return bool(integer(chunk_sizes[0], 1 << 30))
    types = [scope["model_type"] for scope in scopes if "model_type" in scope]
    return not types or any(kind in CHUNKED_TYPES for kind in types)


def _blocks(value: Any, layers: int, scopes: Scopes) -> Layers | None:
    """MiniMax-M3: a number for each layer, 0 where it attends to everything."""
    if not isinstance(value, Mapping) or value.get("use_sparse_attention") is False:
        return None
    often = value.get("sparse_attention_freq")
    return _numbered({0: "full"}, other="sparse")(often, layers, scopes)


def _everywhere(word: str) -> Reader:
    def read(value: Any, layers: int, _scopes: Scopes) -> Layers | None:
        return (word,) * layers if integer(value, 1 << 30) else None

    return read


def _window(value: Any, layers: int, scopes: Scopes) -> Layers | None:
    """A window in every layer, unless it is switched off or not shorter than the context."""
    window = integer(value, 1 << 30)
    context = max(integer(s.get("max_position_embeddings"), 1 << 30) or 0 for s in scopes)
    off = any(scope.get("use_sliding_window") is False for scope in scopes)
    if not window or off or (context and window >= context):
        return None
    return ("sliding",) * layers


RULES = (
    AttentionRule("layer_types", _named),
    AttentionRule("layers_block_type", _named),
    AttentionRule("hybrid_override_pattern", _named),
    AttentionRule("linear_attn_config", _listed_layers),
    AttentionRule("sparse_attention_config", _blocks),
    AttentionRule("full_attention_interval", _every("full", "linear")),
    AttentionRule("layer_group_size", _every("full", "linear")),
    AttentionRule("attn_layer_period", _period),
    AttentionRule("attn_type_list", _numbered({0: "linear", 1: "full"})),
    AttentionRule("compress_ratios", _numbered({0: "sliding"}, other="sparse")),
    AttentionRule("sliding_window_layout", _numbered({0: "full", 1: "sliding"})),
    AttentionRule("hybrid_layer_pattern", _numbered({0: "full", 1: "sliding"})),
    AttentionRule("no_rope_layers", _without_rope),
    AttentionRule("attention_chunk_size", _chunks),
    AttentionRule("sliding_window_pattern", _window_pattern),
    AttentionRule("index_topk", _everywhere("sparse")),
    AttentionRule("model_type", _by_family),
    AttentionRule("sliding_window", _window),
)
