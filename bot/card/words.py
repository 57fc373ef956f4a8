"""What a model is and how its layers are treated, in words."""

from __future__ import annotations

from collections.abc import Sequence

from bot.records import patterns
from bot.records.model import Architecture
from bot.records.recipes import Windows
from bot.tensors.originals import kept_type
from bot.tensors.weights import SIXTEEN_BIT


def attention_words(layers: Sequence[str]) -> str:
    """`Hybrid (full attention every 4th layer, linear/Mamba otherwise)`; one kind as it is."""
    pattern = patterns.attention_pattern(layers)
    if len(set(layers)) < 2:
        return pattern
    return f"Hybrid ({pattern.replace('linear otherwise', 'linear/Mamba otherwise')})"


def native_words(model: Architecture) -> str:
    """`MXFP4, BF16`: what an original below 16 bits is measured in; "" of 16 bits.

    A precision that its GGUF has no type for is told with the one that it has instead.
    """
    if model.source_type in SIXTEEN_BIT:
        return ""
    stored = [share.precision for share in model.source_shares if share.weights]
    types = {own: kept_type(model.family, own) or own for own in stored}
    words = [own if kept == own else f"{own} as {kept}" for own, kept in types.items()]
    return ", ".join(words) or model.source_type


def experts_words(model: Architecture) -> str:
    """`256 routed + shared (8 active per token)`."""
    shared = " + shared" if model.shared_expert else ""
    return f"{model.experts} routed{shared} ({model.experts_active} active per token)"


def windows_words(windows: Windows, layers: int) -> str:
    """How many layers at each end are protected, and what is left between them."""
    middle = max(layers - 2 * (windows.edge + windows.near), 0)
    return (
        f"{windows.edge}+{windows.edge} edge and {windows.near}+{windows.near} near layers, "
        f"{middle or 'none'} of {layers} in the middle; "
        f"{windows.attention_edge}+{windows.attention_edge} edge layers for attention"
    )


def gradient(windows: Windows, layers: int) -> str:
    """`5+5 symmetric edge gradient across 40 layers`."""
    return f"{windows.edge}+{windows.edge} symmetric edge gradient across {layers} layers"


def enumerated(names: Sequence[str]) -> str:
    """`A, B and C`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


SETTINGS = {
    "temp": "temperature",
    "top_k": "top-k",
    "top_p": "top-p",
    "min_p": "min-p",
    "penalty_repeat": "a repetition penalty of",
}


def sampling_words(sampling: Sequence[tuple[str, float]]) -> str:
    """`temperature 0.7, top-k 20`; nothing where the makers set none."""
    return ", ".join(f"{SETTINGS[name]} {value:g}" for name, value in sampling if name in SETTINGS)
