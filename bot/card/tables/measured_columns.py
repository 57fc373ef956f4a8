"""Columns of measurements: what stands in a cell of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bot.records.measured import KLD, PPL
from bot.settings.showing import CardSettings
from bot.wording.formats import (
    MISSING,
    error_places,
    fixed,
    percent,
    value_places,
    with_error,
)
from bot.wording.rows import CardRow

TASK = "task:"


@dataclass(frozen=True, kw_only=True)
class Column:
    title: str
    key: str  # as the setting calls it; task:NAME
    value: Callable[[CardRow], float | None]
    cell: Callable[[CardRow], str]
    error: Callable[[CardRow], float | None] = lambda _row: None
    measure: str | None = None  # that a comparison can support


def is_noted(look: CardSettings) -> bool:
    return look.errors == "footnote"


def columns_of(rows: Sequence[CardRow], look: CardSettings) -> list[Column]:
    ppl = error_places((row.perplexity_error for row in rows), 3)
    mean = error_places(row.mean_error for row in rows)
    inline = not is_noted(look)
    columns = [
        _perplexity(ppl, inline),
        _mean_divergence(mean, inline),
        _of_divergence(rows, "KL median ↓", "median", mean),
        _of_divergence(rows, "KL 99.9% ↓", "p999"),
        _of_divergence(rows, "KL max ↓", "max"),
        _same_top(),
        *(_task(name, inline) for name in _named(row.shares for row in rows)),
        *(_speed(name) for name in _named(row.speed for row in rows)),
        _bits(inline),
    ]
    optional = {"bits", "p999", "same_top", "speed"} - set(look.columns)
    return [column for column in columns if column.key not in optional]


def _perplexity(places: int, inline: bool) -> Column:
    return Column(
        title="PPL ↓",
        key="ppl",
        value=lambda row: row.perplexity,
        error=lambda row: row.perplexity_error,
        cell=lambda row: _value(row.perplexity, row.perplexity_error, places, inline),
        measure=PPL,
    )


def _mean_divergence(places: int, inline: bool) -> Column:
    return Column(
        title="KL mean ↓",
        key="mean",
        value=lambda row: row.mean,
        error=lambda row: row.mean_error,
        cell=lambda row: _value(row.mean, row.mean_error, places, inline),
        measure=KLD,
    )


def _same_top() -> Column:
    return Column(
        title="Same top ↑",
        key="same_top",
        value=lambda row: row.kld.get("same_top"),
        cell=lambda row: _percent(row.kld.get("same_top"), 2),
    )


def _bits(inline: bool) -> Column:
    return Column(
        title="BPW",
        key="bits",
        value=lambda row: row.bits,
        cell=lambda row: _value(row.bits, None, 2, inline),
    )


def _of_divergence(
    rows: Sequence[CardRow], title: str, key: str, places: int | None = None
) -> Column:
    if places is None:
        places = value_places(row.kld[key] for row in rows if key in row.kld)
    digits = places
    return Column(
        title=title,
        key=key,
        value=lambda row: row.kld.get(key),
        cell=lambda row: _value(row.kld.get(key), None, digits, False),
    )


def _task(name: str, inline: bool) -> Column:
    def cell(row: CardRow) -> str:
        share = row.shares.get(name)
        if share is None:
            return MISSING
        if not inline or share.low is None or share.high is None:
            return percent(share.value)
        return f"{percent(share.value)} ({_bounds(share.low, share.high)})"

    return Column(
        title=f"{name} ↑",
        key=TASK + name,
        value=lambda row: row.shares[name].value if name in row.shares else None,
        cell=cell,
        measure=name,
    )


def _bounds(low: float, high: float) -> str:
    return f"{percent(low).removesuffix('%')}–{percent(high).removesuffix('%')}"


def _speed(name: str) -> Column:
    def cell(row: CardRow) -> str:
        if name not in row.speed:
            return MISSING
        return with_error(*row.speed[name], 1)

    return Column(
        title=f"{name} t/s ↑",
        key="speed",
        value=lambda row: row.speed[name][0] if name in row.speed else None,
        cell=cell,
    )


def _named(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for row in mappings for name in row))


def _value(value: float | None, error: float | None, places: int, inline: bool) -> str:
    if value is None:
        return MISSING
    return with_error(value, error, places) if inline else fixed(value, places)


def _percent(value: float | None, places: int) -> str:
    return MISSING if value is None else percent(value, places)
