"""IQ1_M: all splits of sorted numbers in three, for a super-block's sixteen sub-blocks side by
side.

A sub-block's scale and its two shifts are those of the best of 153 splits and four pairs of signs
(quantize_row_iq1_m_impl). Sorting is by rank, equal numbers in their order, as the C library's
merge sort leaves them.
"""

from __future__ import annotations

import numpy as np

from bot.kernels.iq.nearest import nearest_of_size
from bot.kernels.lanes.moves import transpose
from bot.kernels.lanes.rounding import (
    BLOCK,
    BLOCK_BYTES,
    GROUP,
    GROUP_BYTES,
    LANE_BYTES,
    clear,
    copy,
    half,
    inlined,
    nearest_one,
    ordinary,
    squares,
)
from bot.kernels.lanes.simd import (
    floats,
    get,
    get_byte,
    get_int,
    get_long,
    get_word,
    ints,
    iota,
    load,
    load_ints,
    magnitudes,
    mask_bits,
    negatives,
    put,
    put_byte,
    put_int,
    put_word,
    roots,
    store,
    store_ints,
    where,
    where_ints,
)

_nearest_point = nearest_of_size(8)
SMALLEST = np.float32(1e-7)  # GROUP_MAX_EPS_IQ1_M
# -1, 0 and 1, shifted by IQ1M_DELTA
UP = (np.float32(-0.875), np.float32(0.125), np.float32(1.125))
DOWN = (np.float32(-1.125), np.float32(-0.125), np.float32(0.875))
LOWEST = np.float32(-3.4028234663852886e38)
UP1, UP2 = UP[0] * UP[0] - UP[1] * UP[1], UP[1] * UP[1] - UP[2] * UP[2]
DOWN1, DOWN2 = DOWN[0] * DOWN[0] - DOWN[1] * DOWN[1], DOWN[1] * DOWN[1] - DOWN[2] * DOWN[2]

# where things lie in a thread's scratch
_X = 0  # numbers, turned
_W = _X + BLOCK_BYTES  # weights, turned
_PLAIN = _W + BLOCK_BYTES  # weights as they lie
_RANKS = _PLAIN + BLOCK_BYTES
_SORTED = _RANKS + BLOCK_BYTES  # products, weights and numbers of the sorted
_P = _SORTED + 3 * BLOCK_BYTES  # sums up to each place: products and weights of both halves
_Q = _P + 4 * 17 * LANE_BYTES  # what the second place adds to the squares
_LEVELS = _Q + 4 * 17 * LANE_BYTES
_FOUND = _LEVELS + BLOCK_BYTES  # scale, first place, second place, signs
_SQUARES = _FOUND + 4 * LANE_BYTES
_T = _SQUARES + LANE_BYTES
_TABLE = _T + BLOCK_BYTES  # up and down levels, repeated
_PAD = _TABLE + 2 * LANE_BYTES
SCRATCH = _PAD + GROUP_BYTES

_SIZE = 17 * LANE_BYTES  # of sums up to each place


@inlined
def _rank(scratch):
    """The place of each number among its sub-block's."""
    one, zero = ints(1), ints(0)
    for i in range(16):
        store_ints(scratch + _RANKS + LANE_BYTES * i, zero)
    for i in range(16):
        value = load(scratch + _X + LANE_BYTES * i)
        rank = load_ints(scratch + _RANKS + LANE_BYTES * i)
        for j in range(i + 1, 16):
            before = load(scratch + _X + LANE_BYTES * j) < value
            at = scratch + _RANKS + LANE_BYTES * j
            rank = rank + where_ints(before, one, zero)
            store_ints(at, load_ints(at) + where_ints(before, zero, one))
        store_ints(scratch + _RANKS + LANE_BYTES * i, rank)


@inlined
def _sort(scratch):
    """Products, weights and halves in the order of ranks."""
    for i in range(16):
        product = load(scratch + _W + LANE_BYTES * i) * load(scratch + _X + LANE_BYTES * i)
        store(scratch + _T + LANE_BYTES * i, product)
    for i in range(16):
        for j in range(16):
            at = LANE_BYTES * i + 4 * j
            to = scratch + _SORTED + LANE_BYTES * get_int(scratch + _RANKS + at) + 4 * j
            put_int(to, get_int(scratch + _T + at))
            put_int(to + BLOCK_BYTES, get_int(scratch + _W + at))
            put_int(to + 2 * BLOCK_BYTES, i)


