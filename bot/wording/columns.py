"""Aligned columns of text, for terminals and for files that people read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.legible import legible_flat

WIDTH = 240  # wider than any table of ours: lines are never cut


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Aligned columns; the first `left` to the left, numbers to the right."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        grid.add_column(name, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(legible_flat(cell)) for cell in row))
    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
