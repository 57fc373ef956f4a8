"""What a model is and how its layers are treated, in words."""

from __future__ import annotations

from collections.abc import Sequence

from bot.patterns import attention, ordinal
from bot.records import Architecture, Windows

__all__ = ["attention", "experts", "listed", "ordinal", "windows"]


def experts(model: Architecture) -> str:
    """`256 routed + shared (8 active per token)`."""
    shared = " + shared" if model.shared_expert else ""
    return f"{model.experts} routed{shared} ({model.experts_active} active per token)"


def windows(given: Windows, layers: int) -> str:
    """How many layers at each end are protected, and what is left between them."""
    middle = max(layers - 2 * (given.edge + given.near), 0)
    return (
        f"{given.edge}+{given.edge} edge and {given.near}+{given.near} near layers, "
        f"{middle or 'none'} of {layers} in the middle; "
        f"{given.attention_edge}+{given.attention_edge} edge layers for attention"
    )


def listed(names: Sequence[str]) -> str:
    """`A, B and C`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
