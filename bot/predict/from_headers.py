"""A checkpoint's config.json and safetensors headers → Architecture, before any weight is here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.errors import SourceError
from bot.predict.architecture import kind_of
from bot.predict.attention import attention_kinds
from bot.predict.conversion import HEAD, Predicted
from bot.predict.reshaping import HIDDEN_KEYS
from bot.records.model import Architecture, Tensor
from bot.records.releases import Release
from bot.tensors.configs import (
    ACTIVE_KEYS,
    EXPERT_KEYS,
    can_route,
    number,
    scopes_of,
    shared_experts,
)
from bot.tensors.originals import original_storage
from bot.tensors.roles import ROUTED, SHARED, has_role, layer_of
from bot.tensors.stored import Content

CONTEXT_KEYS = (
    *("max_position_embeddings", "model_max_length", "max_sequence_length", "max_seq_len"),
    *("seq_length", "n_positions", "max_seq_length"),
)
MOST = 1 << 30
_RELATION = re.compile(r"base_model:(finetune|quantized|adapter|merge):([\w.-]+/[\w.-]+)")
_BASE = re.compile(r"base_model:([\w.-]+/[\w.-]+)")

Scopes = Sequence[Mapping[str, Any]]


def describe_predicted(
    config: Mapping[str, Any], content: Content, predicted: Predicted, release: Release
) -> Architecture:
    """A model by the tensors that its conversion writes. Raises SourceError for no mixture."""
    scopes = tuple(scopes_of(config))
    name = release.repo_id.split("/")[-1]
    layers = _layers(content, name)
    by_layer = _by_layer(predicted.tensors, layers)
    active, experts = _experts(scopes, predicted.tensors, name)
    routed = sum(t.parameters for t in predicted.tensors if has_role(t.name, ROUTED))
    total = content.weights("main")
    dense = [not any(has_role(name, ROUTED) for name in names) for names in by_layer]
    shared = any(has_role(tensor.name, SHARED) for tensor in predicted.tensors)
    relation, base = base_of(release)
    return Architecture(
        family=predicted.family,
        name=name,
        layers=layers,
        mtp_layers=content.mtp_layers,
        dense_layers=sum(dense),
        dense_leading_layers=dense.index(False) if False in dense else layers,
        experts=experts,
        experts_active=active,
        shared_expert=shared,
        shared_experts=shared_experts(scopes) or int(shared),
        parameters=total,
        parameters_active=total - routed + routed * active // experts,
        parameters_other=content.weights("vision", "audio"),
        attention=_attention(attention_kinds(scopes, layers), by_layer),
        context_length=number(scopes, CONTEXT_KEYS, MOST) or 0,
        vocabulary=_vocabulary(scopes, predicted.tensors),
        embedding_length=number(scopes, HIDDEN_KEYS, MOST) or 0,
        tied_embeddings=not any(t.name == HEAD for t in predicted.tensors),
        source_type=original_storage(predicted.tensors, predicted.family) or "BF16",
        source_precision=content.precision,
        source_shares=content.shares,
        vision=content.has("vision"),
        audio=content.has("audio"),
        base_relation=relation,
        base_model=base,
    )


def base_of(release: Release) -> tuple[str | None, str | None]:
    """How a release came from another model, and which, by the Hub's own tags."""
    for tag in release.tags:
        if match := _RELATION.fullmatch(tag):
            return match[1], match[2]
    return None, next((m[1] for tag in release.tags if (m := _BASE.fullmatch(tag))), None)


def _layers(content: Content, name: str) -> int:
    """Layers by the config, which must all be there; by the tensors where it counts none."""
    present = {tensor.layer for tensor in content.main if tensor.layer is not None}
    layers = content.layers or max(present, default=-1) + 1
    if not present or len(present) != layers:
        raise SourceError(
            f"{name} has weights for {len(present)} layers, its config.json says {layers}; "
            "its maker has to repair it"
        )
    return layers


def _by_layer(tensors: Iterable[Tensor], layers: int) -> list[list[str]]:
    names: list[list[str]] = [[] for _ in range(layers)]
    for tensor in tensors:
        layer = layer_of(tensor.name)
        if layer is not None and layer < layers:
            names[layer].append(tensor.name)
    return names


def _experts(scopes: Scopes, tensors: Iterable[Tensor], name: str) -> tuple[int, int]:
    """Active and routed experts. Raises SourceError where config and tensors contradict."""
    by_layer = _routed_by_layer(tensors)
    counts = {count for layer_counts in by_layer.values() for count in layer_counts}
    if not counts:
        raise SourceError(f"{name} has no tensors of experts; apex-bot publishes only mixtures")
    if len(counts) > 1:
        raise _differing(by_layer, name)
    stored = max(counts)
    declared, active = number(scopes, EXPERT_KEYS), number(scopes, ACTIVE_KEYS) or 0
    if declared and declared != stored:
        raise SourceError(
            f"{name} has {stored} experts, its config.json says {declared}; "
            "its maker has to repair it"
        )
    if not can_route(stored, active):
        raise SourceError(
            f"{name} has {stored} experts, its config.json says that {active} are active; "
            "its maker has to repair it"
        )
    return active, stored


def _routed_by_layer(tensors: Iterable[Tensor]) -> dict[int, set[int]]:
    """Numbers of routed experts in each layer's tensors: one, in a model that is whole."""
    counts: dict[int, set[int]] = {}
    for tensor in tensors:
        layer = layer_of(tensor.name)
        if layer is not None and tensor.name.endswith("_exps.weight") and len(tensor.shape) > 2:
            counts.setdefault(layer, set()).add(tensor.shape[-1])
    return counts


def _differing(by_layer: Mapping[int, set[int]], name: str) -> SourceError:
    """Layers of several numbers of experts: expert_count is one number in llama.cpp's header."""
    usual = Counter(min(layer_counts) for layer_counts in by_layer.values()).most_common(1)[0][0]
    layer = next(
        layer for layer, layer_counts in sorted(by_layer.items()) if layer_counts != {usual}
    )
    other = next(count for count in sorted(by_layer[layer]) if count != usual)
    return SourceError(
        f"{name} has {usual} experts in most layers and {other} in layer {layer}; "
        "llama.cpp has one number for all, choose another model"
    )


def _attention(
    config_words: tuple[str, ...] | None, by_layer: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """The config's word for each layer, unless its tensors are plainly of another kind."""
    words = config_words or ("full",) * len(by_layer)
    return tuple(kind_of(names, word) for word, names in zip(words, by_layer, strict=True))


def _vocabulary(scopes: Scopes, tensors: Iterable[Tensor]) -> int:
    rows = (t.shape[1] for t in tensors if t.name == "token_embd.weight" and len(t.shape) == 2)
    return next(rows, 0) or number(scopes, ("vocab_size",), MOST) or 0
