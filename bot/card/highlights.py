"""Sentences about the results; each is a comparison that exceeds its error, with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.card.choosing import choices
from bot.legible import legible
from bot.records.measured import supported_claim
from bot.records.results import Results
from bot.settings.showing import CardSettings
from bot.wording.formats import Sizes, error_places, fixed, percent, size_text, with_error
from bot.wording.rows import (
    CLOSE,
    NAME_LIMIT,
    SAME_SIZE,
    CardRow,
    card_rows,
    close_to_reference,
    files_of,
    less_divergent,
    less_perplexed,
    tier_rows,
)

BEATEN = 3  # sentences about baselines at most


def highlights(results: Results, sizes: Sizes = "GB") -> tuple[str, ...]:
    """Plain-text sentences, none where no rule holds; see docs/statistics.md."""
    sentences = (
        _least_divergent(results, sizes),
        *_beaten(results, sizes),
        *_imatrix_effects(results),
        _smallest_close(results, sizes),
    )
    return tuple(sentence for sentence in sentences if sentence)


def best_fits(results: Results, look: CardSettings) -> str | None:
    """Which tier is surely the best of those that fit, for each size of memory where one is.

    A size whose best is that of the size before is not told of again.
    """
    best_rows: list[tuple[int, CardRow]] = []
    for choice in choices(results, look):
        if (
            choice.sure
            and choice.row
            and (not best_rows or best_rows[-1][1].name != choice.row.name)
        ):
            best_rows.append((choice.memory, choice.row))
    if len(best_rows) < 2:  # the best of all is told already
        return None
    places = error_places([row.mean_error for _, row in best_rows])
    best = "; ".join(
        f"at {memory} GB {_sized(row, look.sizes)} with {_mean(row, places)}"
        for memory, row in best_rows
    )
    return f"Lowest mean KL divergence of the tiers that fit, by memory: {best}."


def _sized(row: CardRow, sizes: Sizes) -> str:
    name = legible(row.label, 4 * NAME_LIMIT)
    return f"{name} ({size_text(row.bytes, sizes)})" if row.bytes else name


def _mean(row: CardRow, places: int) -> str:
    return with_error(row.mean or 0, row.mean_error, places)


def _least_divergent(results: Results, sizes: Sizes) -> str | None:
    ordered = sorted(tier_rows(results), key=lambda row: row.mean or 0)
    if len(ordered) < 2:
        return None
    first, second = ordered[:2]
    # not the second alone: a third may be measured less well
    if not all(less_divergent(results, first, other) for other in ordered[1:]):
        return None
    places = error_places([first.mean_error, second.mean_error])
    return (
        f"{_sized(first, sizes)} has the lowest mean KL divergence of all tiers: "
        f"{_mean(first, places)} nats per token; the next is {_sized(second, sizes)} with "
        f"{_mean(second, places)}."
    )


def _beaten(results: Results, sizes: Sizes) -> list[str]:
    """Tiers that surely beat a file which is no smaller, and lose to it in nothing."""
    rivals = files_of(results, "baseline", "other")
    sentences = []
    for tier in files_of(results, "tier"):
        larger = [rival for rival in rivals if tier.bytes <= rival.bytes * SAME_SIZE]
        beaten = [(rival, won) for rival in larger if (won := _won(results, tier, rival))]
        if beaten:  # the strongest of them
            rival, won = min(beaten, key=lambda pair: (pair[0].mean or 0, pair[0].name))
            sentences.append(
                f"{_sized(tier, sizes)} beats {_sized(rival, sizes)}: {'; '.join(won)}."
            )
    return sentences[:BEATEN]


def _won(results: Results, tier: CardRow, rival: CardRow) -> list[str]:
    """Measures in which `tier` is surely better; none where it is surely worse in another."""
    won = []
    for better, words in (
        (less_divergent(results, tier, rival), _means(tier, rival)),
        (less_perplexed(results, tier, rival), _perplexities(tier, rival)),
        *_answers(results, tier, rival),
    ):
        if better is False:
            return []
        if better:
            won.append(words)
    return won


def _means(tier: CardRow, rival: CardRow) -> str:
    places = error_places([tier.mean_error, rival.mean_error])
    return f"mean KL divergence {_mean(tier, places)} against {_mean(rival, places)}"


def _perplexities(tier: CardRow, rival: CardRow) -> str:
    places = error_places([tier.perplexity_error, rival.perplexity_error], 3)
    pair = [with_error(row.perplexity or 0, row.perplexity_error, places) for row in (tier, rival)]
    ratios = [row.ratio for row in (tier, rival) if row.ratio is not None]
    ratio_words = (
        f" ({' against '.join(fixed(ratio, 4) for ratio in ratios)} times the reference's)"
        if len(ratios) == 2
        else ""
    )
    return f"PPL {' against '.join(pair)}{ratio_words}"


def _answers(results: Results, tier: CardRow, rival: CardRow) -> Iterator[tuple[bool | None, str]]:
    for name, share in tier.shares.items():
        if name in rival.shares:
            words = f"{name} {percent(share.value)} against {percent(rival.shares[name].value)}"
            yield supported_claim(results.comparisons, name, tier.name, rival.name), words


def _imatrix_effects(results: Results) -> Iterator[str]:
    """What the importance matrix changed between X and I-X, better and worse apart."""
    effects: dict[bool, list[str]] = {True: [], False: []}
    for plain, weighted in _pairs(tier_rows(results)):
        better = less_divergent(results, weighted, plain)
        if better is not None and plain.mean and plain.mean > 0:
            effects[better].append(_effect(plain, weighted))
    for verb, better in (("lowers", True), ("raises", False)):
        if effects[better]:
            sentence = "; ".join(effects[better])
            yield f"The importance matrix {verb} the mean KL divergence: {sentence}."


def _pairs(rows: Sequence[CardRow]) -> Iterator[tuple[CardRow, CardRow]]:
    plain = {name: row for row in rows if not row.imatrix for name in row.names}
    for weighted in rows:
        partners = (plain.get(name.removeprefix("I-")) for name in weighted.names)
        partner = next((row for row in partners if row), None)
        if weighted.imatrix and partner:
            yield partner, weighted


def _effect(before: CardRow, after: CardRow) -> str:
    places = error_places([before.mean_error, after.mean_error])
    ratio = (after.mean or 0) / (before.mean or 1)
    change = f"{percent(abs(ratio - 1))} {'less' if ratio < 1 else 'more'}"
    return (
        f"{before.label} {_mean(before, places)} → {after.label} {_mean(after, places)} ({change})"
    )


def _smallest_close(results: Results, sizes: Sizes) -> str | None:
    row, reference = close_to_reference(results), card_rows(results)[0]
    if row is None or row.perplexity is None or reference.perplexity is None:
        return None
    places = error_places([row.perplexity_error, reference.perplexity_error])
    ratio = error_places([row.ratio_error])
    return (
        f"{_sized(row, sizes)} is within {percent(CLOSE - 1, 0)} of "
        f"{legible(reference.name, NAME_LIMIT)}'s perplexity, and no smaller size surely is: "
        f"{fixed(row.perplexity, places)} against {fixed(reference.perplexity, places)}, a ratio "
        f"of {with_error(row.ratio or 0, row.ratio_error, ratio)}."
    )
