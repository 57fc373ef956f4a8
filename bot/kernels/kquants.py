"""Q2_K to Q6_K, sixteen super-blocks at a time.

A group's searches run in three stages: sub-blocks side by side, super-blocks side by side for what
is searched among a block's scales, and sub-blocks again for the final levels and their packing.
Layouts of blocks: ggml-common.h.

`quantize(source, target, blocks, per_row, weights, hard, scratch)`: `blocks` super-blocks of floats
at `source` to `target`; `weights`, an address or 0, holds a row's importance, `per_row` blocks
long. Numbers of blocks that must be quantized otherwise are written to `hard`; returns how many.
"""

from __future__ import annotations

import numpy as np

from bot.kernels.rounding import (
    BLOCK,
    BLOCK_BYTES,
    EPS,
    GROUP,
    GROUP_BYTES,
    LANE_BYTES,
    between_ints,
    clear,
    copy,
    inlined,
    nearest,
    nearest_one,
    ordinary,
    put_half,
    squares,
)
from bot.kernels.searches import (
    affine,
    affine_levels,
    positive,
    refined,
    symmetric,
    symmetric_levels,
)
from bot.kernels.simd import (
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
    shift_right,
    store,
    store_bytes,
    store_ints,
    to_floats,
    transpose,
    where,
    where_ints,
)

# where things lie in a thread's scratch
_X = 0  # a group's numbers, turned: 16 KiB
_W = _X + GROUP_BYTES  # weights of two super-blocks, turned
_T = _W + 2 * BLOCK_BYTES  # turned squares, and levels
_L = _T + 2 * BLOCK_BYTES
_FOUND = _L + 2 * BLOCK_BYTES  # what each search of a group found: 5 vectors of 16
_SCALES = _FOUND + 16 * 5 * LANE_BYTES + LANE_BYTES
_LEAST = _SCALES + 17 * LANE_BYTES
_SUMS = _LEAST + 17 * LANE_BYTES
_TURNED = _SUMS + 17 * LANE_BYTES
_TURNED2 = _TURNED + 16 * LANE_BYTES
_TURNED3 = _TURNED2 + 16 * LANE_BYTES
_LS = _TURNED3 + 16 * LANE_BYTES
_LM = _LS + 16 * LANE_BYTES
_D = _LM + 16 * LANE_BYTES
_PAD = _D + 8 * LANE_BYTES  # a group that is not full
_OUT = _PAD + GROUP_BYTES
SCRATCH = _OUT + GROUP * 512


@inlined
def _group(source, target, blocks, first, size, scratch):
    """Where a group's numbers are and where its blocks go: padded when it is the last."""
    if blocks - first >= GROUP:
        return source + first * BLOCK_BYTES, target + first * size
    clear(scratch + _PAD, GROUP_BYTES)
    copy(source + first * BLOCK_BYTES, scratch + _PAD, (blocks - first) * BLOCK_BYTES)
    return scratch + _PAD, scratch + _OUT


@inlined
def _done(target, blocks, first, size, scratch):
    """Hand out the blocks of a group that was padded."""
    if blocks - first < GROUP:
        copy(scratch + _OUT, target + first * size, (blocks - first) * size)


@inlined
def _note(source, first, blocks, bad, hard, count):
    """Write down which blocks of a group are hard: those in `bad`, and extraordinary ones."""
    for s in range(min(GROUP, blocks - first)):
        if (bad >> s) & 1 or not ordinary(source + s * BLOCK_BYTES):
            put_int(hard + 4 * count, first + s)
            count += 1
    return count


@inlined
def _pack2(levels, target):
    """Levels of 2 bits as Q2_K and Q3_K keep them; `levels` [16][16] integers."""
    three = ints(3)
    for part in range(2):
        for m in range(2):
            row = levels + (8 * part + m) * LANE_BYTES
            found = load_ints(row) & three
            found = found | ((load_ints(row + 2 * LANE_BYTES) & three) << ints(2))
            found = found | ((load_ints(row + 4 * LANE_BYTES) & three) << ints(4))
            found = found | ((load_ints(row + 6 * LANE_BYTES) & three) << ints(6))
            store_bytes(target + 32 * part + 16 * m, found)


