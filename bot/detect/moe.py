"""Whether a config.json describes a mixture of experts, and with how many: pure, table-driven.

The words of configs are in `bot.tensors.configs`; here is what must hold of them. A family is a
row of a table, never a branch below. Nothing here raises, whatever a stranger's config holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bot.detect.makers import CLEARLY_DENSE, FAMILY_REFUSALS, WITH_SPARSE_MEMBERS
from bot.detect.quantized import is_native
from bot.records.releases import Outcome
from bot.tensors.configs import (
    ACTIVE_KEYS,
    EXPERT_KEYS,
    MOST_EXPERTS,
    MOST_LAYERS,
    can_route,
    config_names,
    converter_name,
    differing_experts,
    layer_count,
    number,
    quant_method,
    scopes_of,
    shared_experts,
    text_config,
)

# ── the tables ──────────────────────────────────────────────────────────────────────────────

ADAPTER_KEYS = ("peft_type", "lora_alpha")
DIFFUSION_KEYS = ("_diffusers_version", "_class_name")


class Switch(NamedTuple):
    """A key whose value turns the experts off, whatever the counts say."""

    key: str
    off: tuple[object, ...]
    reason: str
    outcome: Outcome


SWITCHES = (
    Switch(
        "is_encoder_decoder",
        (True,),
        "an encoder-decoder, not a text decoder",
        "not_a_text_decoder",
    ),
    Switch("is_moe", (False,), "dense: is_moe is false", "dense_sibling"),
    Switch("enable_moe_block", (False,), "dense: enable_moe_block is false", "dense_sibling"),
)


class Pattern(NamedTuple):
    """A per-layer list or string in which a mark must occur for any layer to have experts."""

    key: str
    marks: tuple[str, ...]
    model_types: tuple[str, ...]  # empty: wherever the key occurs


PATTERNS = (
    Pattern("mlp_layer_types", ("sparse", "moe"), ()),
    Pattern("hybrid_override_pattern", ("E",), ("nemotron_h",)),
    Pattern("layers_block_type", ("moe", "E"), ("nemotron_h",)),
)

# ── the answer ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class MoeFacts:
    """A mixture of experts by its config. Counts are of the text decoder."""

    experts: int
    experts_active: int
    shared: int
    layers: int | None
    model_type: str | None
    architectures: tuple[str, ...]
    quant_method: str | None = None  # as config.json declares: fp8, mxfp4, gptq, mlx, …
    native_precision: bool = False  # whether originals of the family are stored just so
    converter_name: str | None = None  # the architecture that llama.cpp's converter looks up


@dataclass(frozen=True, kw_only=True)
class NotMoe:
    """The config is of no mixture of experts that can be built; the reason is one line."""

    reason: str
    outcome: Outcome = "not_moe"


def moe_facts(config: Mapping[str, Any]) -> MoeFacts | NotMoe:
    """Decide whether `config` (a parsed config.json) is a text decoder with routed experts.

    A mixture has more than one expert and at least one active; all may be.
    """
    model_type = text_config(config.get("model_type"))
    architectures = config_names(config.get("architectures"))
    scopes = tuple(scopes_of(config))
    refused = _refused(config, scopes) or kind_refused(model_type, architectures)
    if refused:
        return refused
    layers = layer_count(scopes)
    count, active = number(scopes, EXPERT_KEYS), number(scopes, ACTIVE_KEYS)
    wrong = (
        _differing(scopes)
        or _counts_wrong(scopes, count, active)
        or _every_layer_dense(scopes, model_type, layers)
    )
    if wrong or count is None or active is None:
        return wrong or NotMoe(reason="config.json has no expert counts")
    return MoeFacts(
        experts=count,
        experts_active=active,
        shared=shared_experts(scopes),
        layers=layers,
        model_type=model_type,
        architectures=architectures,
        quant_method=quant_method(config),
        native_precision=is_native(config, architectures),
        converter_name=converter_name(config),
    )


def kind_refused(model_type: str | None, architectures: Sequence[str]) -> NotMoe | None:
    """Why a model of these names is no text decoder at all, or None."""
    names = [name for name in (model_type, *architectures) if name]
    for refusal in FAMILY_REFUSALS:
        if any(refusal.names.search(name) for name in names):
            return NotMoe(reason=refusal.reason, outcome="not_a_text_decoder")
    return None


def clearly_dense(model_type: str | None, architectures: Sequence[str]) -> NotMoe | None:
    """Why a listing alone rules experts out, or None when config.json must be read.

    Only families known to have no mixture are ruled out: an unknown name stays a candidate.
    """
    kind = kind_refused(model_type, architectures)
    if kind:
        return kind
    if model_type in CLEARLY_DENSE and not any(_hints_at_experts(name) for name in architectures):
        reason = f"dense: model_type {model_type} has no experts"
        return NotMoe(reason=reason, outcome=_dense({model_type}, named=False))
    return None


def _hints_at_experts(architecture: str) -> bool:
    return bool(re.search(r"moe|mixtral|expert", architecture, re.IGNORECASE))


# ── refusing ────────────────────────────────────────────────────────────────────────────────


def _refused(config: Mapping[str, Any], scopes: Sequence[Mapping[str, Any]]) -> NotMoe | None:
    if any(key in config for key in ADAPTER_KEYS):
        return NotMoe(reason="an adapter, not a model", outcome="adapter")
    if any(key in config for key in DIFFUSION_KEYS):
        reason = "a part of a diffusion pipeline, not a text decoder"
        return NotMoe(reason=reason, outcome="not_a_text_decoder")
    for switch in SWITCHES:
        values = [scope[switch.key] for scope in scopes if switch.key in scope]
        # The innermost scope decides; identity, because 0 == False.
        if values and any(values[0] is off for off in switch.off):
            return NotMoe(reason=switch.reason, outcome=switch.outcome)
    return None


def _differing(scopes: Sequence[Mapping[str, Any]]) -> NotMoe | None:
    """Layers of several numbers of experts: llama.cpp's header has one number for all."""
    counts = differing_experts(scopes)
    if counts is None:
        return None
    reason = f"its layers have {counts[0]} to {counts[1]} experts; llama.cpp has one number for all"
    return NotMoe(reason=reason, outcome="unsupported_converter")


