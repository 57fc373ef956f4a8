"""How many chunks and tasks: least error for the time, which every other choice is held against."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
import pytest

from bot.evaluate.costing.allotting import (
    Countable,
    counts_within,
    seconds_of,
    squared_error,
)


def drawn(random: np.random.Generator) -> list[Countable]:
    """Two or three texts and sets of few units, of any pace."""
    made = []
    for _ in range(random.integers(2, 4)):
        most, step = int(random.integers(3, 15)), int(random.choice([1, 1, 3, 4]))
        least = int(random.integers(1, most + 1))
        seconds = float(random.choice([0.0, 0.1, 1.0, random.uniform(0.01, 9)]))
        made.append(Countable(least=least, most=most, step=step, seconds=seconds))
    return made


def numbers(one: Countable) -> list[int]:
    found = [one.least]
    while found[-1] < one.most:
        found.append(one.after(found[-1]))
    return found


@pytest.mark.parametrize("seed", range(150))
def test_nothing_else_of_the_same_time_has_less_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    countables = drawn(random)
    least = seconds_of(countables, [one.least for one in countables])
    most = seconds_of(countables, [one.most for one in countables])
    seconds = random.uniform(least, most * 1.1)
    counts = counts_within(countables, seconds)
    took, error = seconds_of(countables, counts), squared_error(countables, counts)
    assert took <= max(seconds, least) + 1e-9
    assert all(one.least <= n <= one.most for one, n in zip(countables, counts, strict=True))
    for other in product(*map(numbers, countables)):
        if seconds_of(countables, other) <= took:
            assert squared_error(countables, other) >= error - 1e-12


@pytest.mark.parametrize("seed", range(40))
def test_no_step_that_is_worth_most_is_left_while_it_fits(seed: int) -> None:
    """What is left of the time is less than the next step takes."""
    random = np.random.default_rng(seed)
    countables = drawn(random)
    most = [one.most for one in countables]
    seconds = random.uniform(0, seconds_of(countables, most))
    counts = counts_within(countables, seconds)
    left = seconds - seconds_of(countables, counts)
    nexts = [
        (one, n) for one, n in zip(countables, counts, strict=True) if n < one.most and left >= 0
    ]
    if nexts:
        assert left < max(one.seconds * (one.after(n) - n) for one, n in nexts) + 1e-9


def test_with_many_units_numbers_follow_the_square_root() -> None:
    """n is proportional to sqrt(N/c): Neyman's allocation with costs."""
    countables = [
        Countable(least=1, most=100_000, step=1, seconds=1.0),
        Countable(least=1, most=10_000, step=1, seconds=4.0),
        Countable(least=1, most=400_000, step=1, seconds=0.5),
    ]
    counts = counts_within(countables, 9_000.0)
    shares = [n / sqrt(one.most / one.seconds) for one, n in zip(countables, counts, strict=True)]
    assert max(shares) / min(shares) < 1.02
    assert 8_990 < seconds_of(countables, counts) <= 9_000


def test_where_there_is_time_for_all_of_it_all_is_taken() -> None:
    countables = [Countable(least=3, most=10, step=4, seconds=1.0)] * 2
    assert counts_within(countables, 20.0) == (10, 10)
    assert counts_within(countables, 0.0) == (3, 3)
    assert [countables[0].after(n) for n in (3, 4, 8)] == [4, 8, 10]