# ── Q6_K ────────────────────────────────────────────────────────────────────────────────────


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
def _largest(scales):
    """Of 16 floats the one that is largest in magnitude, the first where two are."""
    most, largest = np.float32(0.0), np.float32(0.0)
    for j in range(16):
        value = get(scales + 4 * j)
        if abs(value) > most:
            most, largest = abs(value), value
    return most, largest


@inlined
def q6_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q6_K, a super-block at a time: its 16 sub-blocks side by side."""
    x, w, levels, found = scratch + _X, scratch + _W, scratch + _L, scratch + _FOUND
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
        most, largest = _largest(found)
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


# ── Q3_K ────────────────────────────────────────────────────────────────────────────────────


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
    _pack2(levels, out + 32)


@inlined
def _q3_plain(source, target, blocks, hard, scratch):
    """Q3_K without importance: quantize_row_q3_K_ref."""
    x, levels, found = scratch + _X, scratch + _L, scratch + _FOUND
    first, scales = scratch + _T, scratch + _LS
    count = 0
    for b in range(blocks):
        numbers, out = source + b * BLOCK_BYTES, target + 110 * b
        if not ordinary(numbers):
            put_int(hard + 4 * count, b)
            count += 1
            continue
        transpose(numbers, 64, x)
        refined(x, first, found)
        _, largest = _largest(found)
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
    scales, sums = scratch + _SCALES, scratch + _SUMS
    for first in range(0, blocks, GROUP):
        numbers, out = _group(source, target, blocks, first, 110, scratch)
        store(scratch + _D, squares(numbers, scratch + _T))
        for s in range(GROUP):
            x, w, found = (
                scratch + _X + s * BLOCK_BYTES,
                scratch + _W,
                scratch + _FOUND + s * 5 * LANE_BYTES,
            )
            transpose(numbers + s * BLOCK_BYTES, 64, x)
            transpose(weights + ((first + s) % per_row) * BLOCK_BYTES, 64, w)
            spread = floats(np.float32(2.0) * get(scratch + _D + 4 * s) / np.float32(BLOCK))
            total = floats(0.0)
            for i in range(16):
                value = load(x + LANE_BYTES * i)
                weight = load(w + LANE_BYTES * i) * roots(spread + value * value)
                total = total + weight
                store(w + LANE_BYTES * i, weight)
            store(sums + LANE_BYTES * s, total)
            symmetric(x, w, 16, 4, found)
            store(scales + LANE_BYTES * s, load(found))
        turned, weighed, fit = scratch + _TURNED, scratch + _TURNED2, scratch + _TURNED3
        transpose(scales, 64, turned)
        transpose(sums, 64, weighed)
        symmetric(turned, weighed, 16, 32, fit)
        for j in range(16):
            store_ints(scratch + _LS + LANE_BYTES * j, symmetric_levels(turned, j, 32, fit))
        transpose(scratch + _LS, 64, scratch + _LS)
        for s in range(min(GROUP, blocks - first)):
            _pack_q3(
                scratch + _X + s * BLOCK_BYTES,
                get(fit + 4 * s),
                scratch + _LS + LANE_BYTES * s,
                0,
                scratch + _FOUND + s * 5 * LANE_BYTES,
                scratch + _L,
                out + 110 * s,
            )
        _done(target, blocks, first, 110, scratch)
        count = _note(numbers, first, blocks, 0, hard, count)
    return count


@inlined
def q3_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q3_K."""
    if weights:
        return _q3_weighed(source, target, blocks, per_row, weights, hard, scratch)
    return _q3_plain(source, target, blocks, hard, scratch)


# ── Q2_K ────────────────────────────────────────────────────────────────────────────────────


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
    _pack2(levels, out + 16)


