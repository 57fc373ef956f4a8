"""A GGUF file's header → Architecture, counted from its own tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.errors import SourceError
from bot.records import Architecture, Tensor

SIXTEEN_BIT = ("BF16", "F16", "F32")
INTEGER = re.compile(r"I\d+")  # routing tables, which are no weights
ROUTED = re.compile(r"\.ffn_(gate|up|down|gate_up)_(exps|chexps)\.weight$")
SHARED = re.compile(r"\.ffn_(gate|up|down)_shexp\.weight$")
BLOCK = re.compile(r"^blk\.(\d+)\.")


def describe(metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> Architecture:
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
    if experts < 2 or not any(ROUTED.search(t.name) for t in tensors):
        raise SourceError(f"{name} is not a mixture of experts; apex-bot publishes only those")
    mtp = number("nextn_predict_layers")
    blocks = number("block_count")
    if blocks <= mtp or blocks > 10_000:
        raise SourceError(f"{name} has {blocks} layers, {mtp} of them MTP; convert it again")
    layers = blocks - mtp
    by_layer = _by_layer(tensors)
    main = [t for t in tensors if _layer(t.name, -1) < layers]
    routed = sum(t.parameters for t in main if ROUTED.search(t.name))
    total = sum(t.parameters for t in main)
    kinds = tuple(
        _attention(by_layer.get(i, ()), _slides(metadata, family, i)) for i in range(layers)
    )
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
        cache_values=_cache(
            metadata, family, [i for i, kind in enumerate(kinds) if kind == "full"]
        ),
        cache_window_values=_cache(
            metadata, family, [i for i, kind in enumerate(kinds) if kind == "sliding"]
        ),
        cache_window=number("attention.sliding_window") if "sliding" in kinds else 0,
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


def _attention(names: Iterable[str], slides: bool) -> str:
    parts = {name.split(".")[2] for name in names}
    if any(part.startswith(("ssm_", "shortconv")) for part in parts):
        return "linear"
    if not any(part.startswith("attn_") and not part.endswith("_norm") for part in parts):
        return "none"
    return "sliding" if slides else "full"


def _slides(metadata: Mapping[str, Any], family: str, layer: int) -> bool:
    """Whether a layer attends within a window only (hparams.is_swa of llama.cpp)."""
    if not metadata.get(f"{family}.attention.sliding_window"):
        return False
    pattern = metadata.get(f"{family}.attention.sliding_window_pattern")
    if isinstance(pattern, list):
        return bool(pattern[layer]) if layer < len(pattern) else False
    if isinstance(pattern, int) and pattern > 1:
        return layer % pattern < pattern - 1
    return True


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
        total += (told("attention.head_count_kv", layer) or heads) * width
    return total


def _source_type(name: str, tensors: Iterable[Tensor]) -> str:
    """The type of most weights; anything below 16 bits is not a source."""
    weights = Counter[str]()
    for tensor in tensors:
        if len(tensor.shape) > 1:
            weights[tensor.type] += tensor.parameters
    lossy = [kind for kind in weights if kind not in SIXTEEN_BIT and not INTEGER.fullmatch(kind)]
    if lossy:
        raise SourceError(f"{name} is quantized already ({lossy[0]}); start from a 16-bit file")
    return next(kind for kind, _ in weights.most_common() if kind in SIXTEEN_BIT)
