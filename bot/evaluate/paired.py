"""Is one file better than another: tests that use that both met the same tokens and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bot import evidence
from bot.errors import BotError
from bot.evidence import CHUNKS, LEVEL, SIGNS
from bot.records.measured import UNTESTED, Comparison

SEED = 20260521
BLOCK = 1024  # subsets in work
Floats = NDArray[np.float64]


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Exact two-sided p of McNemar's test: answers that differ fall either way alike.

    Raises BotError when the two did not answer the same number of tasks.
    """
    if len(one) != len(other):
        raise BotError(
            f"{len(one)} answers cannot be paired with {len(other)}; ask both the same tasks"
        )
    gained = sum(a and not b for a, b in zip(one, other, strict=True))
    lost = sum(b and not a for a, b in zip(one, other, strict=True))
    return evidence.discordant(gained, lost)


def compare_answers(
    measure: str, one: str, other: str, answers: tuple[Sequence[bool], Sequence[bool]]
) -> Comparison:
    """Two files' accuracies on the same tasks. Raises BotError where `mcnemar` does."""
    p = mcnemar(*answers)
    return Comparison(
        measure=measure,
        one=one,
        other=other,
        difference=(sum(answers[0]) - sum(answers[1])) / len(answers[0]),
        p=p,
        adjusted=p,
        differs=p < LEVEL,
        test="McNemar, exact",
    )


def compare_divergences(
    measure: str, chunks: Mapping[str, Floats], pairs: Sequence[tuple[str, str]] = ()
) -> tuple[Comparison, ...]:
    """Mean KLD, or another mean, of every pair of files, or of `pairs`, from each chunk's mean.

    The chunks of each file are [chunks]; tokens of one chunk are not independent of each other.
    Equal files could change places in any chunk, so that each difference could as well have the
    other sign. What the mean would be then is counted over all ways to choose signs, or a fixed
    sample of them (Fisher, The Design of Experiments, 1935, section 21; Phipson and Smyth,
    Permutation p-values should never be zero, 2010): exact for any shape of symmetric
    differences and any number of chunks. Files that are equal only in their means may differ
    lopsidedly, which `against_the_tail` looks at; the larger p counts. The interval is of
    Hartigan's typical values (Using subsample values as typical values, Journal of the American
    Statistical Association 64, 1969), which is the same test turned round, and reaches 0 wherever
    0 is not excluded. Corrected for the pairs that are compared here; see `corrected`.
    """
    names = list(chunks)
    if len({len(chunks[name]) for name in names}) > 1:
        raise BotError("files of different chunks cannot be paired; measure them on the same text")
    chosen = list(pairs) or list(combinations(names, 2))
    if not chosen:
        return ()
    values = np.stack([chunks[name] for name in names], axis=1)
    enough = len(values) >= CHUNKS
    means = typical_means(values) if enough else np.empty((0, len(names)))
    at = {name: i for i, name in enumerate(names)}
    comparisons = []
    for a, b in chosen:
        differences = values[:, at[a]] - values[:, at[b]]
        blank = Comparison(
            measure=measure, one=a, other=b, difference=float(differences.mean()),
            p=1.0, adjusted=1.0, differs=False,
            test=f"{UNTESTED}: {len(values)} chunks, {CHUNKS} at least",
        )  # fmt: skip
        comparisons.append(
            _tested(blank, differences, means[:, at[a]] - means[:, at[b]]) if enough else blank
        )
    return corrected(comparisons)


def corrected(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons as one family: which of them can be said, all at once, at the 95 % level.

    One that had too few chunks for a test, which no number of them can change, is none of it.
    """
    every = tuple(comparisons)
    adjusted = iter(evidence.holm([each.p for each in every if each.is_tested]))
    return tuple(
        replace(each, adjusted=(p := next(adjusted)), differs=p < LEVEL) if each.is_tested else each
        for each in every
    )


def typical_means(values: Floats, subsets: int = SIGNS) -> Floats:
    """Means over subsets of the rows of `values`, [rows, columns]: [subsets, columns].

    Every subset but the empty one where there are no more than `subsets`, else that many, drawn
    with a fixed seed, so that the same values give the same words. All columns share them.
    """
    return np.concatenate([w @ values / w.sum(1, keepdims=True) for w in _subsets(values, subsets)])


def _subsets(values: Floats, subsets: int) -> Iterable[Floats]:
    """Rows of ones and zeros, a block at a time."""
    count = len(values)
    if 2**count <= subsets:
        places = np.arange(1, 2**count)
        yield (places[:, None] >> np.arange(count) & 1).astype(np.float64)
        return
    random = np.random.Generator(np.random.PCG64(SEED))
    for _ in range(subsets // BLOCK):
        drawn = random.integers(0, 2, (BLOCK, count), np.int8).astype(np.float64)
        drawn[drawn.sum(1) == 0, 0] = 1  # the empty one has no mean
        yield drawn


def probability(differences: Floats, typical: Floats) -> float:
    """Two-sided p that a mean difference is 0, by sign and against the tail.

    `differences` are of chunks, [chunks]; `typical` their means over subsets, [subsets].
    """
    low, high = int((typical <= 0).sum()), int((typical >= 0).sum())
    signs = min(1.0, 2 * (min(low, high) + 1) / (len(typical) + 1))
    mean, spread = float(differences.mean()), differences - differences.mean()
    deviation = float(spread.std(ddof=1))
    skewness = 0.0
    if deviation > evidence.ROUNDING * abs(mean):
        skewness = float((spread**3).mean()) / float((spread**2).mean()) ** 1.5
    return max(signs, evidence.against_the_tail(mean, deviation, skewness, len(differences)))


def _tested(blank: Comparison, differences: Floats, typical: Floats) -> Comparison:
    p = probability(differences, typical)
    low, high = (float(q) for q in np.quantile(typical, [LEVEL / 2, 1 - LEVEL / 2]))
    if p >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return replace(blank, low=low, high=high, p=p, test=f"signs of {len(differences)} chunks")


def chunk_means(values: Floats, scored: int) -> Floats:
    """Mean of each chunk of `scored` tokens."""
    means: Floats = values.reshape(-1, scored).mean(axis=1)
    return means
