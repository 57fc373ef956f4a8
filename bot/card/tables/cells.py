"""What a table of the card is made of, and the files that it may name."""

from __future__ import annotations

from dataclasses import dataclass

from bot.wording.escape import Verbatim


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """A file of the repository. `path` is relative to its root; 0 bytes, no sha256: not known."""

    path: str
    tier: str | None
    bytes: int
    sha256: str
    note: str


@dataclass(frozen=True, kw_only=True)
class CardTable:
    """Cells of a Markdown table; `sides` has a letter for each column, l or r."""

    columns: tuple[Verbatim, ...]
    rows: tuple[tuple[Verbatim, ...], ...]
    sides: str
    notes: tuple[str, ...] = ()  # plain sentences that belong below

    @property
    def rule(self) -> tuple[Verbatim, ...]:
        """The line between head and body, which carries the alignment."""
        return tuple(Verbatim("---:" if side == "r" else "---") for side in self.sides)
