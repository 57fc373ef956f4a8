"""Q4_K and Q5_K: two super-blocks' sub-blocks of 32 side by side, each above a least number."""

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
    nearest_one,
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
    magnitudes,
    mask_bits,
    mask_of,
    put,
    put_byte,
    put_int,
    roots,
    store,
    store_bytes,
    store_ints,
    where,
    where_ints,
)
from bot.kernels.searches import (
    affine,
    affine_levels,
    positive,
)


@inlined
def _weigh_pair(numbers, first, s, per_row, weights, x, scratch):
    """Weights of two super-blocks' 16 sub-blocks, turned; their sums."""
    w, raw = scratch + IN_W, scratch + IN_T
    copy(weights + ((first + s) % per_row) * BLOCK_BYTES, raw, BLOCK_BYTES)
    copy(weights + ((first + s + 1) % per_row) * BLOCK_BYTES, raw + BLOCK_BYTES, BLOCK_BYTES)
    transpose(raw, 128, w)
    transpose(raw + LANE_BYTES, 128, w + BLOCK_BYTES)
    a = np.float32(2.0) * get(scratch + IN_D + 4 * s) / np.float32(BLOCK)
    b = np.float32(2.0) * get(scratch + IN_D + 4 * s + 4) / np.float32(BLOCK)
    spread = where(mask_of(0xFF), floats(a), floats(b))
    return weighed_by(x, w, 32, spread)


@inlined
def _plain_weights(x, w):
    """Weights of 16 sub-blocks of 32 without importance."""
    total = floats(0.0)
    for i in range(32):
        value = load(x + LANE_BYTES * i)
        total = total + value * value
    mean = roots(total / floats(32.0))
    for i in range(32):
        store(w + LANE_BYTES * i, mean + magnitudes(load(x + LANE_BYTES * i)))


@inlined
def _pack_scales(scales, least, out):
    """Eight scales and eight least numbers of 6 bits in 12 bytes; `scales`, `least`: integers."""
    for j in range(8):
        a, b = get_int(scales + 4 * j) & 255, get_int(least + 4 * j) & 255
        if j < 4:
            put_byte(out + j, a)
            put_byte(out + j + 4, b)
        else:
            put_byte(out + j + 4, (a & 15) | ((b & 15) << 4))
            put_byte(out + j - 4, get_byte(out + j - 4) | ((a >> 4) << 6))
            put_byte(out + j, get_byte(out + j) | ((b >> 4) << 6))


@inlined
def _unpack_scales(packed, d, floor, steps):
    """Eight sub-blocks' scales as floats at `steps`, and their least numbers 64 further."""
    for j in range(8):
        if j < 4:
            a, b = get_byte(packed + j) & 63, get_byte(packed + j + 4) & 63
        else:
            a = (get_byte(packed + j + 4) & 15) | ((get_byte(packed + j - 4) >> 6) << 4)
            b = (get_byte(packed + j + 4) >> 4) | ((get_byte(packed + j) >> 6) << 4)
        put(steps + 4 * j, d * np.float32(a))
        put(steps + LANE_BYTES + 4 * j, floor * np.float32(b))


@inlined
def _pack4(levels, s, target):
    """Levels of a super-block of a pair, their low four bits."""
    low = ints(15)
    for part in range(4):
        for m in range(2):
            row = levels + m * BLOCK_BYTES + (8 * s + 2 * part) * LANE_BYTES
            a, b = load_ints(row) & low, load_ints(row + LANE_BYTES) & low
            store_bytes(target + 32 * part + 16 * m, a | (b << ints(4)))


@inlined
def _pack_fifth(levels, s, target):
    """The fifth bits of a super-block's levels."""
    for m in range(2):
        found = ints(0)
        for j in range(8):
            row = levels + m * BLOCK_BYTES + (8 * s + j) * LANE_BYTES
            found = found | ((load_ints(row) >> ints(4)) << ints(j))
        store_bytes(target + 16 * m, found)


@inlined
def _q45_k(source, target, blocks, per_row, weights, hard, scratch, top, low, step, steps, size):
    """Q4_K and Q5_K: two super-blocks' sub-blocks of 32 side by side."""
    count = 0
    scales, least, sums = scratch + IN_SCALES, scratch + IN_LEAST, scratch + IN_SUMS
    for first in range(0, blocks, GROUP):
        numbers, out = group_at(source, target, blocks, first, size, scratch)
        if weights:
            store(scratch + IN_D, squares(numbers, scratch + IN_T))
        bad = 0
        for s in range(0, GROUP, 2):
            x, w, found = (
                scratch + IN_X + s * BLOCK_BYTES,
                scratch + IN_W,
                scratch + IN_FOUND + s * 5 * LANE_BYTES,
            )
            transpose(numbers + s * BLOCK_BYTES, 128, x)
            transpose(numbers + s * BLOCK_BYTES + LANE_BYTES, 128, x + BLOCK_BYTES)
            if weights:
                total = _weigh_pair(numbers, first, s, per_row, weights, x, scratch)
                store(sums + 32 * s, total)
            else:
                _plain_weights(x, w)
            wild = affine(x, w, 32, top, low, step, steps, False, scratch + IN_L, found)
            if wild & 0xFF:
                bad |= 1 << s
            if wild >> 8:
                bad |= 2 << s
            store(scales + 32 * s, load(found))
            store(least + 32 * s, load(found + LANE_BYTES))
        if weights:
            _scales_of_q45(scratch, 63 if top == 31 else 255)
        else:
            _plain_scales_of_q45(scratch)
        for s in range(0, GROUP, 2):
            _final_pair(scratch, s, top, size, out)
        hand_out(target, blocks, first, size, scratch)
        count = note_hard(numbers, first, blocks, bad, hard, count)
    return count


