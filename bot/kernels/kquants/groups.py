"""What the quantizers of K-types share: groups of sixteen super-blocks, and where things lie.

A group's searches run in three stages: sub-blocks side by side, super-blocks side by side for what
is searched among a block's scales, and sub-blocks again for the final levels and their packing.
Layouts of blocks: ggml-common.h.

`quantize(source, target, blocks, per_row, weights, hard, scratch)`: `blocks` super-blocks of floats
at `source` to `target`; `weights`, an address or 0, holds a row's importance, `per_row` blocks
long. Numbers of blocks that must be quantized otherwise are written to `hard`; returns how many.
"""

from __future__ import annotations

import numpy as np

from bot.kernels.lanes.rounding import (
    BLOCK_BYTES,
    GROUP,
    GROUP_BYTES,
    LANE_BYTES,
    clear,
    copy,
    inlined,
    ordinary,
)
from bot.kernels.lanes.simd import (
    floats,
    get,
    ints,
    load,
    load_ints,
    put_int,
    roots,
    store,
    store_bytes,
)

# where things lie in a thread's scratch
IN_X = 0  # a group's numbers, turned: 16 KiB
IN_W = IN_X + GROUP_BYTES  # weights of two super-blocks, turned
IN_T = IN_W + 2 * BLOCK_BYTES  # turned squares, and levels
IN_L = IN_T + 2 * BLOCK_BYTES
IN_FOUND = IN_L + 2 * BLOCK_BYTES  # what each search of a group found: 5 vectors of 16
IN_SCALES = IN_FOUND + 16 * 5 * LANE_BYTES + LANE_BYTES
IN_LEAST = IN_SCALES + 17 * LANE_BYTES
IN_SUMS = IN_LEAST + 17 * LANE_BYTES
IN_TURNED = IN_SUMS + 17 * LANE_BYTES
IN_TURNED2 = IN_TURNED + 16 * LANE_BYTES
IN_TURNED3 = IN_TURNED2 + 16 * LANE_BYTES
IN_LS = IN_TURNED3 + 16 * LANE_BYTES
IN_LM = IN_LS + 16 * LANE_BYTES
IN_D = IN_LM + 16 * LANE_BYTES
IN_PAD = IN_D + 8 * LANE_BYTES  # a group that is not full
IN_OUT = IN_PAD + GROUP_BYTES
SCRATCH = IN_OUT + GROUP * 512


@inlined
def group_at(source, target, blocks, first, size, scratch):
    """Where a group's numbers are and where its blocks go: padded when it is the last."""
    if blocks - first >= GROUP:
        return source + first * BLOCK_BYTES, target + first * size
    clear(scratch + IN_PAD, GROUP_BYTES)
    copy(source + first * BLOCK_BYTES, scratch + IN_PAD, (blocks - first) * BLOCK_BYTES)
    return scratch + IN_PAD, scratch + IN_OUT


@inlined
def hand_out(target, blocks, first, size, scratch):
    """Hand out the blocks of a group that was padded."""
    if blocks - first < GROUP:
        copy(scratch + IN_OUT, target + first * size, (blocks - first) * size)


@inlined
def note_hard(source, first, blocks, bad, hard, count):
    """Write down which blocks of a group are hard: those in `bad`, and extraordinary ones."""
    for s in range(min(GROUP, blocks - first)):
        if (bad >> s) & 1 or not ordinary(source + s * BLOCK_BYTES):
            put_int(hard + 4 * count, first + s)
            count += 1
    return count


@inlined
def pack_pairs_of_bits(levels, target):
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


@inlined
def largest_of(scales):
    """Of 16 floats the one that is largest in magnitude, the first where two are."""
    most, largest = np.float32(0.0), np.float32(0.0)
    for j in range(16):
        value = get(scales + 4 * j)
        if abs(value) > most:
            most, largest = abs(value), value
    return most, largest


@inlined
def weighed_by(x, w, numbers, spread):
    """Importance of sub-blocks' numbers made into their weights, in place; the weights' sums.

    `x` and `w` are turned, [numbers][16]; `spread` is what a number's own square is added to.
    """
    total = floats(0.0)
    for i in range(numbers):
        value = load(x + LANE_BYTES * i)
        weight = load(w + LANE_BYTES * i) * roots(spread + value * value)
        total = total + weight
        store(w + LANE_BYTES * i, weight)
    return total
