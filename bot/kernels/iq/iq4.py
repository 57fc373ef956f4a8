"""IQ4_XS: sixteen tries of a sub-block's scale side by side.

Levels are sixteen numbers (kvalues_iq4nl); the one nearest to x is found without a search: x
rounded to a multiple of eight names the lower of the only two that it can be, and one comparison
with the least float that belongs to the upper decides (best_index_int8).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bot.kernels.lanes.moves import pick, pick32
from bot.kernels.lanes.rounding import (
    BLOCK,
    BLOCK_BYTES,
    EPS,
    GROUP,
    GROUP_BYTES,
    LANE_BYTES,
    clear,
    copy,
    inlined,
    nearest_one,
    ordinary,
    put_half,
    squares,
)
from bot.kernels.lanes.simd import (
    bits,
    first_bit,
    float_of,
    floats,
    get,
    get_byte,
    highest_int,
    ints,
    load,
    mask_bits,
    put,
    put_byte,
    put_int,
    put_word,
    roots,
    store,
    store_bytes,
    where,
    where_ints,
)

VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
TRIES = 7  # on either side
EIGHTS = np.float32(1.5 * 2.0**26)  # adding it rounds to multiples of eight


def _threshold(low: int, high: int) -> np.float32:
    """The least float that is nearer to `high`, or as near, by the differences that C computes."""
    a, b = np.float32(low), np.float32(high)
    below, above = a, b
    while True:
        middle = np.float32((np.float64(below) + np.float64(above)) / 2)
        if middle in (below, above):
            return above
        if middle - a < b - middle:
            below = middle
        else:
            above = middle


def tables() -> np.ndarray:
    """What the kernel looks up: [80] 32-bit words.

    16 values, 16 thresholds, 16 inverse scales of the tries but for their division, and for 32
    multiples of eight, counted modulo 32, the number of the lower level.
    """
    limits = [_threshold(a, b) for a, b in pairwise(VALUES)]
    limits.append(np.float32(np.inf))
    tries = [0.0, *(float(k + VALUES[0]) for k in range(-TRIES, TRIES + 1))]
    lower = np.zeros(32, np.int32)
    for number in range(-16, 16):
        lower[number % 32] = sum(1 for limit in limits if limit < 8 * number - 4)
    words = np.array([*VALUES, *limits, *tries], np.float32)
    return np.concatenate([words, lower.view(np.float32)])


@inlined
def _level(x, limits, low, high):
    """Numbers of the nearest levels."""
    x = where(x < floats(113.0), x, floats(113.0))
    x = where(x > floats(-127.0), x, floats(-127.0))
    number = bits(pick32(low, high, bits(x + floats(EIGHTS))))
    upper = x >= pick(limits, number)
    return where_ints(upper, number + ints(1), number)


@inlined
def _largest(x):
    """Of 32 floats the first that is largest in magnitude."""
    a, b = bits(load(x)) & ints(0x7FFFFFFF), bits(load(x + LANE_BYTES)) & ints(0x7FFFFFFF)
    most = highest_int(where_ints(a > b, a, b))
    found = mask_bits(a == ints(most)) | (mask_bits(b == ints(most)) << 16)
    return float_of(most), get(x + 4 * first_bit(found))


@inlined
def _scale(x, w, table, out):
    """The scale of 32 numbers, by the best of 16 tries."""
    most, largest = _largest(x)
    if most < EPS:
        return np.float32(0.0)
    values, limits = load(table), load(table + LANE_BYTES)
    low, high = load(table + 3 * LANE_BYTES), load(table + 4 * LANE_BYTES)
    first = np.float32(1.0) / (-largest / np.float32(-127.0))
    inverse = load(table + 2 * LANE_BYTES) / floats(largest)
    store(out, inverse)
    put(out, first)
    inverse = load(out)
    sum_qx, sum_q2 = floats(0.0), floats(0.0)
    for j in range(32):
        value, weight = floats(get(x + 4 * j)), floats(get(w + 4 * j))
        level = pick(values, _level(inverse * value, limits, low, high))
        part = weight * level
        sum_qx = sum_qx + part * value
        sum_q2 = sum_q2 + part * level
    store(out, sum_qx)
    store(out + LANE_BYTES, sum_q2)
    scale = np.float32(0.0)
    if get(out + LANE_BYTES) > np.float32(0.0):
        scale = get(out) / get(out + LANE_BYTES)
    best = scale * get(out)
    rest = 0xFFFE
    some = sum_q2 > floats(0.0)
    better = mask_bits(some & (sum_qx * sum_qx > floats(best) * sum_q2)) & rest
    while better:
        k = first_bit(better)
        scale = get(out + 4 * k) / get(out + LANE_BYTES + 4 * k)
        best = scale * get(out + 4 * k)
        rest &= -(2 << k)
        better = mask_bits(some & (sum_qx * sum_qx > floats(best) * sum_q2)) & rest
    return scale


# where things lie in a thread's scratch
_T = 0
_W = _T + 16 * LANE_BYTES
_OUT = _W + 2 * LANE_BYTES
_SUMS = _OUT + 2 * LANE_BYTES
_SCALES = _SUMS + LANE_BYTES
_PAD = _SCALES + LANE_BYTES
SCRATCH = _PAD + GROUP_BYTES


@inlined
def _pack(numbers, scales, table, out):
    """A block from its numbers and its eight scales."""
    most, largest = np.float32(0.0), np.float32(0.0)
    for j in range(8):
        value = get(scales + 4 * j)
        if abs(value) > most:
            most, largest = abs(value), value
    d = -largest / np.float32(32.0)
    put_half(out, d)
    inverse = np.float32(1.0) / d if d != np.float32(0.0) else np.float32(0.0)
    limits = load(table + LANE_BYTES)
    low, high = load(table + 3 * LANE_BYTES), load(table + 4 * LANE_BYTES)
    upper = 0
    for j in range(8):
        step = min(31, max(-32, nearest_one(inverse * get(scales + 4 * j))))
        scale = d * np.float32(step)
        factor = np.float32(1.0) / scale if scale != np.float32(0.0) else np.float32(0.0)
        x = numbers + 128 * j
        a = _level(floats(factor) * load(x), limits, low, high)
        b = _level(floats(factor) * load(x + LANE_BYTES), limits, low, high)
        store_bytes(out + 8 + 16 * j, a | (b << ints(4)))
        step += 32
        if j % 2 == 0:
            put_byte(out + 4 + j // 2, step & 15)
        else:
            put_byte(out + 4 + j // 2, get_byte(out + 4 + j // 2) | ((step & 15) << 4))
        upper |= (step >> 4) << (2 * j)
    put_word(out + 2, upper)


@inlined
def iq4_xs(source, target, blocks, per_row, weights, hard, scratch, table):
    """IQ4_XS; `table` is the address of `tables()`."""
    count = 0
    w, sums, scales = scratch + _W, scratch + _SUMS, scratch + _SCALES
    for first in range(0, blocks, GROUP):
        here = min(GROUP, blocks - first)
        numbers = source + first * BLOCK_BYTES
        if weights:
            if here < GROUP:
                clear(scratch + _PAD, GROUP_BYTES)
                copy(numbers, scratch + _PAD, here * BLOCK_BYTES)
                store(sums, squares(scratch + _PAD, scratch + _T))
            else:
                store(sums, squares(numbers, scratch + _T))
        for s in range(here):
            x = numbers + s * BLOCK_BYTES
            if not ordinary(x):
                put_int(hard + 4 * count, first + s)
                count += 1
                continue
            spread = floats(get(sums + 4 * s) * np.float32(2.0 / BLOCK))
            importance = weights + ((first + s) % per_row) * BLOCK_BYTES
            for j in range(8):
                for half in range(2):
                    at = 128 * j + LANE_BYTES * half
                    value = load(x + at)
                    weight = value * value
                    if weights:
                        weight = load(importance + at) * roots(spread + weight)
                    store(w + LANE_BYTES * half, weight)
                put(scales + 4 * j, _scale(x + 128 * j, w, table, scratch + _OUT))
            _pack(x, scales, table, target + 136 * (first + s))
    return count
