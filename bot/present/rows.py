"""The rows of Results from the reader's side: which are files, which coincide, which to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from bot.present.escape import clean
from bot.records import Divergence, Results, Row

NAME_LIMIT = 60
SIGMAS = 2  # a difference counts when it exceeds this many combined standard errors
SAME_SIZE = 1.001  # X and I-X differ by a few bytes of metadata
CLOSE = 1.05  # perplexity relative to the reference that still counts as near


@dataclass(frozen=True, kw_only=True)
class Point:
    """A file's size against its mean divergence."""

    label: str  # every tier that this file is
    bytes: int
    mean: float
    error: float
    imatrix: bool


def by_size(results: Results) -> list[Row]:
    """All tiers, the largest first."""
    return sorted(results.tiers, key=lambda row: (-row.bytes, row.name))


def distinct(results: Results) -> list[Row]:
    """One row for each file, the largest first."""
    return [row for row in by_size(results) if row.same_as is None]


def names(results: Results, row: Row) -> list[str]:
    """Every tier that the row's file is."""
    return [row.name, *(other.name for other in by_size(results) if other.same_as == row.name)]


def label(results: Results, row: Row) -> str:
    """The tiers that the row's file is, in one bounded line: `Balanced = Quality`."""
    return " = ".join(clean(name, NAME_LIMIT) for name in names(results, row))


def measured_rows(results: Results) -> list[tuple[Row, Divergence]]:
    """The files that have a divergence, the largest first."""
    rows = [(row, row.scores.divergence) for row in distinct(results)]
    return [(row, found) for row, found in rows if found is not None]


def points(results: Results) -> list[Point]:
    """What can be drawn on a logarithmic axis: files with a positive mean divergence."""
    return [
        Point(
            label=label(results, row),
            bytes=row.bytes,
            mean=found.mean,
            error=found.mean_error,
            imatrix=row.imatrix,
        )
        for row, found in measured_rows(results)
        if found.mean > 0
    ]


def front(found: Sequence[Point]) -> list[Point]:
    """The Pareto front, smallest first: no other file is as small and diverges less."""
    best = [p for p in found if not any(_beats(q.bytes, q.mean, p.bytes, p.mean) for q in found)]
    return sorted(best, key=lambda p: p.bytes)


def _beats(size: int, mean: float, other_size: int, other_mean: float) -> bool:
    return size <= other_size * SAME_SIZE and mean < other_mean


def differs(value: float, error: float, other: float, other_error: float) -> bool:
    """Whether two values differ by more than their errors allow; the errors count as independent.

    Both were measured over the same tokens, so the true error of the difference is smaller.
    """
    return abs(value - other) > SIGMAS * hypot(error, other_error)


def recommended(results: Results) -> list[tuple[Row, Divergence]]:
    """Measured files, largest first; not those that a file as small beats in mean divergence."""
    rows = measured_rows(results)
    return [
        (row, found)
        for row, found in rows
        if not any(_beats(o.bytes, other.mean, row.bytes, found.mean) for o, other in rows)
    ]


def close_to_reference(results: Results) -> tuple[Row, Divergence] | None:
    """The smallest file whose perplexity is surely within 5 % of the reference's.

    Of equal sizes the least divergent; None where a file as small beats it in mean divergence.
    """
    near = [
        (row, found)
        for row, found in measured_rows(results)
        if found.ppl_ratio + SIGMAS * found.ppl_ratio_error < CLOSE
    ]
    least = min((row.bytes for row, _ in near), default=0)
    smallest = [pair for pair in near if pair[0].bytes <= least * SAME_SIZE]
    best = min(smallest, key=lambda pair: pair[1].mean, default=None)
    return best if best in recommended(results) else None


def example(results: Results) -> Row | None:
    """The file that commands show: near the reference if one is, else the least divergent."""
    if close := close_to_reference(results):
        return close[0]
    if rows := measured_rows(results):
        return min(rows, key=lambda pair: pair[1].mean)[0]
    return next(iter(distinct(results)), None)
