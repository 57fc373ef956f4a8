"""What stands below a table of measurements: why a dash does, and errors that cells leave out."""

from __future__ import annotations

from collections.abc import Sequence

from bot.card.tables.measured_columns import TASK, Column
from bot.wording.formats import (
    error_places,
    fixed,
)
from bot.wording.rows import CardRow

LISTED = 6  # names that a note gives before it counts


def missing_notes(rows: Sequence[CardRow], columns: Sequence[Column]) -> list[str]:
    """Why a dash stands where one does, rows and columns together that belong together."""
    reasons: dict[tuple[str, ...], list[str]] = {}
    for column in columns:
        lacking = tuple(
            row.title for row in rows if column.value(row) is None and not _itself(row, column)
        )
        if lacking:
            reasons.setdefault(lacking, []).append(column.title.rstrip(" ↓↑"))
    notes = [
        f"Not measured: {', '.join(titles)} of {_some(lacking, len(rows))}."
        for lacking, titles in reasons.items()
    ]
    if any(_itself(row, column) for row in rows for column in columns):
        notes.insert(0, "The reference has no divergence from itself.")
    return notes


def _itself(row: CardRow, column: Column) -> bool:
    return row.kind == "reference" and column.key in ("mean", "median", "p999", "max", "same_top")


def _some(titles: Sequence[str], row_count: int) -> str:
    if len(titles) == row_count:
        return "every row"
    more = [f"{len(titles) - LISTED} more"] if len(titles) > LISTED else []
    return ", ".join([*titles[:LISTED], *more])


def error_notes(rows: Sequence[CardRow], columns: Sequence[Column]) -> list[str]:
    """The errors that the cells leave out, from the smallest to the largest of a column.

    An interval over chunks, where every row has one, counts before a standard error over tokens.
    """
    spans, without_error = [], []
    for column in columns:
        name = column.title.rstrip(" ↓↑")
        errors = [error for row in rows if (error := column.error(row)) is not None]
        if errors:
            places = error_places(errors)
            reach = _reach(rows, column, places)
            spans.append(f"{name} {reach or f'± {_span(errors, places)} (one standard error)'}")
        elif column.key.startswith(TASK):
            spans += _intervals(rows, column, name)
        elif column.key in ("ppl", "mean"):
            without_error.append(name)
    notes = [f"Uncertainty: {'; '.join(spans)}."] if spans else []
    if without_error:
        notes.append(f"No error is known of {', '.join(without_error)}.")
    return notes


def _reach(rows: Sequence[CardRow], column: Column, places: int) -> str:
    """How far the widest interval of a column reaches to either side; empty where one lacks."""
    below, above = [], []
    for row in rows:
        value, bounds = column.value(row), row.intervals.get(column.measure or "")
        if value is None:
            continue
        if bounds is None:
            return ""
        below.append(max(value - bounds[0], 0.0))
        above.append(max(bounds[1] - value, 0.0))
    low, high = fixed(max(below), places), fixed(max(above), places)
    return f"−{low} to +{high} at most (95% interval over chunks)"


def _intervals(rows: Sequence[CardRow], column: Column, name: str) -> list[str]:
    task = column.key.removeprefix(TASK)
    shares = [share for row in rows if (share := row.shares.get(task)) and share.low is not None]
    halves = [100 * ((share.high or 0) - (share.low or 0)) / 2 for share in shares]
    return [f"{name} ± {_span(halves, 1)} points (95% interval)"] if halves else []


def _span(values: Sequence[float], places: int) -> str:
    low, high = fixed(min(values), places), fixed(max(values), places)
    return low if low == high else f"{low} to {high}"
