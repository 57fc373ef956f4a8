"""A GGUF file's header → Architecture, counted from its own tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from bot.errors import SourceError
from bot.records.model import Architecture, Tensor
from bot.tensors.configs import MOST_LAYERS, can_route
from bot.tensors.originals import is_original, original_storage
from bot.tensors.roles import ROUTED, SHARED, has_role, layer_of

EXPERT_ALONE = re.compile(r"\.ffn_(gate|up|down)\.\d+\.weight$")
# models/llama4.cpp of llama.cpp: chunks of so many tokens, every 4th layer sees everything
CHUNKED = {"llama4": 8192}
SAMPLING = ("temp", "top_k", "top_p", "min_p", "penalty_repeat", "penalty_last_n")
_PERIODS = {"llama4": 4}


@dataclass(frozen=True)
class _Keys:
    """A header's keys of its own family."""

    metadata: Mapping[str, Any]
    family: str

    def get(self, key: str, default: object = None) -> Any:
        """The value of FAMILY.key."""
        return self.metadata.get(f"{self.family}.{key}", default)

    def count(self, key: str) -> int:
        """A number, 0 where there is none, of a list the largest. Raises SourceError for others."""
        value = self.get(key, 0)
        value = max(value, default=0) if isinstance(value, list) else value
        if not isinstance(value, int) or value < 0:
            raise SourceError(
                f"{self.family}.{key} is {value!r}, not a count; convert the model again"
            )
        return value