@inlined
def _sums(scratch):
    """Sums of products and weights up to each place, a half's each."""
    x0, x1, w0, w1 = floats(0.0), floats(0.0), floats(0.0), floats(0.0)
    p = scratch + _P
    for j in range(17):
        store(p + LANE_BYTES * j, x0)
        store(p + _SIZE + LANE_BYTES * j, x1)
        store(p + 2 * _SIZE + LANE_BYTES * j, w0)
        store(p + 3 * _SIZE + LANE_BYTES * j, w1)
        q = scratch + _Q + LANE_BYTES * j
        store(q, w0 * floats(UP2))
        store(q + _SIZE, w1 * floats(UP2))
        store(q + 2 * _SIZE, w0 * floats(DOWN2))
        store(q + 3 * _SIZE, w1 * floats(DOWN2))
        if j < 16:
            at = scratch + _SORTED + LANE_BYTES * j
            product, weight = load(at), load(at + BLOCK_BYTES)
            lower = load_ints(at + 2 * BLOCK_BYTES) < ints(8)
            x0, x1 = where(lower, x0 + product, x0), where(lower, x1, x1 + product)
            w0, w1 = where(lower, w0 + weight, w0), where(lower, w1, w1 + weight)


@inlined
def _split(most, scratch):
    """The best split of each sub-block: scale, places (-1 for none) and signs."""
    p, q = scratch + _P, scratch + _Q
    x0, x1 = load(p + 16 * LANE_BYTES), load(p + _SIZE + 16 * LANE_BYTES)
    w0, w1 = load(p + 2 * _SIZE + 16 * LANE_BYTES), load(p + 3 * _SIZE + 16 * LANE_BYTES)
    up, down = floats(UP[2]), floats(DOWN[2])
    x0_up, x1_up, x0_down, x1_down = x0 * up, x1 * up, x0 * down, x1 * down
    w0_up, w1_up, w0_down, w1_down = w0 * up * up, w1 * up * up, w0 * down * down, w1 * down * down
    zero = floats(0.0)
    scale, best = most, floats(LOWEST)
    one, two, signs = ints(-1), ints(-1), ints(-1)
    for i in range(17):
        at = p + LANE_BYTES * i
        x0, x1 = load(at), load(at + _SIZE)
        w0, w1 = load(at + 2 * _SIZE), load(at + 3 * _SIZE)
        a0, a1 = w0_up + w0 * floats(UP1), w1_up + w1 * floats(UP1)
        b0, b1 = w0_down + w0 * floats(DOWN1), w1_down + w1 * floats(DOWN1)
        for j in range(i, 17):
            s0, s1 = x0 + load(p + LANE_BYTES * j), x1 + load(p + _SIZE + LANE_BYTES * j)
            u0, u1, d0, d1 = x0_up - s0, x1_up - s1, x0_down - s0, x1_down - s1
            at = q + LANE_BYTES * j
            p0, p1 = a0 + load(at), a1 + load(at + _SIZE)
            m0, m1 = b0 + load(at + 2 * _SIZE), b1 + load(at + 3 * _SIZE)
            qx0, qx1, qx2, qx3 = u0 + u1, u0 + d1, d0 + u1, d0 + d1
            q20, q21, q22, q23 = p0 + p1, p0 + m1, m0 + p1, m0 + m1
            c0 = (q20 > zero) & (qx0 * qx0 > best * q20)
            c1 = (q21 > zero) & (qx1 * qx1 > best * q21)
            c2 = (q22 > zero) & (qx2 * qx2 > best * q22)
            c3 = (q23 > zero) & (qx3 * qx3 > best * q23)
            if mask_bits(c0 | c1 | c2 | c3) == 0:
                continue
            here, there = ints(i), ints(j)
            value = qx0 / q20
            scale, best = where(c0, value, scale), where(c0, value * qx0, best)
            signs = where_ints(c0, ints(0), signs)
            c = c0
            c1 = (q21 > zero) & (qx1 * qx1 > best * q21)
            value = qx1 / q21
            scale, best = where(c1, value, scale), where(c1, value * qx1, best)
            signs = where_ints(c1, ints(1), signs)
            c2 = (q22 > zero) & (qx2 * qx2 > best * q22)
            value = qx2 / q22
            scale, best = where(c2, value, scale), where(c2, value * qx2, best)
            signs = where_ints(c2, ints(2), signs)
            c3 = (q23 > zero) & (qx3 * qx3 > best * q23)
            value = qx3 / q23
            scale, best = where(c3, value, scale), where(c3, value * qx3, best)
            signs = where_ints(c3, ints(3), signs)
            c = c | c1 | c2 | c3
            one, two = where_ints(c, here, one), where_ints(c, there, two)
    store(scratch + _FOUND, scale)
    store_ints(scratch + _FOUND + LANE_BYTES, one)
    store_ints(scratch + _FOUND + 2 * LANE_BYTES, two)
    store_ints(scratch + _FOUND + 3 * LANE_BYTES, signs)


