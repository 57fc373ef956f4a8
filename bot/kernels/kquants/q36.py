"""Q3_K and Q6_K: a super-block's sixteen sub-blocks of 16, symmetric around zero."""

from __future__ import annotations

import numpy as np

from bot.kernels.kquants.groups import (
    IN_D,
    IN_FOUND,
    IN_L,
    IN_LS,
    IN_SCALES,
    IN_SUMS,
    IN_T,
    IN_TURNED,
    IN_TURNED2,
    IN_TURNED3,
    IN_W,
    IN_X,
    group_at,
    hand_out,
    largest_of,
    note_hard,
    pack_pairs_of_bits,
    weighed_by,
)
from bot.kernels.lanes.moves import transpose
from bot.kernels.lanes.rounding import (
    BLOCK,
    BLOCK_BYTES,
    EPS,
    GROUP,
    LANE_BYTES,
    between_ints,
    clear,
    inlined,
    nearest,
    ordinary,
    put_half,
    squares,
)
from bot.kernels.lanes.simd import (
    floats,
    get,
    get_byte,
    get_int,
    ints,
    load,
    load_ints,
    mask_bits,
    put_byte,
    put_int,
    shift_right,
    store,
    store_bytes,
    store_ints,
    to_floats,
    where_ints,
)
from bot.kernels.searches import (
    refined,
    symmetric,
    symmetric_levels,
)


@inlined
def _pack_q6(levels, target):
    low = ints(15)
    for part in range(2):
        for m in range(2):
            row = levels + (8 * part + m) * LANE_BYTES
            a, b = load_ints(row), load_ints(row + 2 * LANE_BYTES)
            c, d = load_ints(row + 4 * LANE_BYTES), load_ints(row + 6 * LANE_BYTES)
            at = target + 64 * part + 16 * m
            store_bytes(at, (a & low) | ((c & low) << ints(4)))
            store_bytes(at + 32, (b & low) | ((d & low) << ints(4)))
            upper = (a >> ints(4)) | ((b >> ints(4)) << ints(2))
            upper = upper | ((c >> ints(4)) << ints(4)) | ((d >> ints(4)) << ints(6))
            store_bytes(target + 128 + 32 * part + 16 * m, upper)


