"""The rows of a card from the reader's side: which are files, which coincide, which to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot
from typing import Literal

from bot import evidence
from bot.legible import legible
from bot.records.measured import KLD, PPL, Divergence, Imported, Row, supported_claim
from bot.records.results import Results

NAME_LIMIT = 60
SAME_SIZE = 1.001  # X and I-X differ by a few bytes of metadata
CLOSE = 1.05  # perplexity relative to the reference that still counts as near

Kind = Literal["reference", "tier", "baseline", "other"]


@dataclass(frozen=True, kw_only=True)
class Share:
    """Share of right answers with its 95 % interval, where that is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class CardRow:
    """A row of the card, whoever measured it; None and absent keys: not known."""

    name: str
    kind: Kind
    bytes: int
    names: tuple[str, ...] = ()  # every tier that this file is
    same_as: str | None = None
    prefix: str = ""  # before the name in the table
    imatrix: bool = False
    bits: float | None = None
    perplexity: float | None = None
    perplexity_error: float | None = None
    ratio: float | None = None  # of perplexities, to the reference's
    ratio_error: float | None = None
    kld: Mapping[str, float] = field(default_factory=dict)  # mean, mean_error, median, p999, …
    shares: Mapping[str, Share] = field(default_factory=dict)
    speed: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # PPL, KLD: 95 %

    @property
    def label(self) -> str:
        """The tiers that the file is, in one bounded line: `Balanced = Quality`."""
        return " = ".join(legible(name, NAME_LIMIT) for name in self.names or (self.name,))

    @property
    def title(self) -> str:
        """Its name in tables."""
        same = f" (= {self.same_as})" if self.same_as else ""
        return f"{self.prefix}{self.name}{same}" + (
            " (reference)" if self.kind == "reference" else ""
        )

    @property
    def mean(self) -> float | None:
        """Mean divergence, nats."""
        return self.kld.get("mean")

    @property
    def mean_error(self) -> float | None:
        """Its standard error."""
        return self.kld.get("mean_error")


PREFIX: Mapping[Kind, str] = {"tier": "APEX ", "baseline": "llama.cpp "}


def entry(row: Row, kind: Kind, names: Sequence[str] = ()) -> CardRow:
    """A row that was measured here."""
    ppl, divergence = row.scores.perplexity, row.scores.divergence
    return CardRow(
        name=row.name,
        kind=kind,
        bytes=row.bytes,
        names=tuple(names),
        same_as=row.same_as,
        prefix=PREFIX.get(kind, ""),
        imatrix=row.imatrix,
        bits=row.bits_per_weight or None,
        perplexity=ppl.value if ppl else None,
        perplexity_error=ppl.error if ppl else None,
        ratio=divergence.ppl_ratio if divergence else None,
        ratio_error=divergence.ppl_ratio_error if divergence else None,
        kld=_divergence(divergence) if divergence else {},
        shares={
            c.name: Share(value=c.accuracy, low=c.low, high=c.high) for c in row.scores.choices
        },
        speed={s.name: (s.mean, s.spread) for s in row.scores.speed},
        intervals={bounds.of: (bounds.low, bounds.high) for bounds in row.scores.intervals},
    )


def _divergence(divergence: Divergence) -> dict[str, float]:
    names = ("mean", "mean_error", "median", "p999", "max", "same_top")
    return {name: getattr(divergence, name) for name in names}


def imported_entry(imported: Imported) -> CardRow:
    """A row of numbers that were read from others' result files or logs."""
    bounds = imported.intervals
    return CardRow(
        name=imported.name,
        kind=imported.kind or "other",
        bytes=imported.bytes or 0,
        names=(imported.name,) if imported.kind == "tier" else (),
        prefix="APEX " if imported.kind == "tier" else "",
        imatrix=imported.imatrix,
        perplexity=imported.perplexity,
        perplexity_error=imported.perplexity_error,
        kld=imported.kld,
        shares={
            name: Share(
                value=share, **dict(zip(("low", "high"), bounds.get(name, ()), strict=False))
            )
            for name, share in imported.choices.items()
        },
        speed={name: (rate, None) for name, rate in imported.speed.items()},
    )


def card_rows(results: Results) -> list[CardRow]:
    """The table's rows: the reference, then all others, the largest first."""
    placed = [imported_entry(row) for row in results.imported if row.kind]
    reference = next(
        (row for row in placed if row.kind == "reference"), entry(results.reference, "reference")
    )
    rows = [
        *(entry(row, "tier", row_names(results, row)) for row in results.tiers),
        *(entry(row, "baseline") for row in results.baselines),
        *(entry(row, "other") for row in results.others),
        *(row for row in placed if row.kind != "reference"),
    ]
    return [reference, *sorted(rows, key=lambda row: -row.bytes)]


def elsewhere(results: Results) -> list[CardRow]:
    """Imported rows without a kind: they stand in a table of their own."""
    return [imported_entry(row) for row in results.imported if not row.kind]


def by_size(results: Results) -> list[Row]:
    """All tiers, the largest first."""
    return sorted(results.tiers, key=lambda row: (-row.bytes, row.name))


def distinct(results: Results) -> list[Row]:
    """One row for each file, the largest first."""
    return [row for row in by_size(results) if row.same_as is None]


def row_names(results: Results, row: Row) -> list[str]:
    """Every tier that the row's file is."""
    return [row.name, *(other.name for other in by_size(results) if other.same_as == row.name)]


