"""A GGUF file's header → Architecture, counted from its own tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.errors import SourceError
from bot.records.model import Architecture, Tensor
from bot.tensors.configs import can_route
from bot.tensors.weights import SIXTEEN_BIT, gguf_storage

ROUTED = re.compile(r"\.ffn_(gate|up|down|gate_up)_(exps|chexps)\.weight$")
SHARED = re.compile(r"\.ffn_(gate|up|down)_shexp\.weight$")
EXPERT_ALONE = re.compile(r"\.ffn_(gate|up|down)\.\d+\.weight$")
BLOCK = re.compile(r"^blk\.(\d+)\.")
# models/llama4.cpp of llama.cpp: chunks of so many tokens, every 4th layer sees everything
CHUNKED = {"llama4": 8192}
_PERIODS = {"llama4": 4}


def architecture_of(metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> Architecture:
    """What the model is. Raises SourceError when it is not a 16-bit mixture of experts."""
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or not tensors:
        raise SourceError("the file is not a language model; name a 16-bit GGUF of one")

    def number(key: str) -> int:
        value = metadata.get(f"{family}.{key}", 0)
        value = max(value, default=0) if isinstance(value, list) else value
        if not isinstance(value, int) or value < 0:
            raise SourceError(f"{family}.{key} is {value!r}, not a count; convert the model again")
        return value

    name = str(metadata.get("general.name") or family)
    experts, active = number("expert_count"), number("expert_used_count")
    apart = next((t.name for t in tensors if EXPERT_ALONE.search(t.name)), None)
    if apart is not None:
        raise SourceError(
            f"{name} keeps each expert in a tensor of its own ({apart[:120]}), as GGUF files of "
            "early 2024 did; convert the original model again"
        )
    if experts < 2 or not any(ROUTED.search(t.name) for t in tensors):
        raise SourceError(f"{name} is not a mixture of experts; apex-bot publishes only those")
    if not can_route(experts, active):
        raise SourceError(
            f"{name} says that {active} of {experts} experts are active; convert it again"
        )
    mtp = number("nextn_predict_layers")
    blocks = number("block_count")
    if blocks <= mtp or blocks > 10_000:
        raise SourceError(f"{name} has {blocks} layers, {mtp} of them MTP; convert it again")
    layers = blocks - mtp
    by_layer = _by_layer(tensors)
    main = [t for t in tensors if _layer(t.name, -1) < layers]
    routed = sum(t.parameters for t in main if ROUTED.search(t.name))
    total = sum(t.parameters for t in main)
    kinds = tuple(kind_of(by_layer.get(i, ()), _named(metadata, family, i)) for i in range(layers))
    whole = [i for i, kind in enumerate(kinds) if kind in ("full", "sparse")]
    windows = [i for i, kind in enumerate(kinds) if kind in ("sliding", "chunked")]
    return Architecture(
        family=family,
        name=name,
        layers=layers,
        mtp_layers=mtp,
        dense_layers=sum(
            not any(ROUTED.search(n) for n in by_layer.get(i, ())) for i in range(layers)
        ),
        experts=experts,
        experts_active=active,
        shared_expert=any(SHARED.search(t.name) for t in main),
        parameters=total,
        parameters_active=total - routed + routed * active // experts,
        attention=kinds,
        cache_values=_cache(metadata, family, whole),
        cache_window_values=_cache(metadata, family, windows),
        cache_window=_window(metadata, family) if windows else 0,
        context_length=number("context_length"),
        vocabulary=next((t.shape[1] for t in tensors if t.name == "token_embd.weight"), 0),
        embedding_length=number("embedding_length"),
        tied_embeddings=not any(t.name == "output.weight" for t in tensors),
        source_type=_source_type(name, tensors),
    )


def _layer(name: str, otherwise: int) -> int:
    match = BLOCK.match(name)
    return int(match[1]) if match else otherwise


def _by_layer(tensors: Iterable[Tensor]) -> dict[int, list[str]]:
    layers: dict[int, list[str]] = {}
    for tensor in tensors:
        layers.setdefault(_layer(tensor.name, -1), []).append(tensor.name)
    return layers


def kind_of(names: Iterable[str], told: str) -> str:
    """A layer's kind of attention by its tensors, `told` where these leave it open.

    Indexers and compressors choose what is attended to, whatever else was told.
    """
    parts = {name.split(".")[2] for name in names}
    if any(part.startswith(("ssm_", "shortconv")) for part in parts):
        return "linear"
    if any(part.startswith(("indexer", "attn_compressor")) for part in parts):
        return "sparse"
    if not any(part.startswith("attn_") and not part.endswith("_norm") for part in parts):
        return "none"
    return "full" if told == "none" else told


def _named(metadata: Mapping[str, Any], family: str, layer: int) -> str:
    """What the metadata say of a layer (hparams.is_swa and swa_type of llama.cpp)."""
    if _slides(metadata, family, layer):
        return "chunked" if family in CHUNKED else "sliding"
    # a layer without an indexer of its own attends to what the one before it chose
    return "sparse" if f"{family}.attention.indexer.types" in metadata else "full"


def _slides(metadata: Mapping[str, Any], family: str, layer: int) -> bool:
    if not _window(metadata, family):
        return False
    pattern = metadata.get(f"{family}.attention.sliding_window_pattern", _PERIODS.get(family))
    if isinstance(pattern, list):
        return bool(pattern[layer]) if layer < len(pattern) else False
    if isinstance(pattern, int) and pattern > 1:
        return layer % pattern < pattern - 1
    return True


def _window(metadata: Mapping[str, Any], family: str) -> int:
    """Tokens of the window, 0 for none. Some families of llama.cpp have one of their own."""
    told = metadata.get(f"{family}.attention.sliding_window")
    if family in CHUNKED:
        return 0 if told == 0 else CHUNKED[family]
    return told if isinstance(told, int) and told > 0 else 0


def _cache(metadata: Mapping[str, Any], family: str, layers: Sequence[int]) -> int:
    """Keys and values of a token in these layers' cache; 0 where the heads are not told.

    Lengths as in llama.cpp's llama_hparams (n_embd_k_gqa, n_embd_v_gqa).
    """

    def told(key: str, layer: int) -> int:
        value = metadata.get(f"{family}.{key}")
        if isinstance(value, list):
            value = value[layer] if layer < len(value) else None
        return value if isinstance(value, int) and value > 0 else 0

    total = 0
    for layer in layers:
        heads = told("attention.head_count", layer)
        usual = told("embedding_length", layer) // heads if heads else 0
        width = sum(told(f"attention.{part}_length", layer) or usual for part in ("key", "value"))
        values = (told("attention.head_count_kv", layer) or heads) * width
        total += values // (told("attention.compress_ratios", layer) or 1)
    return total


def _source_type(name: str, tensors: Iterable[Tensor]) -> str:
    """The type of most weights; anything below 16 bits is not a source."""
    kind = gguf_storage(tensors)
    if kind is None:
        raise SourceError(f"{name} has no weights; convert it again")
    if kind not in SIXTEEN_BIT:
        raise SourceError(f"{name} is quantized already ({kind}); start from a 16-bit file")
    return kind