def _dense(types: Iterable[str | None], *, named: bool) -> Outcome:
    """A dense model's outcome: a sibling where its keys or its family know of experts."""
    return "dense_sibling" if named or not WITH_SPARSE_MEMBERS.isdisjoint(types) else "not_moe"


def _counts_wrong(
    scopes: Sequence[Mapping[str, Any]], count: int | None, active: int | None
) -> NotMoe | None:
    if count is None or count <= 1:
        return _no_count(scopes)
    if not active:
        return NotMoe(reason=f"config.json gives {count} experts but not how many are active")
    if not can_route(count, active):
        return NotMoe(reason=f"config.json says that {active} of {count} experts are active")
    return None


def _no_count(scopes: Sequence[Mapping[str, Any]]) -> NotMoe:
    """A refusal that names the expert key there is, and its value instead of a count."""
    types = {text_config(scope.get("model_type")) for scope in scopes}
    for scope in scopes:
        for key in EXPERT_KEYS:
            if key in scope:
                reason = f"dense: {key} is {_shown(scope[key])}"
                return NotMoe(reason=reason, outcome=_dense(types, named=True))
    return NotMoe(reason="config.json names no experts", outcome=_dense(types, named=False))


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if 0 <= value <= MOST_EXPERTS else "out of range"
    return "not a number"


def _every_layer_dense(
    scopes: Sequence[Mapping[str, Any]], model_type: str | None, layers: int | None
) -> NotMoe | None:
    """Why no layer has experts although there are counts, or None."""
    types = {model_type, *(text_config(scope.get("model_type")) for scope in scopes)}
    for pattern in PATTERNS:
        if pattern.model_types and not types.intersection(pattern.model_types):
            continue
        value = next((scope[pattern.key] for scope in scopes if scope.get(pattern.key)), None)
        if isinstance(value, str | list) and not any(mark in value for mark in pattern.marks):
            reason = f"dense: {pattern.key} has no layer with experts"
            return NotMoe(reason=reason, outcome="dense_sibling")
    leading = number(scopes, ("first_k_dense_replace", "num_dense_layers"), MOST_LAYERS)
    if layers and leading and leading >= layers:
        reason = f"dense: all {layers} layers are leading dense layers"
        return NotMoe(reason=reason, outcome="dense_sibling")
    return None
