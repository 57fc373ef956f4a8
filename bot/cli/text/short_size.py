"""Bytes, as verbs print them."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes as the Hub shows them: decimal, one place."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