def files_of(results: Results, *kinds: Kind) -> list[CardRow]:
    """Each file once, the largest first; of all kinds but the reference unless told."""
    rows = [row for row in card_rows(results)[1:] if row.same_as is None]
    ordered = [row for row in rows if not kinds or row.kind in kinds]
    return sorted(ordered, key=lambda row: (-row.bytes, row.name))


def tier_rows(results: Results) -> list[CardRow]:
    """Our files that have a divergence, the largest first."""
    return [row for row in files_of(results, "tier") if row.mean is not None]


Estimate = tuple[float | None, float | None]  # a value and its standard error


def less_divergent(results: Results, one: CardRow, other: CardRow) -> bool | None:
    """Whether `one` surely diverges less, by the rules of docs/statistics.md.

    None where it cannot be told. A row whose error is unknown differs from nothing.
    """
    return _less(results, KLD, one, other, lambda row: (row.mean, row.mean_error))


def less_perplexed(results: Results, one: CardRow, other: CardRow) -> bool | None:
    """The same of perplexities: untested by their ratios to the reference's, where both are known.

    The errors of ratios leave out what the text has in common.
    """
    if None not in (one.ratio, one.ratio_error, other.ratio, other.ratio_error):
        return _less(results, PPL, one, other, lambda row: (row.ratio, row.ratio_error))
    return _less(results, PPL, one, other, lambda row: (row.perplexity, row.perplexity_error))


def _less(
    results: Results,
    measure: str,
    one: CardRow,
    other: CardRow,
    estimate: Callable[[CardRow], Estimate],
) -> bool | None:
    """By the paired test of a measure, else by both errors, which count as independent.

    Both were measured over the same tokens, so the true error of the difference is smaller.
    """
    tested = {frozenset((c.one, c.other)) for c in results.comparisons if c.measure == measure}
    if frozenset((one.name, other.name)) in tested:
        return supported_claim(results.comparisons, measure, one.name, other.name)
    (value, error), (other_value, other_error) = estimate(one), estimate(other)
    if value is None or error is None or other_value is None or other_error is None:
        return None
    if too_few(results):
        return None
    rows = sum(None not in estimate(row) for row in files_of(results))
    least = evidence.sure(evidence.pairs(rows)) * hypot(error, other_error)
    return value < other_value if abs(value - other_value) > least else None


def too_few(results: Results) -> bool:
    """Whether so little text was measured that nothing follows; not known of others' numbers."""
    return 0 < results.evaluation.chunks < evidence.CHUNKS


def _beats(size: int, mean: float, other_size: int, other_mean: float) -> bool:
    return size <= other_size * SAME_SIZE and mean < other_mean


def recommended(results: Results) -> list[CardRow]:
    """Measured files, largest first; not those that a file as small beats in mean divergence."""
    rows = tier_rows(results)
    return [
        row
        for row in rows
        if not any(_beats(o.bytes, o.mean or 0, row.bytes, row.mean or 0) for o in rows)
    ]


def close_to_reference(results: Results) -> CardRow | None:
    """The smallest file whose perplexity is surely within 5 % of the reference's.

    Of equal sizes the least divergent; None where a file as small beats it in mean divergence.
    Sure of each at once, as the smallest is picked from all.
    """
    rows = [] if too_few(results) else tier_rows(results)
    errors = evidence.sure(len(rows), sides=1)
    near = [
        row
        for row in rows
        if row.ratio is not None and row.ratio + errors * (row.ratio_error or 0) < CLOSE
    ]
    least = min((row.bytes for row in near), default=0)
    smallest = [row for row in near if row.bytes <= least * SAME_SIZE]
    best = min(smallest, key=lambda row: row.mean or 0, default=None)
    return best if best in recommended(results) else None


def largest_measured(results: Results) -> CardRow | None:
    """The largest of our files that have a divergence; of two of one size the less divergent."""
    rows = tier_rows(results)
    most = max((row.bytes for row in rows), default=0)
    as_large = [row for row in rows if row.bytes * SAME_SIZE >= most]
    return min(as_large, key=lambda row: row.mean or 0, default=None)


def to_take(results: Results) -> CardRow | None:
    """The one to take, which commands name: the smallest that no measure tells from the largest.

    Where too little is known to tell files apart, one that is near the reference, else the least
    divergent; where nothing is, the largest.
    """
    rows, largest = tier_rows(results), largest_measured(results)
    if largest is None:
        return next(iter(files_of(results, "tier")), None)
    if too_few(results) or any(row.mean_error is None for row in rows):
        return close_to_reference(results) or min(rows, key=lambda row: row.mean or 0)
    alike = [row for row in rows if not _is_worse(results, row, largest)]
    return min(alike, key=lambda row: (row.bytes, row.mean or 0))


def worth_taking(results: Results) -> list[Row]:
    """The files that somebody should take: the one to take first, then smaller ones, largest first.

    Not those that a file as small beats.
    """
    first, rows = to_take(results), {row.name: row for row in distinct(results)}
    if first is None or first.name not in rows:
        return []
    listed = [row.name for row in recommended(results) or files_of(results, "tier")]
    smaller = [name for name in listed if name in rows and rows[name].bytes < first.bytes]
    return [rows[name] for name in (first.name, *smaller)]


def _is_worse(results: Results, row: CardRow, largest: CardRow) -> bool:
    """Whether a measure is sure that a file is further from the reference than the largest is."""
    if row.name == largest.name:
        return False
    return any(less(results, largest, row) for less in (less_divergent, less_perplexed))
