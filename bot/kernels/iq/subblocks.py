"""What the blocks of IQ2 and IQ3 share: magnitudes, signs and steps of scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bot.kernels.iq.tries import AT_FINAL, AT_PAD, AT_ROOT, AT_SIGNS, AT_SQUARES, AT_T, AT_W, AT_X
from bot.kernels.lanes.rounding import (
    BLOCK,
    BLOCK_BYTES,
    GROUP,
    GROUP_BYTES,
    LANE_BYTES,
    clear,
    copy,
    inlined,
    nearest_one,
    ordinary,
    squares,
)
from bot.kernels.lanes.simd import (
    floats,
    get,
    get_int,
    get_long,
    load,
    lowest,
    mask_bits,
    negatives,
    put,
    put_byte,
    put_int,
    put_word,
    roots,
    store,
    where,
)


@inlined
def prepare(x, importance, spread, quarter, even, scratch):
    """A super-block's magnitudes, weights, their roots and signs into its place of the scratch.

    Without importance weights are squares, and with `quarter` a quarter of the spread more. `even`:
    an odd number of signs in eight is mended where it costs least.
    """
    for v in range(16):
        value = load(x + LANE_BYTES * v)
        square = value * value
        if importance:
            weight = load(importance + LANE_BYTES * v) * roots(floats(spread) + square)
        elif quarter:
            weight = floats(np.float32(0.25) * spread) + square
        else:
            weight = square
        below = value < floats(0.0)
        store(scratch + AT_W + LANE_BYTES * v, weight)
        store(scratch + AT_ROOT + LANE_BYTES * v, roots(weight))
        store(scratch + AT_X + LANE_BYTES * v, where(below, negatives(value), value))
        signs = mask_bits(below)
        if even:
            store(scratch + AT_T, weight * value * value)
            for k in range(2):
                found = (signs >> (8 * k)) & 255
                odd = found ^ (found >> 4)
                odd ^= odd >> 2
                odd ^= odd >> 1
                if odd & 1:
                    at, least = 0, get(scratch + AT_T + 32 * k)
                    for i in range(1, 8):
                        cost = get(scratch + AT_T + 32 * k + 4 * i)
                        if cost < least:
                            at, least = i, cost
                    place = scratch + AT_X + LANE_BYTES * v + 32 * k + 4 * at
                    put(place, -get(place))
                    found ^= 1 << at
                put_byte(scratch + AT_SIGNS + 2 * v + k, found & 127)
        else:
            put_word(scratch + AT_SIGNS + 2 * v, signs)


@inlined
def highest(x, count):
    """The greatest of a sub-block's numbers."""
    found = load(x)
    if count == 32:
        other = load(x + LANE_BYTES)
        found = where(found > other, found, other)
    return -lowest(negatives(found))


@inlined
def index_of(group, grid, scratch):
    """Number of a group's point on the grid."""
    code = np.int64(get_int(scratch + AT_FINAL + 4 * group))
    return np.int64(get_int(get_long(grid) + 4 * code))


@inlined
def step_of(inverse, scale):
    """A sub-block's scale as a level of four bits."""
    level = nearest_one(np.float32(0.5) * (inverse * scale - np.float32(1.0)))
    return min(15, max(0, level))


@inlined
def nibbles(scales, inverse, count, out):
    """Levels of scales, two a byte."""
    for j in range(0, count, 2):
        a, b = step_of(inverse, get(scales + 4 * j)), step_of(inverse, get(scales + 4 * j + 4))
        put_byte(out + j // 2, a | (b << 4))


@inlined
def most_of(scales, count):
    found = np.float32(0.0)
    for j in range(count):
        value = get(scales + 4 * j)
        if value > found:
            found = value
    return found


@inlined
def squares_of(numbers, here, scratch):
    """Sums of squares of a group's super-blocks."""
    if here < GROUP:
        clear(scratch + AT_PAD, GROUP_BYTES)
        copy(numbers, scratch + AT_PAD, here * BLOCK_BYTES)
        store(scratch + AT_SQUARES, squares(scratch + AT_PAD, scratch + AT_T))
    else:
        store(scratch + AT_SQUARES, squares(numbers, scratch + AT_T))


def blocks_of(
    size: int, block: Callable[..., Any], *, twice: bool, quarter: bool, even: bool
) -> Callable[..., Any]:
    """A kernel that makes blocks of `size` bytes one after another.

    `block(out, grid, scratch)` makes one and returns whether it cannot. `twice`, `quarter`, `even`:
    how weights and signs are prepared.
    """

    @inlined
    def kernel(source, target, blocks, per_row, weights, hard, scratch, grid):
        count = 0
        for first in range(0, blocks, GROUP):
            here = min(GROUP, blocks - first)
            numbers = source + first * BLOCK_BYTES
            squares_of(numbers, here, scratch)
            for s in range(here):
                x = numbers + s * BLOCK_BYTES
                bad = not ordinary(x)
                if not bad:
                    spread = get(scratch + AT_SQUARES + 4 * s)
                    if twice:
                        spread = np.float32(2.0) * spread
                    spread = spread / np.float32(BLOCK)
                    importance = 0
                    if weights:
                        importance = weights + ((first + s) % per_row) * BLOCK_BYTES
                    prepare(x, importance, spread, quarter, even, scratch)
                    bad = block(target + size * (first + s), grid, scratch)
                if bad:
                    put_int(hard + 4 * count, first + s)
                    count += 1
        return count

    return kernel
