"""What a model is, how its layers are treated and calibration reached its experts, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.records import patterns
from bot.records.model import Architecture
from bot.records.recipes import Windows
from bot.records.results import RARE_TOKENS, CalibrationFacts
from bot.tensors.originals import kept_type
from bot.tensors.weights import SIXTEEN_BIT

MOST = 12  # layers, tensors or experts that are named before `and N more`


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


def coverage_lines(facts: CalibrationFacts | None) -> list[tuple[str, str]]:
    """Title and text of each thing to know; empty when every expert saw enough."""
    if facts is None:
        return []
    none = [
        f"layer {c.layer}: {_some(map(str, c.unreached), ', ')}"
        for c in facts.coverage
        if c.unreached
    ]
    rare = [
        f"layer {c.layer}: {len(c.rare)} of {c.experts}, the least used {c.fewest}"
        for c in facts.coverage
        if c.rare
    ]
    gaps = [f"{gap.tier} {gap.share:.1%}: {_some(gap.places, ', ')}" for gap in facts.gaps]
    raised = [_change(change) for change in facts.raised]
    titles = {
        "Experts that no calibration token reached": none,
        f"Experts that less than {RARE_TOKENS} calibration tokens reached": rare,
        "Rounded without calibration data, by share of a tier's weights": gaps,
        "Larger types for lack of calibration data": raised,
    }
    return [(title, _some(lines, "; ")) for title, lines in titles.items() if lines]


def _change(line: str) -> str:
    tier, tensor, old, new = line.split(" ")
    return f"{tier} {tensor} {new} for {old}"


def _some(lines: Iterable[str], between: str) -> str:
    every = list(lines)
    more = [f"and {len(every) - MOST} more (results.json)"] if len(every) > MOST else []
    return between.join([*every[:MOST], *more])
