"""95 % intervals of means over chunks: tokens of one chunk depend on each other, chunks do not.

± as llama-perplexity prints it counts tokens as if they were independent; see docs/statistics.md.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bot.evidence import CHUNKS, LEVEL, ROUNDING, student
from bot.measures.journal import Values

Floats = NDArray[np.float64]


# a sample shows less skewness than its distribution has: with this share more, intervals of
# log-normal divergences hold the truth as often as they say, from 20 chunks on (bench_coverage.py)
LACKING = 1.5


class Interval(NamedTuple):
    """Bounds of a 95 % interval."""

    low: float
    high: float


def over_chunks(means: Floats, lacking: float = LACKING) -> Interval | None:
    """Of a mean, from the mean of each chunk, [chunks]; None where there are fewer than `CHUNKS`.

    Student's t of Hall's cubic transformation, turned round (On the removal of skewness by
    transformation, Journal of the Royal Statistical Society B 54, 1992): of lopsided chunks, such
    as of KL divergence, a symmetric interval ends too early above.
    """
    count = len(means)
    if count < CHUNKS:
        return None
    mean, deviation = float(means.mean()), float(means.std(ddof=1))
    if deviation <= ROUNDING * abs(mean):
        return Interval(mean, mean)
    spread = means - mean
    skew = lacking * float((spread**3).mean()) / float((spread**2).mean()) ** 1.5
    reach = quantile(count - 1) / count**0.5
    low, high = (mean - deviation * _untransformed(bound, skew, count) for bound in (reach, -reach))
    return Interval(low, high)


def perplexity_interval(means: Floats) -> Interval | None:
    """Of a perplexity, from each chunk's mean -ln p, [chunks]."""
    found = over_chunks(means)
    return None if found is None else Interval(exp(found.low), exp(found.high))


def means_of_chunks(values: Values, scored: int) -> dict[str, list[float]]:
    """Of a pass's values for each token, `scored` a chunk, the means that intervals are of.

    By what they are of, as `Divergence` calls it; of the rms of Δp, its square's.
    """
    delta_p = values["delta_p"].astype(np.float64)
    found = {
        "ppl_ratio": values["nll"].astype(np.float64) - values["nll_base"],
        "delta_p_mean": delta_p,
        "delta_p_rms": np.square(delta_p),
        "same_top": values["same_top"].astype(np.float64),
    }
    return {of: tokens.reshape(-1, scored).mean(axis=1).tolist() for of, tokens in found.items()}


DIFFERENCES = ("ppl_ratio", "delta_p_mean")


def divergence_interval(of: str, means: Floats) -> Interval | None:
    """Of a number of `means_of_chunks`, as it is printed; None as `over_chunks`.

    Differences from the reference are heavy-tailed to both sides: which skewness a sample shows is
    chance, and to allow for it does harm (bench_coverage.py). What cannot be negative is lopsided.
    """
    found = over_chunks(means, 0.0 if of in DIFFERENCES else LACKING)
    if found is None or of == "delta_p_mean":
        return found
    if of == "ppl_ratio":
        return Interval(exp(found.low), exp(found.high))
    if of == "delta_p_rms":
        wider = _wider(found, means)
        return Interval(sqrt(max(wider.low, 0.0)), sqrt(wider.high))
    return Interval(max(found.low, 0.0), min(found.high, 1.0))


def _wider(found: Interval, means: Floats) -> Interval:
    """The bounds that are further out: these, or those of the mean's logarithm by Student's t.

    Squares are so lopsided that few chunks show too little of it for either alone.
    """
    mean = float(means.mean())
    if mean <= 0:
        return found
    error = float(means.std(ddof=1)) / len(means) ** 0.5
    factor = exp(quantile(len(means) - 1) * error / mean)
    return Interval(min(found.low, mean / factor), max(found.high, mean * factor))


def quantile(degrees: int) -> float:
    """Student's t that is exceeded on either side with the probability `LEVEL`, by bisection."""
    low, high = 0.0, 1e3
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, degrees) > LEVEL else (low, middle)
    return high


def _untransformed(bound: float, skew: float, count: int) -> float:
    """The share of a deviation whose transformation is `bound`."""
    if abs(skew) < ROUNDING:
        return bound
    third = skew / 3
    inner = 1 + 3 * third * (bound - skew / (6 * count))
    return float(np.cbrt(inner) - 1) / third