@inlined
def _codes(scratch):
    """The codes of both halves of each sub-block, with a scale that is not negative."""
    found = scratch + _FOUND
    scale, signs = load(found), load_ints(found + 3 * LANE_BYTES)
    one, two = load_ints(found + LANE_BYTES), load_ints(found + 2 * LANE_BYTES)
    below = scale < floats(0.0)
    low, high = ints(0), ints(0)
    for i in range(16):
        rank = load_ints(scratch + _RANKS + LANE_BYTES * i)
        level = where_ints(rank < one, ints(0), where_ints(rank < two, ints(1), ints(2)))
        level = where_ints(below, ints(2) - level, level)
        if i < 8:
            low = low | (level << ints(2 * i))
        else:
            high = high | (level << ints(2 * i - 16))
    store_ints(scratch + _LEVELS, low)
    store_ints(scratch + _LEVELS + LANE_BYTES, high)
    store(found, where(below, negatives(scale), scale))
    store_ints(found + 3 * LANE_BYTES, where_ints(below, ints(3) - signs, signs))


@inlined
def _is_up(signs, k):
    """Whether half k of a sub-block has its levels shifted up."""
    return (signs < 2) if k == 0 else (signs % 2 == 0)


@inlined
def _table(up, scratch):
    return scratch + _TABLE + (0 if up else LANE_BYTES)


@inlined
def _place(x, w, j, signs, scratch, grid):
    """Put a sub-block's codes on the grid; its scale."""
    scale, on = get(scratch + _FOUND + 4 * j), get_long(grid)
    moved = False
    for k in range(2):
        at = scratch + _LEVELS + LANE_BYTES * k + 4 * j
        code = np.int64(get_int(at))
        if get_int(on + 4 * code) < 0:
            moved = True
            numbers = floats(scale) * load(_table(_is_up(signs, k), scratch))
            put_int(at, _nearest_point(code, x + 32 * k, w + 32 * k, numbers, grid))
    if moved:
        sum_qx, sum_q2 = np.float32(0.0), np.float32(0.0)
        for k in range(2):
            code = np.int64(get_int(scratch + _LEVELS + LANE_BYTES * k + 4 * j))
            table = _table(_is_up(signs, k), scratch)
            for i in range(8):
                number = get(table + 4 * ((code >> (2 * i)) & 3))
                weight = get(w + 32 * k + 4 * i)
                sum_qx += weight * number * get(x + 32 * k + 4 * i)
                sum_q2 += weight * number * number
        if sum_qx > np.float32(0.0) and sum_q2 > np.float32(0.0):
            scale = sum_qx / sum_q2
    return scale


@inlined
def _block(x, out, scratch, grid):
    most = floats(0.0)
    for i in range(16):
        size = magnitudes(load(scratch + _X + LANE_BYTES * i))
        most = where(size > most, size, most)
    empty = mask_bits(most < floats(SMALLEST))
    _rank(scratch)
    _sort(scratch)
    _sums(scratch)
    _split(most, scratch)
    _codes(scratch)
    clear(out, 56)
    on, codes = get_long(grid), get_long(grid + 32)
    largest = np.float32(0.0)
    for j in range(16):
        signs = np.int64(get_int(scratch + _FOUND + 3 * LANE_BYTES + 4 * j))
        if (empty >> j) & 1 or get_int(scratch + _FOUND + LANE_BYTES + 4 * j) < 0:
            put(scratch + _FOUND + 4 * j, np.float32(0.0))
            put_int(scratch + _FOUND + 3 * LANE_BYTES + 4 * j, 0)
            put_int(scratch + _LEVELS + 4 * j, get_int(codes))
            put_int(scratch + _LEVELS + LANE_BYTES + 4 * j, get_int(codes))
            continue
        scale = _place(x + 64 * j, scratch + _PLAIN + 64 * j, j, signs, scratch, grid)
        a = get_int(on + 4 * np.int64(get_int(scratch + _LEVELS + 4 * j)))
        b = get_int(on + 4 * np.int64(get_int(scratch + _LEVELS + LANE_BYTES + 4 * j)))
        put_byte(out + 2 * j, a)
        put_byte(out + 2 * j + 1, b)
        put_byte(out + 32 + j, (a >> 8) | ((b >> 8) << 4))
        put(scratch + _FOUND + 4 * j, scale)
        if scale > largest:
            largest = scale
    if largest != np.float32(0.0):
        _finish(x, largest, out, scratch)