@inlined
def q6_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q6_K, a super-block at a time: its 16 sub-blocks side by side."""
    x, w, levels, found = scratch + IN_X, scratch + IN_W, scratch + IN_L, scratch + IN_FOUND
    count = 0
    for b in range(blocks):
        numbers, out = source + b * BLOCK_BYTES, target + 210 * b
        if not ordinary(numbers):
            put_int(hard + 4 * count, b)
            count += 1
            continue
        transpose(numbers, 64, x)
        if weights:
            transpose(weights + (b % per_row) * BLOCK_BYTES, 64, w)
        else:
            for i in range(16):
                value = load(x + LANE_BYTES * i)
                store(w + LANE_BYTES * i, value * value)
        symmetric(x, w, 16, 32, found)
        scales = load(found)
        most, largest = largest_of(found)
        if most < EPS:
            clear(out, 210)
            continue
        inverse = np.float32(-128.0) / largest
        d = put_half(out + 208, np.float32(1.0) / inverse)
        scale = nearest(floats(inverse) * scales)
        scale = where_ints(scale < ints(127), scale, ints(127))
        store_bytes(out + 192, scale)
        scale = shift_right(scale << ints(24), 24)
        steps = floats(d) * to_floats(scale)
        used = steps != floats(0.0)
        all_used = mask_bits(used) == 0xFFFF
        for i in range(16):
            level = between_ints(nearest(load(x + LANE_BYTES * i) / steps), -32, 31) + ints(32)
            if not all_used:
                level = where_ints(used, level, symmetric_levels(x, i, 32, found))
            store_ints(levels + LANE_BYTES * i, level)
        transpose(levels, 64, levels)
        _pack_q6(levels, out)
    return count


@inlined
def _pack_q3(x, d, scales, first, found, levels, out):
    """A Q3_K block from its scale and 16 sub-scales of 6 bits; `first`: see `q3_k`."""
    clear(out + 96, 12)
    for j in range(16):
        level = get_int(scales + 4 * j)
        if j < 8:
            put_byte(out + 96 + j, level & 15)
        else:
            put_byte(out + 96 + j - 8, get_byte(out + 96 + j - 8) | ((level & 15) << 4))
        at = out + 96 + 8 + j % 4
        put_byte(at, get_byte(at) | ((level >> 4) << (2 * (j // 4))))
    step = put_half(out + 108, d)
    steps = floats(step) * to_floats(load_ints(scales) - ints(32))
    used = steps != floats(0.0)
    all_used = mask_bits(used) == 0xFFFF
    for i in range(16):
        level = between_ints(nearest(load(x + LANE_BYTES * i) / steps), -4, 3) + ints(4)
        if not all_used:
            if first:
                kept = nearest(load(first + LANE_BYTES * i))
            else:
                kept = symmetric_levels(x, i, 4, found)
            level = where_ints(used, level, kept)
        store_ints(levels + LANE_BYTES * i, level)
    transpose(levels, 64, levels)
    for m in range(2):
        mask = ints(0)
        for bit in range(8):
            level = load_ints(levels + (2 * bit + m) * LANE_BYTES)
            mask = mask | ((level >> ints(2)) << ints(bit))
        store_bytes(out + 16 * m, mask)
    pack_pairs_of_bits(levels, out + 32)


@inlined
def _q3_plain(source, target, blocks, hard, scratch):
    """Q3_K without importance: quantize_row_q3_K_ref."""
    x, levels, found = scratch + IN_X, scratch + IN_L, scratch + IN_FOUND
    first, scales = scratch + IN_T, scratch + IN_LS
    count = 0
    for b in range(blocks):
        numbers, out = source + b * BLOCK_BYTES, target + 110 * b
        if not ordinary(numbers):
            put_int(hard + 4 * count, b)
            count += 1
            continue
        transpose(numbers, 64, x)
        refined(x, first, found)
        _, largest = largest_of(found)
        if largest != np.float32(0.0):
            inverse = np.float32(-32.0) / largest
            level = nearest(floats(inverse) * load(found))
            level = shift_right(level << ints(24), 24)
            store_ints(scales, between_ints(level, -32, 31) + ints(32))
            d = np.float32(1.0) / inverse
        else:
            store_ints(scales, ints(0))
            d = np.float32(0.0)
        _pack_q3(x, d, scales, first, found, levels, out)
    return count


@inlined
def _q3_weighed(source, target, blocks, per_row, weights, hard, scratch):
    """Q3_K with importance: quantize_row_q3_K_impl."""
    count = 0
    scales, sums = scratch + IN_SCALES, scratch + IN_SUMS
    for first in range(0, blocks, GROUP):
        numbers, out = group_at(source, target, blocks, first, 110, scratch)
        store(scratch + IN_D, squares(numbers, scratch + IN_T))
        for s in range(GROUP):
            x, w, found = (
                scratch + IN_X + s * BLOCK_BYTES,
                scratch + IN_W,
                scratch + IN_FOUND + s * 5 * LANE_BYTES,
            )
            transpose(numbers + s * BLOCK_BYTES, 64, x)
            transpose(weights + ((first + s) % per_row) * BLOCK_BYTES, 64, w)
            spread = floats(np.float32(2.0) * get(scratch + IN_D + 4 * s) / np.float32(BLOCK))
            store(sums + LANE_BYTES * s, weighed_by(x, w, 16, spread))
            symmetric(x, w, 16, 4, found)
            store(scales + LANE_BYTES * s, load(found))
        turned, weighed, fit = scratch + IN_TURNED, scratch + IN_TURNED2, scratch + IN_TURNED3
        transpose(scales, 64, turned)
        transpose(sums, 64, weighed)
        symmetric(turned, weighed, 16, 32, fit)
        for j in range(16):
            store_ints(scratch + IN_LS + LANE_BYTES * j, symmetric_levels(turned, j, 32, fit))
        transpose(scratch + IN_LS, 64, scratch + IN_LS)
        for s in range(min(GROUP, blocks - first)):
            _pack_q3(
                scratch + IN_X + s * BLOCK_BYTES,
                get(fit + 4 * s),
                scratch + IN_LS + LANE_BYTES * s,
                0,
                scratch + IN_FOUND + s * 5 * LANE_BYTES,
                scratch + IN_L,
                out + 110 * s,
            )
        hand_out(target, blocks, first, 110, scratch)
        count = note_hard(numbers, first, blocks, 0, hard, count)
    return count


@inlined
def q3_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q3_K."""
    if weights:
        return _q3_weighed(source, target, blocks, per_row, weights, hard, scratch)
    return _q3_plain(source, target, blocks, hard, scratch)
