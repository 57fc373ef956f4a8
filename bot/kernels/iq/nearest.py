"""Of the points of a grid that a code may become, the nearest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bot.kernels.lanes.moves import pick4, pick8
from bot.kernels.lanes.rounding import inlined
from bot.kernels.lanes.simd import (
    first_bit,
    floats,
    get,
    get_int,
    get_long,
    get_word,
    ints,
    iota,
    lane_int,
    load_words,
    lowest,
    mask_bits,
    to_floats,
    where,
    where_ints,
)

FAR = np.float32(3.4028234663852886e38)  # FLT_MAX


def levels_of_size(size: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Functions for groups of 8 or 4 numbers: odd numbers of the levels, and a table's look-up."""

    @inlined
    def odds():
        """1, 3, 5 … for each level, four times for groups of 8 numbers, twice for those of 4."""
        return to_floats(((iota() & ints(3 if size == 8 else 7)) << ints(1)) | ints(1))

    @inlined
    def level_of(table, codes, i):
        """What `table` has for the levels of number i."""
        if size == 8:
            return pick4(table, codes >> ints(2 * i))
        return pick8(table, codes >> ints(3 * i))

    return odds, level_of


@inlined
def _term(numbers, x, w, i):
    """What number i adds to a point's distance, for each of its levels."""
    off = numbers - floats(get(x + 4 * i))
    return floats(get(w + 4 * i)) * off * off


def nearest_of_size(size: int) -> Callable[..., Any]:
    """The search through one code's list at one scale."""
    _, level_of = levels_of_size(size)

    @inlined
    def distance_of(codes, t0, t1, t2, t3, t4, t5, t6, t7):
        """Distances of sixteen points, added in the order of their numbers."""
        distance = level_of(t0, codes, 0) + level_of(t1, codes, 1)
        distance = distance + level_of(t2, codes, 2)
        distance = distance + level_of(t3, codes, 3)
        if size == 8:
            distance = distance + level_of(t4, codes, 4)
            distance = distance + level_of(t5, codes, 5)
            distance = distance + level_of(t6, codes, 6)
            distance = distance + level_of(t7, codes, 7)
        return distance

    @inlined
    def nearest_point(code, x, w, numbers, grid):
        """The first of a code's list that is nearest to x; `numbers`: of each level."""
        count = get_int(get_long(grid + 16) + 4 * code)
        points = get_long(grid + 24) + 32 * np.int64(get_int(get_long(grid + 8) + 4 * code))
        t0, t1 = _term(numbers, x, w, 0), _term(numbers, x, w, 1)
        t2, t3 = _term(numbers, x, w, 2), _term(numbers, x, w, 3)
        t4, t5, t6, t7 = t0, t0, t0, t0
        if size == 8:
            t4, t5 = _term(numbers, x, w, 4), _term(numbers, x, w, 5)
            t6, t7 = _term(numbers, x, w, 6), _term(numbers, x, w, 7)
        vectors = (count + 15) // 16
        best, chosen = floats(FAR), ints(0)
        for v in range(vectors):
            codes = load_words(points + 32 * v)
            distance = distance_of(codes, t0, t1, t2, t3, t4, t5, t6, t7)
            better = distance < best
            best = where(better, distance, best)
            chosen = where_ints(better, codes, chosen)
        least = floats(lowest(best))
        same = mask_bits(best == least)
        if same & (same - 1) == 0:
            return np.int64(lane_int(chosen, first_bit(same)))
        for v in range(vectors):  # several are nearest: the first of the list
            codes = load_words(points + 32 * v)
            distance = distance_of(codes, t0, t1, t2, t3, t4, t5, t6, t7)
            same = mask_bits(distance == least)
            if same:
                return get_word(points + 32 * v + 2 * first_bit(same))
        return 0

    return nearest_point
