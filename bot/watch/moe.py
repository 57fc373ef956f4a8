"""Whether a config.json describes a mixture of experts, and with how many: pure, table-driven.

The tables are the union of the names that transformers' configuration classes, remote code and
llama.cpp's converter use; a family is a row here, never a branch below. Configs are written by
strangers: a value of the wrong type or size counts as absent and nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bot.watch.families import CLEARLY_DENSE, FAMILY_REFUSALS, NATIVE_PRECISION, SHARED_WITHOUT_KEY

# ── the tables ──────────────────────────────────────────────────────────────────────────────

# Where a text decoder's own config sits inside a multimodal wrapper, innermost first.
TEXT_PARTS: tuple[tuple[str, ...], ...] = (
    ("thinker_config", "text_config"),
    ("text_config",),
    ("language_config",),
    ("llm_config",),
    (),
)
FEED_FORWARD_PART = "ffn_config"  # dbrx keeps its expert keys here

EXPERT_KEYS = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "moe_num_primary_experts",
)
ACTIVE_KEYS = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "top_k_experts",
    "moe_num_active_primary_experts",
    "n_activated_experts",
)
SHARED_KEYS = (
    "n_shared_experts",
    "num_shared_experts",
    "moe_num_shared_experts",
    "num_shared_expert",
)
SHARED_SIZE_KEYS = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_experts_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
)
LAYER_KEYS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
ADAPTER_KEYS = ("peft_type", "lora_alpha")
DIFFUSION_KEYS = ("_diffusers_version", "_class_name")


class Switch(NamedTuple):
    """A key whose value turns the experts off, whatever the counts say."""

    key: str
    off: tuple[object, ...]
    reason: str


SWITCHES = (
    Switch("is_encoder_decoder", (True,), "an encoder-decoder, not a text decoder"),
    Switch("is_moe", (False,), "dense: is_moe is false"),
    Switch("enable_moe_block", (False,), "dense: enable_moe_block is false"),
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

MOST_EXPERTS = 65_536
MOST_LAYERS = 10_000
LONGEST_LIST = 4_096
LONGEST_NAME = 200

# ── the answer ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class MoeFacts:
    """What a config says of its experts. Counts are of the text decoder."""

    experts: int
    experts_active: int
    shared: int
    layers: int | None
    model_type: str | None
    architectures: tuple[str, ...]
    quant_method: str | None = None  # of quantization_config: fp8, mxfp4, gptq, …

    @property
    def native_precision(self) -> bool:
        """Whether the family's originals are themselves published at this low precision."""
        return any(self.quant_method in NATIVE_PRECISION.get(a, ()) for a in self.architectures)


@dataclass(frozen=True, kw_only=True)
class NotMoe:
    """The config is of no mixture of experts that can be built; the reason is one line."""

    reason: str


def experts(config: Mapping[str, Any]) -> MoeFacts | NotMoe:
    """Decide whether `config` (a parsed config.json) is a text decoder with routed experts.

    A mixture has more than one expert, at least one active, and fewer active than there are.
    """
    model_type = text(config.get("model_type"))
    architectures = names(config.get("architectures"))
    scopes = tuple(_scopes(config))
    refused = _refused(config, scopes) or kind_refused(model_type, architectures)
    if refused:
        return NotMoe(reason=refused)
    layers = _number(scopes, LAYER_KEYS, most=MOST_LAYERS)
    count, active = _number(scopes, EXPERT_KEYS), _number(scopes, ACTIVE_KEYS)
    wrong = _counts_wrong(scopes, count, active) or _every_layer_dense(scopes, model_type, layers)
    if wrong or count is None or active is None:
        return NotMoe(reason=wrong or "config.json has no expert counts")
    return MoeFacts(
        experts=count,
        experts_active=active,
        shared=_shared(scopes),
        layers=layers,
        model_type=model_type,
        architectures=architectures,
        quant_method=quant_method(config),
    )


def kind_refused(model_type: str | None, architectures: Sequence[str]) -> str | None:
    """Why a model of these names is no text decoder at all, or None."""
    found = [name for name in (model_type, *architectures) if name]
    for refusal in FAMILY_REFUSALS:
        if any(refusal.names.search(name) for name in found):
            return refusal.reason
    return None


def clearly_dense(model_type: str | None, architectures: Sequence[str]) -> str | None:
    """Why a listing alone rules experts out, or None when config.json must be read.

    Only families known to have no mixture are ruled out: an unknown name stays a candidate.
    """
    kind = kind_refused(model_type, architectures)
    if kind:
        return kind
    if model_type in CLEARLY_DENSE and not any(_hints_at_experts(name) for name in architectures):
        return f"dense: model_type {model_type} has no experts"
    return None


