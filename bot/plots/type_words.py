"""Types of a tier in words, and the rows of their map."""

from __future__ import annotations

import re

from bot.records.sensitivity import Fitted
from bot.tensors.roles import layer_of
from bot.tensors.sizes import BLOCKS, bits_per_weight

_OUTER = re.compile(r"^blk\.\d+\.|\.weight$")


def rows_of(fit: Fitted) -> list[str]:
    """Tensors by their names within a layer, those outside of layers first."""
    names = dict.fromkeys((layer_of(name) is not None, inner_name(name)) for name in fit.types)
    return [name for _, name in sorted(names)]


def inner_name(name: str) -> str:
    """A tensor's name within its layer."""
    return _OUTER.sub("", name)


def types_words(fit: Fitted) -> str:
    """The map in words: how many tensors got each type."""
    counts = {kind: [*fit.types.values()].count(kind) for kind in dict.fromkeys(fit.types.values())}
    ordered = sorted((kind for kind in counts if kind in BLOCKS), key=bits_per_weight, reverse=True)
    listed = ", ".join(f"{counts[kind]} {kind}" for kind in ordered)
    beside = f", beside {fit.like}" if fit.like else ""
    return f"Map of the types of {fit.tier} by layer and tensor{beside}: {listed} tensors"
