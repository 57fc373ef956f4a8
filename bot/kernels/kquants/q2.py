"""Q2_K: a super-block's sixteen sub-blocks of 16, each above a least number of its own."""

from __future__ import annotations

import numpy as np

from bot.kernels.kquants.groups import (
    IN_D,
    IN_FOUND,
    IN_L,
    IN_LEAST,
    IN_LM,
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
    note_hard,
    pack_pairs_of_bits,
    weighed_by,
)
from bot.kernels.lanes.moves import transpose
from bot.kernels.lanes.rounding import (
    BLOCK,
    BLOCK_BYTES,
    GROUP,
    LANE_BYTES,
    between_ints,
    copy,
    inlined,
    nearest,
    put_half,
    squares,
)
from bot.kernels.lanes.simd import (
    floats,
    get,
    get_byte,
    ints,
    load,
    load_ints,
    magnitudes,
    mask_bits,
    put,
    store,
    store_bytes,
    store_ints,
    where_ints,
)
from bot.kernels.searches import (
    affine,
    affine_levels,
    positive,
)


@inlined
def _pack_q2(x, d, least, scales, found, levels, out):
    """A Q2_K block; `scales`: 16 bytes, each a level of the scale and one of the least number."""
    copy(scales, out, 16)
    step, floor = put_half(out + 80, d), put_half(out + 82, least)
    for j in range(16):
        both = get_byte(out + j)
        put(levels + 4 * j, step * np.float32(both & 15))
        put(levels + LANE_BYTES + 4 * j, floor * np.float32(both >> 4))
    steps, floors = load(levels), load(levels + LANE_BYTES)
    used = steps != floats(0.0)
    all_used = mask_bits(used) == 0xFFFF
    for i in range(16):
        value = load(x + LANE_BYTES * i)
        level = between_ints(nearest((value + floors) / steps), 0, 3)
        if not all_used:
            level = where_ints(used, level, affine_levels(x, i, 3, found))
        store_ints(levels + LANE_BYTES * i, level)
    transpose(levels, 64, levels)
    pack_pairs_of_bits(levels, out + 16)


@inlined
def q2_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q2_K."""
    count = 0
    scales, least, sums = scratch + IN_SCALES, scratch + IN_LEAST, scratch + IN_SUMS
    for first in range(0, blocks, GROUP):
        numbers, out = group_at(source, target, blocks, first, 84, scratch)
        if weights:
            store(scratch + IN_D, squares(numbers, scratch + IN_T))
        bad = 0
        for s in range(GROUP):
            x, w, found = (
                scratch + IN_X + s * BLOCK_BYTES,
                scratch + IN_W,
                scratch + IN_FOUND + s * 5 * LANE_BYTES,
            )
            transpose(numbers + s * BLOCK_BYTES, 64, x)
            if weights:
                transpose(weights + ((first + s) % per_row) * BLOCK_BYTES, 64, w)
                spread = floats(get(scratch + IN_D + 4 * s) / np.float32(BLOCK))
                store(sums + LANE_BYTES * s, weighed_by(x, w, 16, spread))
                wild = affine(
                    x,
                    w,
                    16,
                    3,
                    np.float32(-0.9),
                    np.float32(0.05),
                    36,
                    False,
                    scratch + IN_L,
                    found,
                )
            else:
                for i in range(16):
                    store(w + LANE_BYTES * i, magnitudes(load(x + LANE_BYTES * i)))
                wild = affine(
                    x, w, 16, 3, np.float32(-0.5), np.float32(0.1), 15, True, scratch + IN_L, found
                )
            if wild:
                bad |= 1 << s
            store(scales + LANE_BYTES * s, load(found))
            store(least + LANE_BYTES * s, load(found + LANE_BYTES))
        if weights:
            _scales_of_q2(scratch)
        else:
            _plain_scales_of_q2(scratch)
        for s in range(min(GROUP, blocks - first)):
            _pack_q2(
                scratch + IN_X + s * BLOCK_BYTES,
                get(scratch + IN_D + 4 * s),
                get(scratch + IN_D + LANE_BYTES + 4 * s),
                scratch + IN_LM + 16 * s,
                scratch + IN_FOUND + s * 5 * LANE_BYTES,
                scratch + IN_L,
                out + 84 * s,
            )
        hand_out(target, blocks, first, 84, scratch)
        count = note_hard(numbers, first, blocks, bad, hard, count)
    return count


@inlined
def _scales_of_q2(scratch):
    """A group's scales and their levels, searched with importance."""
    turned, weighed, levels = scratch + IN_TURNED, scratch + IN_TURNED2, scratch + IN_TURNED3
    transpose(scratch + IN_SUMS, 64, weighed)
    transpose(scratch + IN_SCALES, 64, turned)
    store(scratch + IN_D, positive(turned, weighed, 16, 15, levels))
    for j in range(16):
        store_ints(scratch + IN_LS + LANE_BYTES * j, nearest(load(levels + LANE_BYTES * j)))
    transpose(scratch + IN_LEAST, 64, turned)
    store(scratch + IN_D + LANE_BYTES, positive(turned, weighed, 16, 15, levels))
    for j in range(16):
        low = load_ints(scratch + IN_LS + LANE_BYTES * j)
        high = nearest(load(levels + LANE_BYTES * j)) << ints(4)
        store_ints(scratch + IN_LS + LANE_BYTES * j, low | high)
    transpose(scratch + IN_LS, 64, scratch + IN_LS)
    for s in range(16):
        store_bytes(scratch + IN_LM + 16 * s, load_ints(scratch + IN_LS + LANE_BYTES * s))


@inlined
def _plain_scales_of_q2(scratch):
    """A group's scales and their levels: of the largest, 15 steps."""
    for s in range(16):
        scales = load(scratch + IN_SCALES + LANE_BYTES * s)
        least = load(scratch + IN_LEAST + LANE_BYTES * s)
        most_scale, most_least = np.float32(0.0), np.float32(0.0)
        for j in range(16):
            most_scale = max(most_scale, get(scratch + IN_SCALES + LANE_BYTES * s + 4 * j))
            most_least = max(most_least, get(scratch + IN_LEAST + LANE_BYTES * s + 4 * j))
        low, high, d, floor = ints(0), ints(0), np.float32(0.0), np.float32(0.0)
        if most_scale > np.float32(0.0):
            low = nearest(floats(np.float32(15.0) / most_scale) * scales)
            d = most_scale / np.float32(15.0)
        if most_least > np.float32(0.0):
            high = nearest(floats(np.float32(15.0) / most_least) * least)
            floor = most_least / np.float32(15.0)
        put(scratch + IN_D + 4 * s, d)
        put(scratch + IN_D + LANE_BYTES + 4 * s, floor)
        store_bytes(scratch + IN_LM + 16 * s, low | (high << ints(4)))
