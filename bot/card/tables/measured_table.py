"""The table of measurements, and that of what was measured elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from bot.card.tables.cells import CardTable
from bot.card.tables.measured_columns import columns_of, is_noted
from bot.card.tables.table_notes import error_notes, missing_notes
from bot.records.measured import KLD, PPL, best
from bot.records.results import Results
from bot.settings.showing import CardSettings
from bot.wording.escape import Verbatim, escaped_text
from bot.wording.formats import MISSING, error_places, fixed, size_text
from bot.wording.rows import CardRow, card_rows, elsewhere

OVER_CHUNKS = ((PPL, "PPL, 95%"), (KLD, "KL mean, 95%"))


def benchmarks(results: Results, look: CardSettings) -> CardTable:
    """The reference, then tiers, baselines and other publishers' files, the largest first.

    An em dash stands where nothing was measured, and a note says of what. Bold is what paired tests
    found better than every other file of the table: the best of its column, as a reader takes it.
    """
    rows = card_rows(results)
    table = _table(rows, look)
    chosen = [column for column in columns_of(rows, look) if column.measure]
    files = [row.name for row in rows[1:] if row.same_as is None]
    bold = {
        (name, column.title)
        for column in chosen
        if (name := best(results.comparisons, column.measure or "", files)) is not None
    }
    if not bold:
        return table
    return _emboldened(table, rows, bold)


def others(results: Results, look: CardSettings) -> CardTable | None:
    """Imported rows without a kind, measured elsewhere on other texts; None without any."""
    rows = elsewhere(results)
    return _table(rows, look) if rows else None


def intervals(results: Results) -> CardTable | None:
    """95 % intervals over chunks of PPL and mean KLD, each file once; None where none is known."""
    rows = [row for row in card_rows(results) if row.intervals and row.same_as is None]
    known = [(of, title) for of, title in OVER_CHUNKS if any(of in row.intervals for row in rows)]
    if not known:
        return None
    places = {
        of: error_places(
            (row.intervals[of][1] - row.intervals[of][0] for row in rows if of in row.intervals), 3
        )
        for of, _ in known
    }
    body = (
        (row.title, *(_bounds(row.intervals.get(of), places[of]) for of, _ in known))
        for row in rows
    )
    return CardTable(
        columns=tuple(escaped_text(head) for head in ("Model", *(title for _, title in known))),
        rows=tuple(tuple(escaped_text(cell) for cell in cells) for cells in body),
        sides="l" + "r" * len(known),
    )


def _bounds(bounds: tuple[float, float] | None, places: int) -> str:
    return MISSING if bounds is None else f"{fixed(bounds[0], places)}–{fixed(bounds[1], places)}"


def _table(rows: Sequence[CardRow], look: CardSettings) -> CardTable:
    columns = columns_of(rows, look)
    body = tuple(
        (
            escaped_text(row.title),
            escaped_text(size_text(row.bytes, look.sizes) if row.bytes else MISSING),
            *(escaped_text(column.cell(row)) for column in columns),
        )
        for row in rows
    )
    heads = ("Model", "Size", *(column.title for column in columns))
    notes = (*missing_notes(rows, columns), *(error_notes(rows, columns) if is_noted(look) else ()))
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=body,
        sides="l" + "r" * (len(heads) - 1),
        notes=notes,
    )


def _emboldened(table: CardTable, rows: Sequence[CardRow], bold: set[tuple[str, str]]) -> CardTable:
    titles = [str(column) for column in table.columns]
    bold_cells = {(name, str(escaped_text(title))) for name, title in bold}
    body = tuple(
        tuple(
            Verbatim(f"**{cell}**")
            if (row.name, title) in bold_cells and row.same_as is None
            else cell
            for title, cell in zip(titles, cells, strict=True)
        )
        for row, cells in zip(rows, table.rows, strict=True)
    )
    note = (
        "Bold: better than every other file here, by tests that pair what both answered (95%, all "
        "together)."
    )
    return CardTable(
        columns=table.columns, rows=body, sides=table.sides, notes=(note, *table.notes)
    )