@inlined
def q2_k(source, target, blocks, per_row, weights, hard, scratch):
    """Q2_K."""
    count = 0
    scales, least, sums = scratch + _SCALES, scratch + _LEAST, scratch + _SUMS
    for first in range(0, blocks, GROUP):
        numbers, out = _group(source, target, blocks, first, 84, scratch)
        if weights:
            store(scratch + _D, squares(numbers, scratch + _T))
        bad = 0
        for s in range(GROUP):
            x, w, found = (
                scratch + _X + s * BLOCK_BYTES,
                scratch + _W,
                scratch + _FOUND + s * 5 * LANE_BYTES,
            )
            transpose(numbers + s * BLOCK_BYTES, 64, x)
            if weights:
                transpose(weights + ((first + s) % per_row) * BLOCK_BYTES, 64, w)
                spread = floats(get(scratch + _D + 4 * s) / np.float32(BLOCK))
                total = floats(0.0)
                for i in range(16):
                    value = load(x + LANE_BYTES * i)
                    weight = load(w + LANE_BYTES * i) * roots(spread + value * value)
                    total = total + weight
                    store(w + LANE_BYTES * i, weight)
                store(sums + LANE_BYTES * s, total)
                wild = affine(
                    x, w, 16, 3, np.float32(-0.9), np.float32(0.05), 36, False, scratch + _L, found
                )
            else:
                for i in range(16):
                    store(w + LANE_BYTES * i, magnitudes(load(x + LANE_BYTES * i)))
                wild = affine(
                    x, w, 16, 3, np.float32(-0.5), np.float32(0.1), 15, True, scratch + _L, found
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
                scratch + _X + s * BLOCK_BYTES,
                get(scratch + _D + 4 * s),
                get(scratch + _D + LANE_BYTES + 4 * s),
                scratch + _LM + 16 * s,
                scratch + _FOUND + s * 5 * LANE_BYTES,
                scratch + _L,
                out + 84 * s,
            )
        _done(target, blocks, first, 84, scratch)
        count = _note(numbers, first, blocks, bad, hard, count)
    return count


@inlined
def _scales_of_q2(scratch):
    """A group's scales and their levels, searched with importance."""
    turned, weighed, levels = scratch + _TURNED, scratch + _TURNED2, scratch + _TURNED3
    transpose(scratch + _SUMS, 64, weighed)
    transpose(scratch + _SCALES, 64, turned)
    store(scratch + _D, positive(turned, weighed, 16, 15, levels))
    for j in range(16):
        store_ints(scratch + _LS + LANE_BYTES * j, nearest(load(levels + LANE_BYTES * j)))
    transpose(scratch + _LEAST, 64, turned)
    store(scratch + _D + LANE_BYTES, positive(turned, weighed, 16, 15, levels))
    for j in range(16):
        low = load_ints(scratch + _LS + LANE_BYTES * j)
        high = nearest(load(levels + LANE_BYTES * j)) << ints(4)
        store_ints(scratch + _LS + LANE_BYTES * j, low | high)
    transpose(scratch + _LS, 64, scratch + _LS)
    for s in range(16):
        store_bytes(scratch + _LM + 16 * s, load_ints(scratch + _LS + LANE_BYTES * s))


@inlined
def _plain_scales_of_q2(scratch):
    """A group's scales and their levels: of the largest, 15 steps."""
    for s in range(16):
        scales = load(scratch + _SCALES + LANE_BYTES * s)
        least = load(scratch + _LEAST + LANE_BYTES * s)
        most_scale, most_least = np.float32(0.0), np.float32(0.0)
        for j in range(16):
            most_scale = max(most_scale, get(scratch + _SCALES + LANE_BYTES * s + 4 * j))
            most_least = max(most_least, get(scratch + _LEAST + LANE_BYTES * s + 4 * j))
        low, high, d, floor = ints(0), ints(0), np.float32(0.0), np.float32(0.0)
        if most_scale > np.float32(0.0):
            low = nearest(floats(np.float32(15.0) / most_scale) * scales)
            d = most_scale / np.float32(15.0)
        if most_least > np.float32(0.0):
            high = nearest(floats(np.float32(15.0) / most_least) * least)
            floor = most_least / np.float32(15.0)
        put(scratch + _D + 4 * s, d)
        put(scratch + _D + LANE_BYTES + 4 * s, floor)
        store_bytes(scratch + _LM + 16 * s, low | (high << ints(4)))


# ── Q4_K and Q5_K ───────────────────────────────────────────────────────────────────────────