@inlined
def _final_pair(scratch, s, top, size, out):
    """The blocks of two super-blocks from their scales."""
    x, levels = scratch + IN_X + s * BLOCK_BYTES, scratch + IN_L
    found, at = scratch + IN_FOUND + s * 5 * LANE_BYTES, scratch + IN_T
    for k in range(2):
        block = out + size * (s + k)
        d = put_half(block, get(scratch + IN_D + 4 * (s + k)))
        floor = put_half(block + 2, get(scratch + IN_D + LANE_BYTES + 4 * (s + k)))
        _pack_scales(
            scratch + IN_LS + LANE_BYTES * (s + k),
            scratch + IN_LM + LANE_BYTES * (s + k),
            block + 4,
        )
        _unpack_scales(block + 4, d, floor, at + 32 * k)
    steps, floors = load(at), load(at + LANE_BYTES)
    used = steps != floats(0.0)
    all_used = mask_bits(used) == 0xFFFF
    for i in range(32):
        value = load(x + LANE_BYTES * i)
        level = between_ints(nearest((value + floors) / steps), 0, top)
        if not all_used:
            level = where_ints(used, level, affine_levels(x, i, top, found))
        store_ints(levels + LANE_BYTES * i, level)
    transpose(levels, 64, levels)
    transpose(levels + BLOCK_BYTES, 64, levels + BLOCK_BYTES)
    for k in range(2):
        block = out + size * (s + k)
        if top == 31:
            _pack_fifth(levels, k, block + 16)
            _pack4(levels, k, block + 48)
        else:
            _pack4(levels, k, block + 16)


@inlined
def _scales_of_q45(scratch, most):
    """A group's scales, their levels and those of the least numbers, searched with importance.

    A level below zero is a byte there; Q5_K alone has it cut (`most`): quantize_row_q5_K_impl.
    """
    turned, weighed, levels = scratch + IN_TURNED, scratch + IN_TURNED2, scratch + IN_TURNED3
    transpose(scratch + IN_SUMS, 32, weighed)
    transpose(scratch + IN_SCALES, 32, turned)
    store(scratch + IN_D, positive(turned, weighed, 8, 63, levels))
    for j in range(8):
        level = between_ints(nearest(load(levels + LANE_BYTES * j)), 0, most)
        store_ints(scratch + IN_LS + LANE_BYTES * j, level)
    transpose(scratch + IN_LEAST, 32, turned)
    store(scratch + IN_D + LANE_BYTES, positive(turned, weighed, 8, 63, levels))
    for j in range(8):
        level = between_ints(nearest(load(levels + LANE_BYTES * j)), 0, most)
        store_ints(scratch + IN_LM + LANE_BYTES * j, level)
    transpose(scratch + IN_LS, 64, scratch + IN_LS)
    transpose(scratch + IN_LM, 64, scratch + IN_LM)


@inlined
def _plain_scales_of_q45(scratch):
    """A group's scales and their levels: of the largest, 63 steps."""
    for s in range(16):
        scales, least = scratch + IN_SCALES + 32 * s, scratch + IN_LEAST + 32 * s
        most_scale, most_least = np.float32(0.0), np.float32(0.0)
        for j in range(8):
            most_scale = max(most_scale, get(scales + 4 * j))
            most_least = max(most_least, get(least + 4 * j))
        inverse, inverse_least = np.float32(0.0), np.float32(0.0)
        if most_scale > np.float32(0.0):
            inverse = np.float32(63.0) / most_scale
        if most_least > np.float32(0.0):
            inverse_least = np.float32(63.0) / most_least
        for j in range(8):
            a = nearest_one(inverse * get(scales + 4 * j)) & 255
            b = nearest_one(inverse_least * get(least + 4 * j)) & 255
            put_int(scratch + IN_LS + LANE_BYTES * s + 4 * j, min(63, a))
            put_int(scratch + IN_LM + LANE_BYTES * s + 4 * j, min(63, b))
        put(scratch + IN_D + 4 * s, most_scale / np.float32(63.0))
        put(scratch + IN_D + LANE_BYTES + 4 * s, most_least / np.float32(63.0))


@inlined
def q4_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q4_K."""
    if weights:
        low, step, steps = np.float32(-0.9), np.float32(0.05), 36
    else:
        low, step, steps = np.float32(-1.0), np.float32(0.1), 20
    return _q45_k(
        source, target, blocks, per_row, weights, hard, scratch, 15, low, step, steps, 144
    )


@inlined
def q5_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q5_K."""
    if weights:
        low, step, steps = np.float32(-0.9), np.float32(0.05), 36
    else:
        low, step, steps = np.float32(-0.5), np.float32(0.1), 15
    return _q45_k(
        source, target, blocks, per_row, weights, hard, scratch, 31, low, step, steps, 176
    )
