"""One thing that was looked at, and whether it is good."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of what a check found. `good` is None for what is only worth knowing."""

    name: str
    good: bool | None
    text: str
