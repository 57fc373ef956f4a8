"""Sentences about the results; each is a comparison that exceeds its error, with its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bot.present.escape import clean
from bot.present.formats import error_places, measured, percent, size, value_places
from bot.present.rows import (
    CLOSE,
    NAME_LIMIT,
    close_to_reference,
    differs,
    label,
    measured_rows,
    names,
)
from bot.records import Divergence, Results, Row


@dataclass(frozen=True, kw_only=True)
class _Tier:
    names: tuple[str, ...]  # more than one where tiers coincide
    label: str
    row: Row
    found: Divergence

    def __str__(self) -> str:
        return self.label


def highlights(results: Results) -> tuple[str, ...]:
    """Plain-text sentences, none where no rule holds. Errors are standard errors, twice over."""
    tiers = [
        _Tier(names=tuple(names(results, row)), label=label(results, row), row=row, found=found)
        for row, found in measured_rows(results)
    ]
    sentences = (_least_divergent(tiers), *_imatrix_effects(tiers), _smallest_close(results))
    return tuple(sentence for sentence in sentences if sentence)


def _least_divergent(tiers: list[_Tier]) -> str | None:
    if len(tiers) < 2:
        return None
    best, second = sorted(tiers, key=lambda tier: tier.found.mean)[:2]
    if not _differ(best, second):
        return None
    places = error_places([best.found.mean_error, second.found.mean_error])
    return (
        f"{best} ({size(best.row.bytes)}) has the lowest mean KL divergence of all tiers: "
        f"{_mean(best, places)} nats per token; the next is {second} "
        f"({size(second.row.bytes)}) with {_mean(second, places)}."
    )


def _differ(one: _Tier, other: _Tier) -> bool:
    return differs(one.found.mean, one.found.mean_error, other.found.mean, other.found.mean_error)


def _mean(tier: _Tier, places: int) -> str:
    return measured(tier.found.mean, tier.found.mean_error, places)


def _imatrix_effects(tiers: list[_Tier]) -> Iterator[str]:
    """What the importance matrix changed between X and I-X, better and worse apart."""
    pairs = [(x, ix) for x, ix in _pairs(tiers) if x.found.mean > 0 and _differ(x, ix)]
    better = [pair for pair in pairs if pair[1].found.mean < pair[0].found.mean]
    worse = [pair for pair in pairs if pair not in better]
    for verb, chosen in (("lowers", better), ("raises", worse)):
        if chosen:
            told = "; ".join(_effect(x, ix) for x, ix in chosen)
            yield f"The importance matrix {verb} the mean KL divergence: {told}."


def _pairs(tiers: list[_Tier]) -> Iterator[tuple[_Tier, _Tier]]:
    plain = {name: tier for tier in tiers if not tier.row.imatrix for name in tier.names}
    for weighted in tiers:
        found = (plain.get(name.removeprefix("I-")) for name in weighted.names)
        partner = next((tier for tier in found if tier), None)
        if weighted.row.imatrix and partner:
            yield partner, weighted


def _effect(before: _Tier, after: _Tier) -> str:
    places = error_places([before.found.mean_error, after.found.mean_error])
    ratio = after.found.mean / before.found.mean
    change = f"{percent(abs(ratio - 1))} {'less' if ratio < 1 else 'more'}"
    if ratio < 1 and after.found.max < before.found.max:
        shown = value_places([after.found.max, before.found.max])
        change += f", observed maximum {before.found.max:.{shown}f} → {after.found.max:.{shown}f}"
    return f"{before} {_mean(before, places)} → {after} {_mean(after, places)} ({change})"


def _smallest_close(results: Results) -> str | None:
    if (close := close_to_reference(results)) is None:
        return None
    (row, found), base = close, results.reference.scores.perplexity
    own, reference = row.scores.perplexity, clean(results.reference.name, NAME_LIMIT)
    if own is None or base is None:
        return None
    places = error_places([own.error, base.error])
    ratio = error_places([found.ppl_ratio_error])
    return (
        f"{label(results, row)} ({size(row.bytes)}) is within {percent(CLOSE - 1, 0)} of "
        f"{reference}'s perplexity, and no smaller size surely is: {own.value:.{places}f} against "
        f"{base.value:.{places}f}, a ratio of "
        f"{measured(found.ppl_ratio, found.ppl_ratio_error, ratio)}."
    )
