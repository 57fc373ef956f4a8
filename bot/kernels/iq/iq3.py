"""IQ3_XXS and IQ3_S."""

from __future__ import annotations

import numpy as np

from bot.kernels.iq.subblocks import blocks_of, highest, index_of, most_of, nibbles, step_of
from bot.kernels.iq.tries import AT_SCALES, AT_SIGNS, AT_X, search_of
from bot.kernels.lanes.rounding import clear, inlined, put_half
from bot.kernels.lanes.simd import get, get_byte, put, put_byte, put_int

TINY = np.float32(2.0**-100)
_search_xxs = search_of(32, 4, 31, 0.2, wide=False)
_search_s = search_of(32, 4, 19, 0.2, wide=False, again=2)


@inlined
def _block_iq3_xxs(out, grid, scratch):
    scales = scratch + AT_SCALES
    clear(out, 98)
    for j in range(8):
        x = scratch + AT_X + 128 * j
        put(scales + 4 * j, np.float32(0.0))
        most = highest(x, 32)
        if most < np.float32(1e-8):
            continue
        scale = _search_xxs(x, most, most / np.float32(15.0), scratch, grid)
        flip = scale < np.float32(0.0)
        for k in range(8):
            put_byte(out + 2 + 8 * j + k, index_of(k, grid, scratch))
        packed = 0
        for k in range(4):
            signs = get_byte(scratch + AT_SIGNS + 4 * j + k)
            if flip:
                signs = ~signs & 127
            packed |= signs << (7 * k)
        put_int(out + 66 + 4 * j, packed)
        put(scales + 4 * j, abs(scale))
    most = most_of(scales, 8)
    if most == np.float32(0.0):
        clear(out, 98)
        return False
    d = most / np.float32(31.0)
    put_half(out, d * np.float32(1.0125))
    inverse = np.float32(1.0) / d
    for j in range(8):
        at = out + 66 + 4 * j + 3
        put_byte(at, get_byte(at) | (step_of(inverse, get(scales + 4 * j)) << 4))
    return False


@inlined
def _block_iq3_s(out, grid, scratch):
    """Returns whether a sub-block is too small for its scales to be tried here."""
    scales = scratch + AT_SCALES
    clear(out, 110)
    done = 0  # ggml counts only sub-blocks that are not all zero where it writes points and signs
    for j in range(8):
        x = scratch + AT_X + 128 * j
        put(scales + 4 * j, np.float32(0.0))
        most = highest(x, 32)
        if most == np.float32(0.0):
            continue
        if most < TINY:
            return True
        scale = _search_s(x, most, most / np.float32(15.0), scratch, grid)
        flip = scale < np.float32(0.0)
        for k in range(8):
            index = index_of(k, grid, scratch)
            put_byte(out + 2 + 8 * done + k, index)
            high = out + 66 + j
            put_byte(high, get_byte(high) | ((index >> 8) << k))
        for k in range(4):
            signs = get_byte(scratch + AT_SIGNS + 4 * j + k)
            put_byte(out + 74 + 4 * done + k, ~signs & 255 if flip else signs)
        done += 1
        put(scales + 4 * j, abs(scale))
    most = most_of(scales, 8)
    if most != np.float32(0.0):
        d = most / np.float32(31.0)
        put_half(out, d * np.float32(1.033))
        nibbles(scales, np.float32(1.0) / d, 8, out + 106)
    return False


iq3_xxs = blocks_of(98, _block_iq3_xxs, twice=True, quarter=False, even=True)
iq3_s = blocks_of(110, _block_iq3_s, twice=True, quarter=False, even=False)
