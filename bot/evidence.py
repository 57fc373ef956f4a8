"""What measurements let anybody claim: one level, one least number of chunks, one correction.

The rules are told in docs/statistics.md, and are the same for cards, tables, `bot compare` and the
gate. Nothing is claimed below `CHUNKS`; whatever is claimed together shares one error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import atan, comb, cos, pi, sin, sqrt
from statistics import NormalDist

LEVEL = 0.05  # probability that anything at all is claimed of files that are equal
CHUNKS = 10  # with fewer no difference of two files is claimed, however large it looks
ROUNDING = 1e-12  # of a mean: a deviation below this share of it is none
TASKS = 100  # of a set: with fewer the 95 % interval of an accuracy is wider than 10 points a side
SIGNS = 1 << 15  # ways to choose signs that are looked at, where there are more
SKEW = 2.0  # a sample shows about half of its distribution's skewness: it lacks the rare chunks


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Each p, corrected for all of them being looked at, in the order given.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979): whatever the tests have in common, the probability of one false claim or
    more is at most the level, for claims that were chosen by looking, too.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = least
    return tuple(adjusted)


def sure(claims: int, *, sides: int = 2) -> float:
    """Standard errors that each of so many claims has to exceed by: Bonferroni's normal quantile.

    For numbers of which nothing but an error is known; where there are chunks they are tested.
    """
    return NormalDist().inv_cdf(1 - LEVEL / (sides * max(claims, 1)))


def pairs(rows: int) -> int:
    """How many pairs so many rows make."""
    return comb(rows, 2)


def fewest_chunks(claims: int) -> int:
    """The fewest chunks that can tell one of so many claims: all differences of one sign.

    Of n differences the smallest p is 2 of the 2^n ways to choose their signs, at most `SIGNS` of
    which are looked at; it counts where Holm's first step, p times the claims, is below `LEVEL`.
    Never less than `CHUNKS`; where no number of chunks could, as many as there are ways for.
    """
    most = SIGNS.bit_length() - 1
    enough = (n for n in range(CHUNKS, most) if 2 * max(claims, 1) / 2**n < LEVEL)
    return next(enough, most)


def discordant(gained: int, lost: int) -> float:
    """Exact two-sided p of McNemar's test, from the tasks that only one of two answers rightly."""
    differing, fewer = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    tail = sum(comb(differing, k) for k in range(fewer + 1))
    return min(1.0, float(Fraction(2 * tail, 2**differing)))


def worsened(gained: int, lost: int) -> float:
    """Exact one-sided p of the same test: that so many more are lost than gained by chance."""
    differing = gained + lost
    tail = sum(comb(differing, k) for k in range(lost, differing + 1))
    return float(Fraction(tail, 2**differing))


def student(t: float, degrees: int) -> float:
    """Two-sided p of Student's t with a whole number of degrees of freedom.

    The finite sums of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = atan(abs(t) / sqrt(degrees))
    square = cos(angle) ** 2
    if degrees % 2 == 0:
        return max(0.0, 1 - sin(angle) * _series(1.0, square, range(2, degrees - 1, 2)))
    within = angle
    if degrees > 1:
        within += sin(angle) * _series(cos(angle), square, range(3, degrees - 1, 2))
    return max(0.0, 1 - 2 / pi * within)


def _series(term: float, square: float, steps: range) -> float:
    total = term
    for step in steps:
        term *= square * (step - 1) / step
        total += term
    return total


def against_the_tail(mean: float, deviation: float, skewness: float, count: int) -> float:
    """Two-sided p that a mean of `count` values is 0, where a long tail may be what lacks.

    Student's t after Hall's cubic transformation (On the removal of skewness by transformation,
    Journal of the Royal Statistical Society B 54, 1992), with the skewness `SKEW` times the
    sample's: chunks that nearly all agree say less when one of the few others could outweigh them.
    """
    if deviation <= ROUNDING * abs(mean):
        return 0.0 if mean else 1.0
    share, skew = mean / deviation, SKEW * skewness
    grown = share + skew * share**2 / 3 + skew**2 * share**3 / 27
    corrected = sqrt(count) * grown + skew / (6 * sqrt(count))
    return student(corrected, count - 1) if corrected * mean > 0 else 1.0
