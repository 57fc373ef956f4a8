"""IQ2_XXS, IQ2_XS and IQ2_S; the first two with importance only."""

from __future__ import annotations

import numpy as np

from bot.kernels.iq.subblocks import (
    blocks_of,
    highest,
    index_of,
    most_of,
    nibbles,
    prepare,
    squares_of,
    step_of,
)
from bot.kernels.iq.tries import (
    AT_FIRST,
    AT_LEVELS,
    AT_ROOT,
    AT_SCALES,
    AT_SIGNS,
    AT_SQUARES,
    AT_TURNED,
    AT_TURNED2,
    AT_W,
    AT_X,
    search_of,
)
from bot.kernels.lanes.moves import transpose
from bot.kernels.lanes.rounding import (
    BLOCK,
    BLOCK_BYTES,
    EPS,
    GROUP,
    LANE_BYTES,
    clear,
    copy,
    inlined,
    ordinary,
    put_half,
)
from bot.kernels.lanes.simd import get, get_byte, put, put_byte, put_int, put_word, store
from bot.kernels.searches import positive

_search_xxs = search_of(32, 8, 13, 0.1, wide=True, far=True, again=1)
_search_xs = search_of(16, 8, 19, 0.1, wide=True)
_search_s = search_of(16, 8, 19, 0.1, wide=False)


@inlined
def _block_iq2_xs(out, grid, scratch):
    scales = scratch + AT_SCALES
    clear(out, 74)
    for j in range(16):
        x = scratch + AT_X + 64 * j
        put(scales + 4 * j, np.float32(0.0))
        most = highest(x, 16)
        if most < EPS:
            continue
        scale = _search_xs(x, most, most / np.float32(5.0), scratch, grid)
        flip = scale < np.float32(0.0)
        for k in range(2):
            signs = get_byte(scratch + AT_SIGNS + 2 * j + k)
            if flip:
                signs = ~signs & 127
            put_word(out + 2 + 4 * j + 2 * k, index_of(k, grid, scratch) | (signs << 9))
        put(scales + 4 * j, abs(scale))
    most = most_of(scales, 16)
    if most == np.float32(0.0):
        clear(out, 74)
        return False
    d = most / np.float32(31.0)
    put_half(out, d)
    nibbles(scales, np.float32(1.0) / d, 16, out + 66)
    return False


@inlined
def _block_iq2_s(out, grid, scratch):
    scales = scratch + AT_SCALES
    clear(out, 82)
    for j in range(16):
        x = scratch + AT_X + 64 * j
        put(scales + 4 * j, np.float32(0.0))
        most = highest(x, 16)
        if most < np.float32(1e-8):
            continue
        scale = _search_s(x, most, most / np.float32(5.0), scratch, grid)
        flip = scale < np.float32(0.0)
        for k in range(2):
            signs = get_byte(scratch + AT_SIGNS + 2 * j + k)
            if flip:
                signs = ~signs & 255
            index, at = index_of(k, grid, scratch), 2 * j + k
            put_byte(out + 2 + at, index)
            high = out + 66 + at // 4
            put_byte(high, get_byte(high) | ((index >> 8) << (2 * (at % 4))))
            put_byte(out + 34 + at, signs)
        put(scales + 4 * j, abs(scale))
    most = most_of(scales, 16)
    if most == np.float32(0.0):
        return False
    d = most / np.float32(31.0)
    put_half(out, d * np.float32(0.9875))
    nibbles(scales, np.float32(1.0) / d, 16, out + 74)
    return False


@inlined
def _block_iq2_xxs(number, out, grid, scratch):
    """A block of two whose first scales were searched together."""
    scales = scratch + AT_SCALES
    clear(out, 66)
    shift = number * BLOCK_BYTES
    for j in range(8):
        x = scratch + AT_X + shift + 128 * j
        put(scales + 4 * j, np.float32(0.0))
        scale = get(scratch + AT_FIRST + 32 * number + 4 * j)
        largest = scale * np.float32(3.0)
        if highest(x, 32) < EPS or not largest > np.float32(0.0):
            continue
        scale = _search_xxs(x, largest, scale, scratch, grid)
        flip = scale < np.float32(0.0)
        packed = 0
        for k in range(4):
            signs = get_byte(scratch + AT_SIGNS + 32 * number + 4 * j + k)
            if flip:
                signs = ~signs & 127
            packed |= signs << (7 * k)
            put_byte(out + 2 + 8 * j + k, index_of(k, grid, scratch))
        put_int(out + 2 + 8 * j + 4, packed)
        put(scales + 4 * j, abs(scale))
    most = most_of(scales, 8)
    if most == np.float32(0.0):
        clear(out, 66)
        return
    d = most / np.float32(31.0)
    put_half(out, d)
    inverse = np.float32(1.0) / d
    for j in range(8):
        at = out + 2 + 8 * j + 7
        put_byte(at, get_byte(at) | (step_of(inverse, get(scales + 4 * j)) << 4))


@inlined
def iq2_xxs(source, target, blocks, per_row, weights, hard, scratch, grid):
    """IQ2_XXS, with importance only; two super-blocks at a time."""
    count = 0
    for first in range(0, blocks, GROUP):
        here = min(GROUP, blocks - first)
        numbers = source + first * BLOCK_BYTES
        squares_of(numbers, here, scratch)
        for s in range(0, here, 2):
            pair = min(2, here - s)
            for k in range(pair):
                spread = get(scratch + AT_SQUARES + 4 * (s + k)) / np.float32(BLOCK)
                importance = weights + ((first + s + k) % per_row) * BLOCK_BYTES
                # a block's signs are 32 bytes, so the second's lie behind the first's
                x = numbers + (s + k) * BLOCK_BYTES
                prepare(x, importance, spread, False, True, scratch)
                if k == 0 and pair == 2:
                    for part in (AT_X, AT_W, AT_ROOT):
                        copy(scratch + part, scratch + part + BLOCK_BYTES, BLOCK_BYTES)
                    copy(scratch + AT_SIGNS, scratch + AT_SIGNS + 32, 32)
            x, w = scratch + AT_TURNED, scratch + AT_TURNED2
            for half_ in range(2):
                at = LANE_BYTES * half_
                transpose(scratch + AT_X + at, 128, x + BLOCK_BYTES * half_)
                transpose(scratch + AT_W + at, 128, w + BLOCK_BYTES * half_)
            store(scratch + AT_FIRST, positive(x, w, 32, 4, scratch + AT_LEVELS))
            for k in range(pair):
                number = s + k
                if not ordinary(numbers + number * BLOCK_BYTES):
                    put_int(hard + 4 * count, first + number)
                    count += 1
                    continue
                place = 1 - k if pair == 2 else 0
                _block_iq2_xxs(place, target + 66 * (first + number), grid, scratch)
    return count


iq2_xs = blocks_of(74, _block_iq2_xs, twice=False, quarter=False, even=True)
iq2_s = blocks_of(82, _block_iq2_s, twice=True, quarter=True, even=False)
