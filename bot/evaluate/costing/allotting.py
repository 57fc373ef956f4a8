"""How much of each text and set of tasks to measure in a given time: the rule, see statistics.md.

A mean over n chunks or tasks has a variance of v/n. What matters of it is how much larger it is
than with all N that there are: (v/n) / (v/N) = N/n, whatever v is. So the sum of N/n over texts
and sets is made least for the time. Were chunks divisible, that is where n is proportional to
sqrt(N/c), c being the seconds of one (Neyman's allocation with costs; Cochran, Sampling
Techniques, 1977, section 5.5). They are not: steps are added one by one, the one first that takes
most of the sum for its seconds. What is reached then no other choice of equal or less time betters
(Fox, Discrete optimization via marginal analysis, Management Science 13, 1966).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INSTANT = 1e-9  # seconds that a unit takes at least


@dataclass(frozen=True, kw_only=True)
class Countable:
    """A text or set of tasks of which less can be measured."""

    least: int
    most: int  # all that there is
    step: int  # units that are decoded together
    seconds: float  # of a unit, of all files together

    def after(self, count: int) -> int:
        """The next larger number; the whole of it need be no whole step."""
        return min((count // self.step + 1) * self.step, self.most)


def squared_error(countables: Sequence[Countable], counts: Sequence[int]) -> float:
    """The sum of N/n: how much larger variances are than of all that there is, on the whole."""
    return sum(one.most / count for one, count in zip(countables, counts, strict=True))


def seconds_of(countables: Sequence[Countable], counts: Sequence[int]) -> float:
    """What so many units take."""
    return sum(one.seconds * count for one, count in zip(countables, counts, strict=True))


def counts_within(countables: Sequence[Countable], seconds: float) -> tuple[int, ...]:
    """Of each as many as make `squared_error` least in so many seconds.

    The least numbers are taken whatever they take. It ends with the first step that does not fit:
    up to there, nothing else of equal time is better.
    """
    counts = [one.least for one in countables]
    left = seconds - seconds_of(countables, counts)
    while True:
        steps = [
            (_worth(one, count), place)
            for place, (one, count) in enumerate(zip(countables, counts, strict=True))
            if count < one.most
        ]
        if not steps:
            return tuple(counts)
        _, place = max(steps, key=lambda step: (step[0], -step[1]))
        one = countables[place]
        more = one.after(counts[place])
        left -= one.seconds * (more - counts[place])
        if left < 0:
            return tuple(counts)
        counts[place] = more


def _worth(one: Countable, count: int) -> float:
    """What the next step takes of the sum, for a second."""
    more = one.after(count)
    gain = one.most / count - one.most / more
    return gain / (max(one.seconds, INSTANT) * (more - count))
