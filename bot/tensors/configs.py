"""Fields of any family's config.json: keys by meaning, and where a text decoder's own lie.

The tables are the union of the names that transformers' configuration classes, remote code and
llama.cpp's converter use; a family is a row here, never a branch below. Configs are written by
strangers: a value of the wrong type or size counts as absent and nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# ── the tables ──────────────────────────────────────────────────────────────────────────────

# Where a text decoder's own config sits inside a multimodal wrapper, innermost first.
TEXT_PARTS: tuple[tuple[str, ...], ...] = (
    ("thinker_config", "text_config"),
    ("text_config",),
    ("language_config",),
    ("llm_config",),
    ("lm_config",),
    ("thinker_config",),
    (),
)
# where some keep their expert keys: dbrx, Yuan 2, Mistral's own files
FEED_FORWARD_PARTS = ("ffn_config", "moe_config", "moe")

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
    "num_selects",
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
    "share_expert_dims",
)
LAYER_KEYS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
# a list or string with an entry per layer, for configs that do not count their layers
LAYER_LISTS = ("layers_block_type", "hybrid_override_pattern", "layer_types", "mlp_layer_types")

# transformers' class names that llama.cpp's converter registers under another spelling
SPELLINGS = {
    "PhimoeForCausalLM": "PhiMoEForCausalLM",
    "UnlimitedOcrForConditionalGeneration": "UnlimitedOCRForCausalLM",
    "Qwen3OmniMoeThinkerForConditionalGeneration": "Qwen3OmniMoeForConditionalGeneration",
    "Kimi_K25ForConditionalGeneration": "KimiK25ForConditionalGeneration",
}

# get_model_architecture of llama.cpp's conversion/base.py: the outer name wins over the decoder's
OUTER_NAME_WINS = frozenset(
    {
        *("StepVLForConditionalGeneration", "Sarashina2VisionForCausalLM"),
        *("Exaone4_5_ForConditionalGeneration", "Step3p7ForConditionalGeneration"),
        "KimiK3ForConditionalGeneration",
    }
)

# One always-on feed-forward beside the experts that no key of the config mentions.
SHARED_WITHOUT_KEY = frozenset({"llama4", "llama4_text", "gemma4", "gemma4_text"})

# where a quantization is declared, and its method where none is named: by transformers, by older
# compressed-tensors, by MLX
DECLARATIONS = {
    "quantization_config": "unnamed",
    "compression_config": "compressed-tensors",
    "quantization": "mlx",
}

MOST_EXPERTS = 65_536
MOST_LAYERS = 10_000
LONGEST_LIST = 4_096
LONGEST_NAME = 200

# ── the text decoder ────────────────────────────────────────────────────────────────────────


def scopes_of(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a config that speak of the text decoder, innermost first."""
    for path in TEXT_PARTS:
        part: object = config
        for step in path:
            part = part.get(step) if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping):
            continue
        for name in FEED_FORWARD_PARTS:
            feed_forward = part.get(name)
            if isinstance(feed_forward, Mapping):
                yield feed_forward
        yield part


def integer(value: object, most: int, per_layer: int | None = None) -> int | None:
    """A count within bounds. Of a list, the largest when it has an entry per layer, else the first.

    ERNIE-VL lists [text, vision]; Hunyuan lists a number per layer.
    """
    if isinstance(value, list) and 0 < len(value) <= LONGEST_LIST:
        counts = [integer(item, most) for item in value if not isinstance(item, list)]
        if len(value) == per_layer:
            return max((count for count in counts if count is not None), default=None)
        return counts[0] if counts else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    return None


def number(
    scopes: Sequence[Mapping[str, Any]], keys: Sequence[str], most: int = MOST_EXPERTS
) -> int | None:
    """The first positive count under any of `keys`, else 0 where one says 0, else None."""
    layers = None if keys is LAYER_KEYS else number(scopes, LAYER_KEYS, MOST_LAYERS)
    counts = [integer(scope.get(key), most, layers) for scope in scopes for key in keys]
    return next((value for value in counts if value), 0 if 0 in counts else None)