def architecture_of(metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> Architecture:
    """The model of a file. Raises SourceError when it is no mixture of experts, or no original.

    An original has 16 bits, or the types that the converter keeps of its family (`KEPT`).
    """
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or not tensors:
        raise SourceError("the file is not a language model; name a 16-bit GGUF of one")
    keys = _Keys(metadata, family)
    name = str(metadata.get("general.name") or family)
    experts, active = _experts(keys, name, tensors)
    layers, mtp = _layers(keys, name)
    by_layer = _by_layer(tensors)
    main = [tensor for tensor in tensors if (layer_of(tensor.name) or 0) < layers]
    routed = sum(tensor.parameters for tensor in main if has_role(tensor.name, ROUTED))
    total = sum(tensor.parameters for tensor in main)
    kinds = tuple(kind_of(by_layer.get(i, ()), _named(keys, i)) for i in range(layers))
    unbounded = [i for i, kind in enumerate(kinds) if kind in ("full", "sparse")]
    windows = [i for i, kind in enumerate(kinds) if kind in ("sliding", "chunked")]
    sparse = {i for i, names in by_layer.items() if any(has_role(name, ROUTED) for name in names)}
    return Architecture(
        family=family,
        name=name,
        layers=layers,
        mtp_layers=mtp,
        dense_layers=layers - len(sparse.intersection(range(layers))),
        experts=experts,
        experts_active=active,
        shared_expert=any(has_role(tensor.name, SHARED) for tensor in main),
        parameters=total,
        parameters_active=total - routed + routed * active // experts,
        attention=kinds,
        cache_values=_cache(keys, unbounded),
        cache_window_values=_cache(keys, windows),
        cache_window=_window(keys) if windows else 0,
        context_length=keys.count("context_length"),
        vocabulary=next((t.shape[1] for t in tensors if t.name == "token_embd.weight"), 0),
        embedding_length=keys.count("embedding_length"),
        tied_embeddings=not any(t.name == "output.weight" for t in tensors),
        source_type=_source_type(name, family, tensors),
        sampling=sampling_of(metadata),
    )


def sampling_of(metadata: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """The settings that converters take from generation_config.json, where they are numbers."""
    found = ((name, metadata.get(f"general.sampling.{name}")) for name in SAMPLING)
    return tuple(
        (name, float(f"{value:.6g}") if isinstance(value, float) else value)  # f32, as it was meant
        for name, value in found
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    )


def _experts(keys: _Keys, name: str, tensors: Iterable[Tensor]) -> tuple[int, int]:
    """All experts and active ones. Raises SourceError where header and tensors are no mixture."""
    experts, active = keys.count("expert_count"), keys.count("expert_used_count")
    names = [tensor.name for tensor in tensors]
    apart = next((own for own in names if EXPERT_ALONE.search(own)), None)
    if apart is not None:
        raise SourceError(
            f"{name} keeps each expert in a tensor of its own ({apart[:120]}), as GGUF files of "
            "early 2024 did; convert the original model again"
        )
    if experts < 2 or not any(has_role(own, ROUTED) for own in names):
        raise SourceError(f"{name} is not a mixture of experts; apex-bot publishes only those")
    if not can_route(experts, active):
        raise SourceError(
            f"{name} says that {active} of {experts} experts are active; convert it again"
        )
    return experts, active


def _layers(keys: _Keys, name: str) -> tuple[int, int]:
    """Layers of the text decoder, and layers of multi-token prediction after them."""
    mtp, blocks = keys.count("nextn_predict_layers"), keys.count("block_count")
    if blocks <= mtp or blocks > MOST_LAYERS:
        raise SourceError(f"{name} has {blocks} layers, {mtp} of them MTP; convert it again")
    return blocks - mtp, mtp


def _by_layer(tensors: Iterable[Tensor]) -> dict[int, list[str]]:
    layers: dict[int, list[str]] = {}
    for tensor in tensors:
        layer = layer_of(tensor.name)
        if layer is not None:
            layers.setdefault(layer, []).append(tensor.name)
    return layers


def kind_of(names: Iterable[str], usual: str) -> str:
    """A layer's kind of attention by its tensors, `usual` where these leave it open.

    Indexers and compressors choose what is attended to, whatever else header or config say.
    """
    parts = {name.split(".")[2] for name in names}
    if any(part.startswith(("ssm_", "shortconv")) for part in parts):
        return "linear"
    if any(part.startswith(("indexer", "attn_compressor")) for part in parts):
        return "sparse"
    if not any(part.startswith("attn_") and not part.endswith("_norm") for part in parts):
        return "none"
    return "full" if usual == "none" else usual


def _named(keys: _Keys, layer: int) -> str:
    """A layer's kind of attention by the header (hparams.is_swa and swa_type of llama.cpp)."""
    if _slides(keys, layer):
        return "chunked" if keys.family in CHUNKED else "sliding"
    # a layer without an indexer of its own attends to what the one before it chose
    return "full" if keys.get("attention.indexer.types") is None else "sparse"


def _slides(keys: _Keys, layer: int) -> bool:
    if not _window(keys):
        return False
    pattern = keys.get("attention.sliding_window_pattern", _PERIODS.get(keys.family))
    if isinstance(pattern, list):
        return bool(pattern[layer]) if layer < len(pattern) else False
    if isinstance(pattern, int) and pattern > 1:
        return layer % pattern < pattern - 1
    return True


def _window(keys: _Keys) -> int:
    """Tokens of the window, 0 for none. Some families of llama.cpp have one of their own."""
    window = keys.get("attention.sliding_window")
    if keys.family in CHUNKED:
        return 0 if window == 0 else CHUNKED[keys.family]
    return window if isinstance(window, int) and window > 0 else 0


def _cache(keys: _Keys, layers: Sequence[int]) -> int:
    """Keys and values of a token in these layers' cache; 0 where the header has no heads.

    Lengths as in llama.cpp's llama_hparams (n_embd_k_gqa, n_embd_v_gqa).
    """

    def of_layer(key: str, layer: int) -> int:
        value = keys.get(key)
        if isinstance(value, list):
            value = value[layer] if layer < len(value) else None
        return value if isinstance(value, int) and value > 0 else 0

    total = 0
    for layer in layers:
        heads = of_layer("attention.head_count", layer)
        usual = of_layer("embedding_length", layer) // heads if heads else 0
        widths = (of_layer(f"attention.{part}_length", layer) for part in ("key", "value"))
        width = sum(own or usual for own in widths)
        values = (of_layer("attention.head_count_kv", layer) or heads) * width
        total += values // (of_layer("attention.compress_ratios", layer) or 1)
    return total


def _source_type(name: str, family: str, tensors: Iterable[Tensor]) -> str:
    """The type of most weights; what makers do not publish themselves is not a source."""
    kind = original_storage(tensors, family)
    if kind is None:
        raise SourceError(f"{name} has no weights; convert it again")
    if not is_original(kind, family):
        raise SourceError(f"{name} is quantized already ({kind}); start from a 16-bit file")
    return kind