@inlined
def _finish(x, largest, out, scratch):
    """Levels of the scales, and the block's own scale by all of its numbers."""
    d = largest / np.float32(15.0)
    inverse = np.float32(1.0) / d
    sum_qx, sum_q2 = np.float32(0.0), np.float32(0.0)
    for j in range(16):
        scale = get(scratch + _FOUND + 4 * j)
        signs = np.int64(get_int(scratch + _FOUND + 3 * LANE_BYTES + 4 * j))
        level = nearest_one(np.float32(0.5) * (inverse * scale - np.float32(1.0)))
        level = min(7, max(0, level))
        at = out + 48 + 2 * (j // 4)
        put_word(at, get_word(at) | (level << (3 * (j % 4))))
        mask = (0x80 if signs & 1 else 0) | (0x08 if signs & 2 else 0)
        put_byte(out + 32 + j, get_byte(out + 32 + j) | mask)
        factor = np.float32(2 * level + 1)
        for k in range(2):
            code = np.int64(get_int(scratch + _LEVELS + LANE_BYTES * k + 4 * j))
            table = _table(_is_up(signs, k), scratch)
            for i in range(8):
                number = get(table + 4 * ((code >> (2 * i)) & 3)) * factor
                place = 64 * j + 32 * k + 4 * i
                weight = get(scratch + _PLAIN + place)
                sum_qx += weight * number * get(x + place)
                sum_q2 += weight * number * number
    if sum_q2 > np.float32(0.0):
        d = sum_qx / sum_q2
    bits = half(d * np.float32(1.1125))
    for k in range(4):
        at = out + 48 + 2 * k
        put_word(at, get_word(at) | (((bits >> (4 * k)) & 15) << 12))


@inlined
def _weigh(x, importance, spread, scratch):
    """A super-block's numbers and weights, as they lie and turned."""
    for v in range(16):
        value = load(x + LANE_BYTES * v)
        weight = value * value
        if importance:
            weight = load(importance + LANE_BYTES * v) * roots(floats(spread) + weight)
        store(scratch + _PLAIN + LANE_BYTES * v, weight)
    transpose(x, 64, scratch + _X)
    transpose(scratch + _PLAIN, 64, scratch + _W)


@inlined
def iq1_m(source, target, blocks, per_row, weights, hard, scratch, grid):
    """IQ1_M."""
    lanes = iota() & ints(3)
    up = where(
        lanes == ints(0), floats(UP[0]), where(lanes == ints(1), floats(UP[1]), floats(UP[2]))
    )
    down = where(
        lanes == ints(0), floats(DOWN[0]), where(lanes == ints(1), floats(DOWN[1]), floats(DOWN[2]))
    )
    store(scratch + _TABLE, up)
    store(scratch + _TABLE + LANE_BYTES, down)
    count = 0
    for first in range(0, blocks, GROUP):
        here = min(GROUP, blocks - first)
        numbers = source + first * BLOCK_BYTES
        if here < GROUP:
            clear(scratch + _PAD, GROUP_BYTES)
            copy(numbers, scratch + _PAD, here * BLOCK_BYTES)
            store(scratch + _SQUARES, squares(scratch + _PAD, scratch + _T))
        else:
            store(scratch + _SQUARES, squares(numbers, scratch + _T))
        for s in range(here):
            x = numbers + s * BLOCK_BYTES
            if not ordinary(x):
                put_int(hard + 4 * count, first + s)
                count += 1
                continue
            spread = np.float32(2.0) * get(scratch + _SQUARES + 4 * s) / np.float32(BLOCK)
            importance = 0
            if weights:
                importance = weights + ((first + s) % per_row) * BLOCK_BYTES
            _weigh(x, importance, spread, scratch)
            _block(x, target + 56 * (first + s), scratch, grid)
    return count
