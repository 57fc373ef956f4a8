"""The grids of the IQ types, and for each point that is not on one the points on it to try.

ggml builds its lists with qsort, twice for each of 43,692 points (iq2xs_init_impl,
iq3xs_init_impl), which takes seconds. Here distances are small whole numbers, so the list of a
point is read off in the order of distances, in a tenth of a second. A point's code has its levels
one after another, two bits each for types of 8 numbers, three for those of 4. The grids themselves
come from the gguf package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from bot.clients.files.gguf import grid_points

# of each type: how many distances are near enough to be tried (nwant in ggml-quants.c)
NEAR = {"IQ2_XXS": 2, "IQ2_XS": 2, "IQ2_S": 1, "IQ1_M": 3, "IQ3_XXS": 2, "IQ3_S": 3}
SLOTS = 16  # lists are filled up to whole vectors


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid of a type.

    `on` [codes]: number of the point, or -1. `first`, `count` [codes]: where a list begins in
    `points` and how many vectors it has, how many points, for codes that are not on the grid.
    `points` [vectors * 16]: codes in the order in which they are tried; what fills up repeats the
    first, which it never beats. `codes` [points of the grid].
    """

    on: np.ndarray
    first: np.ndarray
    count: np.ndarray
    points: np.ndarray
    codes: np.ndarray


def build(kind: str) -> Grid:
    """A type's grid with the lists of all points that can be asked for."""
    levels = grid_points(kind)
    size = levels.shape[1]
    bits, top = (2, 3) if size == 8 else (3, 8)
    shifts = bits * np.arange(size)
    codes = (levels << shifts).sum(axis=1)
    asked = np.stack(np.meshgrid(*[np.arange(top)] * size, indexing="ij"), -1).reshape(-1, size)
    asked_codes = (asked << shifts).sum(axis=1)
    on = np.full(1 << (bits * size), -1, np.int32)
    on[codes] = np.arange(len(codes))
    first, count = np.zeros(on.size, np.int32), np.zeros(on.size, np.int32)
    off = on[asked_codes] < 0
    counts = np.zeros(int(off.sum()), np.int64)
    room = np.zeros((counts.size, len(codes)), np.uint16)
    _lists(asked[off], levels, codes, NEAR[kind], counts, room)
    vectors = -(-counts // SLOTS)
    starts = np.concatenate([[0], np.cumsum(vectors)])
    points = np.zeros((int(starts[-1]), SLOTS), np.uint16)
    for row, begin, end, n in zip(room, starts, starts[1:], counts, strict=False):
        filled = np.full((end - begin) * SLOTS, row[0], np.uint16)
        filled[:n] = row[:n]
        points[begin:end] = filled.reshape(-1, SLOTS)
    first[asked_codes[off]], count[asked_codes[off]] = starts[:-1], counts
    return Grid(on=on, first=first, count=count, points=points, codes=codes.astype(np.int32))


@njit(nogil=True)
def _lists(asked, levels, codes, near, counts, room):
    """For each point of `asked` the codes at its `near` least distances, by distance and number."""
    size = asked.shape[1]
    distances = np.zeros(len(levels), np.int64)
    for row in range(len(asked)):
        for j in range(len(levels)):
            total = 0
            for i in range(size):
                total += (asked[row, i] - levels[j, i]) ** 2
            distances[j] = total
        n, found, distance = 0, 0, 0
        while found < near:
            before = n
            for j in range(len(levels)):
                if distances[j] == distance:
                    room[row, n] = codes[j]
                    n += 1
            found += n > before
            distance += 1
        counts[row] = n
