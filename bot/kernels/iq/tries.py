"""The scales that IQ2 and IQ3 try for a sub-block, side by side.

A try gives each group of numbers (8, or 4 for IQ3) a code; a code that is not on the grid is
replaced by the point of its list that is nearest at this try's scale. Where lists are short, tries
that share a code share its list: candidates one after another, scales in lanes. Where they are long
(`wide`), candidates are in lanes, one try after another. In both the first of equals stays, as in
ggml.

What tells types apart is an argument of the function that makes their search, so that it is
compiled in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bot.kernels.iq.nearest import FAR, levels_of_size, nearest_of_size
from bot.kernels.lanes.rounding import (
    BLOCK_BYTES,
    GROUP_BYTES,
    LANE_BYTES,
    MAGIC,
    between_ints,
    inlined,
    nearest,
    nearest_one,
)
from bot.kernels.lanes.simd import (
    bits,
    first_bit,
    floats,
    get,
    get_int,
    get_long,
    get_word,
    ints,
    iota,
    load,
    load_ints,
    mask_bits,
    mask_of,
    put_int,
    store,
    store_ints,
    to_floats,
    where,
    where_ints,
)

# where things lie in a thread's scratch
AT_X = 0  # magnitudes of two super-blocks, a sub-block's signs made even where the type wants it
AT_W = AT_X + 2 * BLOCK_BYTES  # weights
AT_ROOT = AT_W + 2 * BLOCK_BYTES  # their square roots
AT_SIGNS = AT_ROOT + 2 * BLOCK_BYTES  # a byte for each 8 numbers
AT_TRIES = AT_SIGNS + LANE_BYTES  # inverse scales and scales, 2 vectors each
AT_CODES = AT_TRIES + 4 * LANE_BYTES  # of 8 groups, 2 vectors each
AT_ON = AT_CODES + 16 * LANE_BYTES  # of 8 groups: tries on the grid
AT_FINAL = AT_ON + LANE_BYTES  # of 8 groups: codes
AT_TERMS = AT_FINAL + LANE_BYTES
AT_SUMS = AT_TERMS + 32 * LANE_BYTES
AT_T = AT_SUMS + 4 * LANE_BYTES
AT_SCALES = AT_T + 16 * LANE_BYTES
AT_FIRST = AT_SCALES + LANE_BYTES  # scales to start from
AT_SQUARES = AT_FIRST + LANE_BYTES
AT_TURNED = AT_SQUARES + LANE_BYTES
AT_TURNED2 = AT_TURNED + 2 * BLOCK_BYTES
AT_LEVELS = AT_TURNED2 + 2 * BLOCK_BYTES
AT_PAD = AT_LEVELS + 2 * BLOCK_BYTES
SCRATCH = AT_PAD + GROUP_BYTES


def search_of(
    count: int, size: int, tries: int, step: float, *, wide: bool, far: bool = False, again: int = 0
) -> Callable[..., Any]:
    """The search for the scale of a sub-block of `count` numbers in groups of `size`.

    `tries` inverse scales lie `step` apart around the highest level's number. `wide`: lists are
    long. `far`: numbers may be too large for `rounded`. At the scale that is found, groups that do
    not lie on the grid are put there again: all others stay, or (`again` 1) none does, or (2) all
    do when all lie on it.
    """
    base = np.float32(5.0 if size == 8 else 15.0)
    apart = np.float32(step)
    groups = count // size
    top, width, mask, row = (2, 2, 3, 4) if size == 8 else (7, 3, 7, 8)
    odds, level_of = levels_of_size(size)
    nearest_point = nearest_of_size(size)

    @inlined
    def _nearest_tries(code, terms, grid):
        """For sixteen scales the points of one code's list that are nearest."""
        count = get_int(get_long(grid + 16) + 4 * code)
        points = get_long(grid + 24) + 32 * np.int64(get_int(get_long(grid + 8) + 4 * code))
        best, chosen = floats(FAR), ints(0)
        for p in range(count):
            point = get_word(points + 2 * p)
            if size == 8:
                distance = load(terms + LANE_BYTES * (point & 3))
                for i in range(1, 8):
                    distance = distance + load(
                        terms + LANE_BYTES * (4 * i + ((point >> (2 * i)) & 3))
                    )
            else:
                distance = load(terms + LANE_BYTES * (point & 7))
                for i in range(1, 4):
                    distance = distance + load(
                        terms + LANE_BYTES * (8 * i + ((point >> (3 * i)) & 7))
                    )
            better = distance < best
            best = where(better, distance, best)
            chosen = where_ints(better, ints(point), chosen)
        return chosen

    @inlined
    def _terms(scales, x, w, terms):
        """What each number adds to a distance at each level, for sixteen scales."""
        for level in range(top + 1):
            numbers = scales * floats(np.float32(2 * level + 1))
            for i in range(size):
                off = numbers - floats(get(x + 4 * i))
                store(terms + LANE_BYTES * (row * i + level), floats(get(w + 4 * i)) * off * off)

    @inlined
    def _codes_of(inverse, x):
        """A group's codes at sixteen inverse scales."""
        codes = ints(0)
        for i in range(size):
            value = floats(0.5) * (inverse * floats(get(x + 4 * i)) - floats(1.0))
            if far:
                level = between_ints(nearest(value), 0, top)
            else:
                value = value + floats(MAGIC)
                highest = floats(MAGIC + np.float32(top))
                value = where(value < highest, value, highest)
                value = where(value > floats(MAGIC), value, floats(MAGIC))
                level = bits(value) & ints(7)
            codes = codes | (level << ints(width * i))
        return codes

    @inlined
    def _try_group(x, w, grid, scratch, group):
        """Codes of a group at every try, and at which tries it lies on the grid."""
        on = get_long(grid)
        for v in range((tries + 15) // 16):
            valid = min(16, tries - 16 * v)
            at = scratch + AT_CODES + LANE_BYTES * (2 * group + v)
            scales = load(scratch + AT_TRIES + LANE_BYTES * (2 + v))
            codes = _codes_of(load(scratch + AT_TRIES + LANE_BYTES * v), x)
            store_ints(at, codes)
            exact = 0
            if wide:
                for t in range(valid):
                    code = np.int64(get_int(at + 4 * t))
                    if get_int(on + 4 * code) >= 0:
                        exact |= 1 << t
                    else:
                        scale = get(scratch + AT_TRIES + LANE_BYTES * (2 + v) + 4 * t)
                        numbers = floats(scale) * odds()
                        put_int(at + 4 * t, nearest_point(code, x, w, numbers, grid))
            else:
                rest, result, ready = (1 << valid) - 1, codes, False
                while rest:
                    code = np.int64(get_int(at + 4 * first_bit(rest)))
                    same = mask_bits(codes == ints(code)) & rest
                    rest &= ~same
                    if get_int(on + 4 * code) >= 0:
                        exact |= same
                        continue
                    if not ready:
                        _terms(scales, x, w, scratch + AT_TERMS)
                        ready = True
                    found = _nearest_tries(code, scratch + AT_TERMS, grid)
                    result = where_ints(mask_of(same), found, result)
                store_ints(at, result)
            put_int(scratch + AT_ON + 8 * group + 4 * v, exact)

    @inlined
    def _choose(x, w, scratch):
        """Number of the best try, -1 for none, and the scale that its codes give."""
        table = odds()
        vectors = (tries + 15) // 16
        for v in range(vectors):
            sum_qx, sum_q2 = floats(0.0), floats(0.0)
            for group in range(groups):
                codes = load_ints(scratch + AT_CODES + LANE_BYTES * (2 * group + v))
                for i in range(size):
                    at = 4 * (size * group + i)
                    weight = get(w + at)
                    number = level_of(table, codes, i)
                    sum_qx = sum_qx + floats(weight * get(x + at)) * number
                    sum_q2 = sum_q2 + floats(weight) * number * number
            store(scratch + AT_SUMS + 2 * LANE_BYTES * v, sum_qx)
            store(scratch + AT_SUMS + 2 * LANE_BYTES * v + LANE_BYTES, sum_q2)
        best, scale, chosen = np.float32(0.0), np.float32(0.0), -1
        for v in range(vectors):
            at = scratch + AT_SUMS + 2 * LANE_BYTES * v
            sum_qx, sum_q2 = load(at), load(at + LANE_BYTES)
            square, some = sum_qx * sum_qx, sum_q2 > floats(0.0)
            rest = (1 << min(16, tries - 16 * v)) - 1
            better = mask_bits(some & (square > floats(best) * sum_q2)) & rest
            while better:
                t = first_bit(better)
                scale = get(at + 4 * t) / get(at + LANE_BYTES + 4 * t)
                best = scale * get(at + 4 * t)
                chosen = 16 * v + t
                rest &= -(2 << t)
                better = mask_bits(some & (square > floats(best) * sum_q2)) & rest
        return chosen, scale

    @inlined
    def _code_at(scale, x):
        """A group's code at one scale."""
        inverse, code = np.float32(1.0) / scale, 0
        for i in range(size):
            level = nearest_one(np.float32(0.5) * (inverse * get(x + 4 * i) - np.float32(1.0)))
            code |= min(top, max(0, level)) << (width * i)
        return code

    @inlined
    def _refine(scale, x, w, root, skip, grid, scratch):
        """Codes at the scale that was found, but of groups in `skip`; the scale of all."""
        on = get_long(grid)
        for group in range(groups):
            if (skip >> group) & 1:
                continue
            at = 4 * size * group
            code = _code_at(scale, x + at)
            if get_int(on + 4 * code) < 0:
                numbers = floats(scale) * odds()
                code = nearest_point(code, x + at, root + at, numbers, grid)
            put_int(scratch + AT_FINAL + 4 * group, code)
        sum_qx, sum_q2 = np.float32(0.0), np.float32(0.0)
        for group in range(groups):
            code = np.int64(get_int(scratch + AT_FINAL + 4 * group))
            for i in range(size):
                at = 4 * (size * group + i)
                number = np.float32(2 * ((code >> (width * i)) & mask) + 1)
                weight = get(w + at)
                sum_qx += weight * get(x + at) * number
                sum_q2 += weight * number * number
        return sum_qx / sum_q2 if sum_q2 > np.float32(0.0) else scale

    @inlined
    def _take(chosen, scratch):
        """Codes of the best try become final; the groups that lie on the grid, a bit each."""
        exact = 0
        for group in range(groups):
            code = np.int64(0)
            if chosen >= 0:
                at = scratch + AT_CODES + LANE_BYTES * 2 * group + 4 * chosen
                code = np.int64(get_int(at))
                mask = get_int(scratch + AT_ON + 8 * group + 4 * (chosen // 16))
                exact |= ((mask >> (chosen % 16)) & 1) << group
            put_int(scratch + AT_FINAL + 4 * group, code)
        return exact

    @inlined
    def _set_tries(over, scratch):
        """Inverse scales (base + k * step) / over and their inverses, for k around zero."""
        for v in range((tries + 15) // 16):
            k = to_floats(iota() + ints(16 * v - tries // 2))
            inverse = (floats(base) + k * floats(apart)) / floats(over)
            store(scratch + AT_TRIES + LANE_BYTES * v, inverse)
            store(scratch + AT_TRIES + LANE_BYTES * (2 + v), floats(1.0) / inverse)

    @inlined
    def search(x, over, start, scratch, grid):
        """A sub-block's scale; its codes are left in the scratch.

        Inverse scales of tries are divided by `over`; `start` is the scale where no try is any.
        """
        _set_tries(over, scratch)
        w, root = x + (AT_W - AT_X), x + (AT_ROOT - AT_X)
        for group in range(groups):
            _try_group(x + 4 * size * group, root + 4 * size * group, grid, scratch, group)
        chosen, scale = _choose(x, w, scratch)
        exact = _take(chosen, scratch)
        if chosen < 0:
            scale = start
            exact = 0 if again == 2 else (1 << groups) - 1
        if again:
            exact = 0 if again == 1 or exact != (1 << groups) - 1 else exact
        if exact != (1 << groups) - 1 and scale > np.float32(0.0):
            scale = _refine(scale, x, w, root, exact, grid, scratch)
        return scale

    return search
