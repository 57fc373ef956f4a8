"""Is one file better than another: tests that use that both met the same tokens and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from bot.errors import BotError
from bot.records import Comparison

SEED = 20260521
RESAMPLES = 10_000
LEVEL = 0.05  # a difference counts below this probability


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
    differing, fewer = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    tail = sum(comb(differing, k) for k in range(fewer + 1))
    return min(1.0, float(Fraction(2 * tail, 2**differing)))


def compare_answers(
    measure: str, one: str, other: str, answers: tuple[Sequence[bool], Sequence[bool]]
) -> Comparison:
    """Two files' accuracies on the same tasks."""
    p = mcnemar(*answers)
    return Comparison(
        measure=measure,
        one=one,
        other=other,
        difference=(sum(answers[0]) - sum(answers[1])) / len(answers[0]),
        p=p,
        differs=p < LEVEL,
        test="McNemar, exact",
    )


def compare_divergences(
    measure: str, chunks: Mapping[str, NDArray[np.float64]], pairs: Sequence[tuple[str, str]] = ()
) -> tuple[Comparison, ...]:
    """Mean KLD of every pair of files, or of `pairs`, from the mean of each chunk, [chunks].

    A paired bootstrap over chunks: tokens of one chunk are not independent of each other. The
    interval is the 95 % percentile one, p twice the smaller share of resamples on either side of
    0. The seed is fixed, so the same values give the same words.
    """
    names = list(chunks)
    if len({len(chunks[name]) for name in names}) > 1:
        raise BotError("files of different chunks cannot be paired; measure them on the same text")
    chosen = list(pairs) or list(combinations(names, 2))
    if not chosen:
        return ()
    values = np.stack([chunks[name] for name in names], axis=1)
    means = resampled_means(values)
    at = {name: i for i, name in enumerate(names)}
    return tuple(
        _difference(measure, a, b, float(values[:, at[a]].mean() - values[:, at[b]].mean()), d)
        for a, b in chosen
        for d in [means[:, at[a]] - means[:, at[b]]]
    )


def resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over resampled rows of `values`, [rows, columns]: [RESAMPLES, columns].

    All columns share each resample, which is what pairs them.
    """
    random = np.random.Generator(np.random.PCG64(SEED))
    count = len(values)
    out = np.empty((RESAMPLES, values.shape[1]))
    for i in range(0, RESAMPLES, 500):
        weights = random.multinomial(count, np.full(count, 1 / count), size=min(500, RESAMPLES - i))
        out[i : i + 500] = weights @ values / count
    return out


def _difference(
    measure: str, one: str, other: str, difference: float, resampled: NDArray[np.float64]
) -> Comparison:
    low, high = (float(q) for q in np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2]))
    share = min(float((resampled <= 0).mean()), float((resampled >= 0).mean()))
    p = min(1.0, max(2 * share, 1 / RESAMPLES))
    return Comparison(
        measure=measure,
        one=one,
        other=other,
        difference=difference,
        low=low,
        high=high,
        p=p,
        differs=bool(low > 0 or high < 0),
        test=f"paired bootstrap over chunks, {RESAMPLES} resamples, seed {SEED}",
    )


def chunk_means(values: NDArray[np.float64], scored: int) -> NDArray[np.float64]:
    """Mean of each chunk of `scored` tokens."""
    means: NDArray[np.float64] = values.reshape(-1, scored).mean(axis=1)
    return means