def quant_method(config: Mapping[str, Any]) -> str | None:
    """The quantization that config.json declares; "unnamed" where it gives no method."""
    for scope in _scopes(config):
        declared = scope.get("quantization_config")
        if isinstance(declared, Mapping) and declared:
            return text(declared.get("quant_method")) or "unnamed"
    return None


def text(value: object) -> str | None:
    """A short, printable, non-empty string, or None."""
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_NAME:
        return value
    return None


def names(value: object) -> tuple[str, ...]:
    """The short, printable strings of a list; a lone string is a list of one."""
    items = value[:16] if isinstance(value, list | tuple) else [value]
    return tuple(name for name in map(text, items) if name)


# ── reading strangers' values ───────────────────────────────────────────────────────────────


def _hints_at_experts(architecture: str) -> bool:
    return bool(re.search(r"moe|mixtral|expert", architecture, re.IGNORECASE))


def _scopes(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a config that speak of the text decoder, innermost first."""
    for path in TEXT_PARTS:
        part: object = config
        for step in path:
            part = part.get(step) if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping):
            continue
        feed_forward = part.get(FEED_FORWARD_PART)
        if isinstance(feed_forward, Mapping):
            yield feed_forward
        yield part


def _integer(value: object, most: int, per_layer: int | None = None) -> int | None:
    """A count within bounds. Of a list, the largest when it has an entry per layer, else the first.

    ERNIE-VL lists [text, vision]; Hunyuan lists a number per layer.
    """
    if isinstance(value, list) and 0 < len(value) <= LONGEST_LIST:
        counts = [_integer(item, most) for item in value if not isinstance(item, list)]
        if len(value) == per_layer:
            return max((count for count in counts if count is not None), default=None)
        return counts[0] if counts else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    return None


def _number(
    scopes: Sequence[Mapping[str, Any]], keys: Sequence[str], most: int = MOST_EXPERTS
) -> int | None:
    """The first positive count under any of `keys`, else 0 where one says 0, else None."""
    layers = None if keys is LAYER_KEYS else _number(scopes, LAYER_KEYS, MOST_LAYERS)
    found = [_integer(scope.get(key), most, layers) for scope in scopes for key in keys]
    return next((value for value in found if value), 0 if 0 in found else None)


def _shared(scopes: Sequence[Mapping[str, Any]]) -> int:
    """Shared experts: a count, or one where only a size or the family tells of them."""
    count = _number(scopes, SHARED_KEYS)
    if count is not None:
        return count
    if _number(scopes, SHARED_SIZE_KEYS, most=1 << 30):
        return 1
    types = {text(scope.get("model_type")) for scope in scopes}
    return 1 if types & SHARED_WITHOUT_KEY else 0


# ── refusing ────────────────────────────────────────────────────────────────────────────────


def _refused(config: Mapping[str, Any], scopes: Sequence[Mapping[str, Any]]) -> str | None:
    if any(key in config for key in ADAPTER_KEYS):
        return "an adapter, not a model"
    if any(key in config for key in DIFFUSION_KEYS):
        return "a part of a diffusion pipeline, not a text decoder"
    for switch in SWITCHES:
        values = [scope[switch.key] for scope in scopes if switch.key in scope]
        # The innermost scope decides; identity, because 0 == False.
        if values and any(values[0] is off for off in switch.off):
            return switch.reason
    return None


def _counts_wrong(
    scopes: Sequence[Mapping[str, Any]], count: int | None, active: int | None
) -> str | None:
    if count is None or count <= 1:
        return _no_count(scopes)
    if not active:
        return f"config.json gives {count} experts but not how many are active"
    if active >= count:
        return f"all {count} experts are always active: nothing is routed"
    return None


def _no_count(scopes: Sequence[Mapping[str, Any]]) -> str:
    """Which expert key there is, and what it holds instead of a count."""
    for scope in scopes:
        for key in EXPERT_KEYS:
            if key in scope:
                return f"dense: {key} is {_shown(scope[key])}"
    return "config.json names no experts"


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
) -> str | None:
    """Why no layer has experts although there are counts, or None."""
    types = {model_type, *(text(scope.get("model_type")) for scope in scopes)}
    for pattern in PATTERNS:
        if pattern.model_types and not types.intersection(pattern.model_types):
            continue
        value = next((scope[pattern.key] for scope in scopes if scope.get(pattern.key)), None)
        if isinstance(value, str | list) and not any(mark in value for mark in pattern.marks):
            return f"dense: {pattern.key} has no layer with experts"
    leading = _number(scopes, ("first_k_dense_replace", "num_dense_layers"), MOST_LAYERS)
    if layers and leading and leading >= layers:
        return f"dense: all {layers} layers are leading dense layers"
    return None