@inlined
def _weigh_pair(numbers, first, s, per_row, weights, x, scratch):
    """Weights of two super-blocks' 16 sub-blocks, turned; their sums."""
    w, raw = scratch + _W, scratch + _T
    copy(weights + ((first + s) % per_row) * BLOCK_BYTES, raw, BLOCK_BYTES)
    copy(weights + ((first + s + 1) % per_row) * BLOCK_BYTES, raw + BLOCK_BYTES, BLOCK_BYTES)
    transpose(raw, 128, w)
    transpose(raw + LANE_BYTES, 128, w + BLOCK_BYTES)
    a = np.float32(2.0) * get(scratch + _D + 4 * s) / np.float32(BLOCK)
    b = np.float32(2.0) * get(scratch + _D + 4 * s + 4) / np.float32(BLOCK)
    spread = where(mask_of(0xFF), floats(a), floats(b))
    total = floats(0.0)
    for i in range(32):
        value = load(x + LANE_BYTES * i)
        weight = load(w + LANE_BYTES * i) * roots(spread + value * value)
        total = total + weight
        store(w + LANE_BYTES * i, weight)
    return total


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
    scales, least, sums = scratch + _SCALES, scratch + _LEAST, scratch + _SUMS
    for first in range(0, blocks, GROUP):
        numbers, out = _group(source, target, blocks, first, size, scratch)
        if weights:
            store(scratch + _D, squares(numbers, scratch + _T))
        bad = 0
        for s in range(0, GROUP, 2):
            x, w, found = (
                scratch + _X + s * BLOCK_BYTES,
                scratch + _W,
                scratch + _FOUND + s * 5 * LANE_BYTES,
            )
            transpose(numbers + s * BLOCK_BYTES, 128, x)
            transpose(numbers + s * BLOCK_BYTES + LANE_BYTES, 128, x + BLOCK_BYTES)
            if weights:
                total = _weigh_pair(numbers, first, s, per_row, weights, x, scratch)
                store(sums + 32 * s, total)
            else:
                _plain_weights(x, w)
            wild = affine(x, w, 32, top, low, step, steps, False, scratch + _L, found)
            if wild & 0xFF:
                bad |= 1 << s
            if wild >> 8:
                bad |= 2 << s
            store(scales + 32 * s, load(found))
            store(least + 32 * s, load(found + LANE_BYTES))
        if weights:
            _scales_of_q45(scratch)
        else:
            _plain_scales_of_q45(scratch)
        for s in range(0, GROUP, 2):
            _final_pair(scratch, s, top, size, out)
        _done(target, blocks, first, size, scratch)
        count = _note(numbers, first, blocks, bad, hard, count)
    return count


@inlined
def _final_pair(scratch, s, top, size, out):
    """The blocks of two super-blocks from their scales."""
    x, levels = scratch + _X + s * BLOCK_BYTES, scratch + _L
    found, at = scratch + _FOUND + s * 5 * LANE_BYTES, scratch + _T
    for k in range(2):
        block = out + size * (s + k)
        d = put_half(block, get(scratch + _D + 4 * (s + k)))
        floor = put_half(block + 2, get(scratch + _D + LANE_BYTES + 4 * (s + k)))
        _pack_scales(
            scratch + _LS + LANE_BYTES * (s + k), scratch + _LM + LANE_BYTES * (s + k), block + 4
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
def _scales_of_q45(scratch):
    """A group's scales, their levels and those of the least numbers, searched with importance."""
    turned, weighed, levels = scratch + _TURNED, scratch + _TURNED2, scratch + _TURNED3
    transpose(scratch + _SUMS, 32, weighed)
    transpose(scratch + _SCALES, 32, turned)
    store(scratch + _D, positive(turned, weighed, 8, 63, levels))
    for j in range(8):
        store_ints(scratch + _LS + LANE_BYTES * j, nearest(load(levels + LANE_BYTES * j)))
    transpose(scratch + _LEAST, 32, turned)
    store(scratch + _D + LANE_BYTES, positive(turned, weighed, 8, 63, levels))
    for j in range(8):
        store_ints(scratch + _LM + LANE_BYTES * j, nearest(load(levels + LANE_BYTES * j)))
    transpose(scratch + _LS, 64, scratch + _LS)
    transpose(scratch + _LM, 64, scratch + _LM)


@inlined
def _plain_scales_of_q45(scratch):
    """A group's scales and their levels: of the largest, 63 steps."""
    for s in range(16):
        scales, least = scratch + _SCALES + 32 * s, scratch + _LEAST + 32 * s
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
            put_int(scratch + _LS + LANE_BYTES * s + 4 * j, min(63, a))
            put_int(scratch + _LM + LANE_BYTES * s + 4 * j, min(63, b))
        put(scratch + _D + 4 * s, most_scale / np.float32(63.0))
        put(scratch + _D + LANE_BYTES + 4 * s, most_least / np.float32(63.0))


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