def differing_experts(scopes: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Two numbers of experts, where a config gives layers different ones; None where it does not.

    As a list under a key of experts, or as a list of parts, a layer each. Two numbers alone are
    ERNIE-VL's [text, vision]; none and one are layers without routed experts.
    """
    for scope in scopes:
        lists = [scope.get(key) for key in EXPERT_KEYS]
        parts = (value for value in scope.values() if isinstance(value, list))
        lists += [[_experts_of(part) for part in value[:LONGEST_LIST]] for value in parts]
        for layer_list in lists:
            if isinstance(layer_list, list) and 2 < len(layer_list) <= LONGEST_LIST:
                layer_counts = (count for count in layer_list if not isinstance(count, list))
                counts = {integer(count, MOST_EXPERTS) for count in layer_counts} - {None, 0, 1}
                ordered = sorted(count for count in counts if count is not None)
                if len(ordered) > 1:
                    return ordered[0], ordered[-1]
    return None


def _experts_of(part: object) -> object:
    keys = (part.get(key) for key in EXPERT_KEYS) if isinstance(part, Mapping) else ()
    return next((value for value in keys if value is not None), None)


def can_route(experts: int, active: int) -> bool:
    """Whether llama.cpp runs a mixture of these counts; all experts may be active.

    load_hparams of llama-model.cpp aborts unless 0 < expert_used_count <= expert_count.
    """
    return 0 < active <= experts


def layer_count(scopes: Sequence[Mapping[str, Any]]) -> int | None:
    """Layers by their count, else by a list that has an entry for each (nemotron_h)."""
    count = number(scopes, LAYER_KEYS, most=MOST_LAYERS)
    if count is not None:
        return count
    lists = (scope.get(key) for scope in scopes for key in LAYER_LISTS)
    layer_list = next((value for value in lists if isinstance(value, str | list) and value), ())
    return len(layer_list) if 0 < len(layer_list) <= LONGEST_LIST else None


def shared_experts(scopes: Sequence[Mapping[str, Any]]) -> int:
    """Shared experts: a count, or one where only a size or the family tells of them."""
    count = number(scopes, SHARED_KEYS)
    if count is not None:
        return count
    if number(scopes, SHARED_SIZE_KEYS, most=1 << 30):
        return 1
    types = {text_config(scope.get("model_type")) for scope in scopes}
    return 1 if types & SHARED_WITHOUT_KEY else 0


# ── names ───────────────────────────────────────────────────────────────────────────────────


def converter_name(config: Mapping[str, Any]) -> str | None:
    """The architecture that llama.cpp's converter looks up for the text decoder.

    As get_model_architecture of conversion/base.py: the decoder's own where it has one, else the
    first of the wrapper; transformers' spellings become the converter's.
    """
    outer = next(iter(config_names(config.get("architectures"))), None)
    parts = (scope.get("architectures") for scope in scopes_of(config) if scope is not config)
    inner = next((name for part in parts for name in config_names(part)), None)
    architecture = outer if outer in OUTER_NAME_WINS or inner is None else inner
    return SPELLINGS.get(architecture, architecture) if architecture else None


def quant_method(config: Mapping[str, Any]) -> str | None:
    """The quantization that config.json declares; "unnamed" where it gives no method."""
    for scope in scopes_of(config):
        for key, usual in DECLARATIONS.items():
            declared = scope.get(key)
            if isinstance(declared, Mapping) and declared:
                return text_config(declared.get("quant_method")) or usual
    return None


def text_config(value: object) -> str | None:
    """A short, printable, non-empty string, or None."""
    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_NAME:
        return value
    return None


def config_names(value: object) -> tuple[str, ...]:
    """The short, printable strings of a list; a lone string is a list of one."""
    items = value[:16] if isinstance(value, list | tuple) else [value]
    return tuple(name for name in map(text_config, items) if name)
