"""Aligned columns of text, for terminals and for files that people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len  # all of rich takes as long to load as `bot status` should

from bot.legible import legible_flat

GAP = "  "


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Aligned columns; the first `left` to the left, numbers to the right. No line is cut.

    Letters that terminals show two columns wide (East Asian ones, emoji) count as two.
    """
    lines = [tuple(columns), *(tuple(map(legible_flat, row)) for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(GAP.join(_padded(line, widths, left)).rstrip() for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int], left: int) -> Iterator[str]:
    for number, (cell, width) in enumerate(zip(line, widths, strict=True)):
        blanks = " " * (width - cell_len(cell))
        yield cell + blanks if number < left else blanks + cell
