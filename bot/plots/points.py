"""What plots show: points with their errors, and the same in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.legible import legible
from bot.records.results import Results
from bot.wording.formats import error_places, fixed, percent, size_text, value_places, with_error
from bot.wording.rows import NAME_LIMIT, SAME_SIZE, CardRow, card_rows, files_of

PointKind = Literal["plain", "weighted", "baseline", "other", "reference"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A row's size and one of its values, with a standard error or an interval around it."""

    label: str  # every tier that this file is
    kind: PointKind
    bytes: int
    value: float
    error: float | None = None
    down: float = 0  # of the interval, from the value
    up: float = 0


def _point(row: CardRow, value: float, error: float | None = None) -> Point:
    spread = error or 0
    return Point(
        label=row.label, kind=_kind(row), bytes=row.bytes, value=value, error=error,
        down=spread, up=spread,
    )  # fmt: skip


def _kind(row: CardRow) -> PointKind:
    match row.kind:
        case "tier":
            return "weighted" if row.imatrix else "plain"
        case kind:
            return kind


def points(results: Results) -> list[Point]:
    """What can be drawn on a logarithmic axis: files with a positive mean divergence."""
    rows = [row for row in files_of(results) if row.bytes]
    return [_point(row, row.mean, row.mean_error) for row in rows if row.mean and row.mean > 0]


def points_of_perplexity(results: Results) -> list[Point]:
    """Files with a perplexity; the error is of the difference to the reference's, where known."""
    base = card_rows(results)[0].perplexity
    return [
        _point(row, row.perplexity, _relative_error(row, base))
        for row in files_of(results)
        if row.bytes and row.perplexity is not None
    ]


def _relative_error(row: CardRow, base: float | None) -> float | None:
    if row.ratio_error is not None and base is not None:
        return row.ratio_error * base
    return row.perplexity_error


def front(file_points: Sequence[Point]) -> list[Point]:
    """The Pareto front, smallest first: no other file is as small and has a lower value."""
    best = [
        p
        for p in file_points
        if not any(q.bytes <= p.bytes * SAME_SIZE and q.value < p.value for q in file_points)
    ]
    return sorted(best, key=lambda p: p.bytes)


Panel = tuple[str, list[Point]]


def by_maximum(results: Results) -> list[Panel]:
    """Largest divergences, of the largest file first; empty when none is known."""
    maxima = [_point(r, m) for r in files_of(results) if (m := r.kld.get("max")) and m > 0]
    return [("", maxima)] if maxima else []


def by_task(results: Results) -> list[Panel]:
    """Accuracies in percent with their intervals, for each set of tasks."""
    rows = _with_reference(results)
    tasks = dict.fromkeys(name for row in rows for name in row.shares)
    return [(task, [_share(row, task) for row in rows if task in row.shares]) for task in tasks]


def _share(row: CardRow, task: str) -> Point:
    share = row.shares[task]
    low, high = (share.value if b is None else b for b in (share.low, share.high))
    return Point(
        label=row.label, kind=_kind(row), bytes=row.bytes, value=100 * share.value,
        down=100 * max(share.value - low, 0), up=100 * max(high - share.value, 0),
    )  # fmt: skip


def by_speed(results: Results) -> list[Panel]:
    """Tokens per second with the spread of the runs, for each way to measure it."""
    rows = _with_reference(results)
    named = dict.fromkeys(name for row in rows for name in row.speed)
    return [
        (name, [_point(row, *row.speed[name]) for row in rows if name in row.speed])
        for name in named
    ]


def _with_reference(results: Results) -> list[CardRow]:
    return [card_rows(results)[0], *files_of(results)]


# ── in words ────────────────────────────────────────────────────────────────────────────────


def alt_text(results: Results, plot: str) -> str:
    """A plot in words, with its numbers; `plot` is kld, ppl, kl-max, accuracy or speed."""
    reference = legible(card_rows(results)[0].name, NAME_LIMIT)
    match plot:
        case "kld":
            what = (
                f"Plot of file size against mean KL divergence from {reference} in nats per token, "
                "logarithmic, lower is better"
            )
            return f"{what}: {_values_by_size(points(results), 4)}."
        case "ppl":
            base = card_rows(results)[0].perplexity
            of = f" ({reference}: {fixed(base, 3)})" if base is not None else ""
            what = f"Plot of file size against perplexity, lower is better{of}"
            return f"{what}: {_values_by_size(points_of_perplexity(results), 3)}."
        case "kl-max":
            what = "Chart of the largest observed KL divergence of each file in nats"
            return f"{what}: {_panels(by_maximum(results), _maximum)}."
        case "accuracy":
            what = "Chart of accuracies with 95% intervals"
            return f"{what}: {_panels(by_task(results), _accuracy)}."
        case _:
            what = "Chart of tokens per second"
            return f"{what}: {_panels(by_speed(results), _rate)}."


def _values_by_size(file_points: Sequence[Point], otherwise: int) -> str:
    places = error_places((point.error for point in file_points), otherwise)
    return "; ".join(
        f"{p.label} {size_text(p.bytes)}, {with_error(p.value, p.error, places)}"
        for p in file_points
    )


def _panels(panels: Sequence[Panel], words: Callable[[Sequence[Point]], str]) -> str:
    return ". ".join(
        f"{legible(name, NAME_LIMIT)}: {words(panel_points)}" if name else words(panel_points)
        for name, panel_points in panels
    )


def _maximum(file_points: Sequence[Point]) -> str:
    places = value_places(point.value for point in file_points)
    return "; ".join(f"{p.label} {fixed(p.value, places)}" for p in file_points)


def _accuracy(file_points: Sequence[Point]) -> str:
    def words(p: Point) -> str:
        bounds = f"{fixed(p.value - p.down, 1)}–{fixed(p.value + p.up, 1)}"
        return f"{p.label} {percent(p.value / 100)} ({bounds})"

    return "; ".join(words(point) for point in file_points)


def _rate(file_points: Sequence[Point]) -> str:
    return "; ".join(f"{p.label} {with_error(p.value, p.error, 1)}" for p in file_points)
