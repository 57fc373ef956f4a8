"""ggml's searches for scales, sixteen sub-blocks side by side.

A sub-block's n numbers lie in n vectors, one after another: lane j of vector i is number i of
sub-block j. Weights lie likewise. Results go to an address, a vector each.
"""

from __future__ import annotations

import numpy as np

from bot.kernels.lanes.rounding import (
    EPS,
    LANE_BYTES,
    between,
    between_ints,
    inlined,
    nearest,
    rounded,
)
from bot.kernels.lanes.simd import (
    floats,
    ints,
    load,
    magnitudes,
    mask_bits,
    negatives,
    store,
    to_floats,
    where,
    where_ints,
)


@inlined
def extremes(x, count, out):
    """The number that is largest in magnitude, and that magnitude; the first where two are."""
    largest, most = floats(0.0), floats(0.0)
    for i in range(count):
        value = load(x + LANE_BYTES * i)
        size = magnitudes(value)
        more = size > most
        most = where(more, size, most)
        largest = where(more, value, largest)
    store(out, largest)
    store(out + LANE_BYTES, most)


@inlined
def symmetric(x, w, count, top, out):
    """make_qx_quants with weights: levels -top … top-1.

    Out: scale, what a number is multiplied with for its level, and the largest magnitude, below
    which a sub-block counts as empty: its levels are all 0.
    """
    extremes(x, count, out)
    largest, most = load(out), load(out + LANE_BYTES)
    high = np.float32(top - 1)
    low = np.float32(-top)
    inverse = floats(low) / largest
    sum_lx, sum_l2 = floats(0.0), floats(0.0)
    for i in range(count):
        value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
        level = between(rounded(inverse * value), low, high)
        sum_lx = sum_lx + weight * value * level
        sum_l2 = sum_l2 + weight * level * level
    scale = where(sum_l2 != floats(0.0), sum_lx / sum_l2, floats(0.0))
    best = scale * sum_lx
    for step in range(-9, 10):
        if step == 0:
            continue
        trial = floats(-(np.float32(top) + np.float32(0.1) * np.float32(step))) / largest
        sum_lx, sum_l2 = floats(0.0), floats(0.0)
        for i in range(count):
            value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
            level = between(rounded(trial * value), low, high)
            sum_lx = sum_lx + weight * value * level
            sum_l2 = sum_l2 + weight * level * level
        better = (sum_l2 > floats(0.0)) & (sum_lx * sum_lx > best * sum_l2)
        scale = where(better, sum_lx / sum_l2, scale)
        best = where(better, scale * sum_lx, best)
        inverse = where(better, trial, inverse)
    store(out, where(most < floats(EPS), floats(0.0), scale))
    store(out + LANE_BYTES, inverse)
    store(out + 2 * LANE_BYTES, most)


@inlined
def symmetric_levels(x, i, top, found):
    """The levels of number i that `symmetric` chose, counted from 0, as integers."""
    inverse, most = load(found + LANE_BYTES), load(found + 2 * LANE_BYTES)
    level = between_ints(nearest(inverse * load(x + LANE_BYTES * i)), -top, top - 1) + ints(top)
    return where_ints(most < floats(EPS), ints(0), level)


@inlined
def refined(x, levels, out):
    """make_q3_quants with squares as weights: 16 numbers, levels -4 … 3. Out: scale.

    `levels` are written as floats counted from 0. A sub-block in which nothing changed stays as it
    is in further rounds, so all go on until none changes.
    """
    extremes(x, 16, out)
    largest, most = load(out), load(out + LANE_BYTES)
    inverse = floats(-4.0) / largest
    sum_lx, sum_l2 = floats(0.0), floats(0.0)
    for i in range(16):
        value = load(x + LANE_BYTES * i)
        level = between(rounded(inverse * value), np.float32(-4), np.float32(3))
        store(levels + LANE_BYTES * i, level)
        weight = value * value
        sum_lx = sum_lx + weight * value * level
        sum_l2 = sum_l2 + weight * level * level
    for _ in range(5):
        changed = 0
        for i in range(16):
            value, level = load(x + LANE_BYTES * i), load(levels + LANE_BYTES * i)
            weight = value * value
            part = sum_lx - weight * value * level
            square = sum_l2 - weight * level * level
            other = to_floats(between_ints(nearest(value * square / part), -4, 3))
            lx = part + weight * value * other
            l2 = square + weight * other * other
            better = (part > floats(0.0)) & (other != level) & (l2 > floats(0.0))
            better = better & (lx * lx * sum_l2 > sum_lx * sum_lx * l2)
            store(levels + LANE_BYTES * i, where(better, other, level))
            sum_lx, sum_l2 = where(better, lx, sum_lx), where(better, l2, sum_l2)
            changed |= mask_bits(better)
        if changed == 0:
            break
    empty = most < floats(EPS)
    for i in range(16):
        level = load(levels + LANE_BYTES * i) + floats(4.0)
        store(levels + LANE_BYTES * i, where(empty, floats(0.0), level))
    scale = where(sum_l2 > floats(0.0), sum_lx / sum_l2, floats(0.0))
    store(out, where(empty, floats(0.0), scale))


@inlined
def affine(x, w, count, top, low, step, steps, plain, levels, out):
    """make_qkx2_quants and make_qkx3_quants: levels 0 … top over a least number.

    The inverse scale is tried at low + step * k + top for k from 0 to steps; errors count by their
    squares, or `plain`. Out: scale, least number (negated), inverse scale and origin that give the
    levels, and a mask as an integer of sub-blocks that have one number only (levels 0). Returns the
    mask of those whose tries leave the range in which rounding is what it seems: to be done anew.
    """
    value, weight = load(x), load(w)
    least, most, sum_w, sum_x = value, value, weight, weight * value
    for i in range(1, count):
        value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
        least = where(value < least, value, least)
        most = where(value > most, value, most)
        sum_w = sum_w + weight
        sum_x = sum_x + weight * value
    bottom = least
    least = where(least > floats(0.0), floats(0.0), least)
    flat = most <= least
    high = np.float32(top)
    inverse = floats(high) / (most - least)
    scale = floats(1.0) / inverse
    origin = least
    first = least
    best = floats(0.0)
    for i in range(count):
        value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
        level = between(rounded(inverse * (value - least)), np.float32(0), high)
        error = scale * level + least - value
        error = magnitudes(error) if plain else error * error
        best = best + weight * error
    wild = _wild(inverse, bottom, least, most)
    for k in range(steps + 1):
        trial = floats(low + step * np.float32(k) + high) / (most - least)
        wild |= _wild(trial, bottom, least, most)
        sum_l, sum_l2, sum_xl = floats(0.0), floats(0.0), floats(0.0)
        for i in range(count):
            value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
            level = between(rounded(trial * (value - least)), np.float32(0), high)
            store(levels + LANE_BYTES * i, level)
            part = weight * level
            sum_l = sum_l + part
            sum_l2 = sum_l2 + part * level
            sum_xl = sum_xl + part * value
        det = sum_w * sum_l2 - sum_l * sum_l
        a = (sum_w * sum_xl - sum_x * sum_l) / det
        b = (sum_l2 * sum_x - sum_l * sum_xl) / det
        positive = b > floats(0.0)
        a = where(positive, sum_xl / sum_l2, a)
        b = where(positive, floats(0.0), b)
        error = floats(0.0)
        for i in range(count):
            value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
            off = a * load(levels + LANE_BYTES * i) + b - value
            off = magnitudes(off) if plain else off * off
            error = error + weight * off
        better = (det > floats(0.0)) & (error < best)
        best = where(better, error, best)
        scale = where(better, a, scale)
        inverse = where(better, trial, inverse)
        origin = where(better, least, origin)
        least = where(better, b, least)
    store(out, where(flat, floats(0.0), scale))
    store(out + LANE_BYTES, negatives(where(flat, first, least)))
    store(out + 2 * LANE_BYTES, inverse)
    store(out + 3 * LANE_BYTES, origin)
    store(out + 4 * LANE_BYTES, where(flat, floats(1.0), floats(0.0)))
    return wild & ~mask_bits(flat)


@inlined
def _wild(inverse, bottom, least, most):
    """Lanes in which a number times the inverse scale is too large to be rounded by `rounded`."""
    limit = floats(4.0e6)
    low = magnitudes(inverse * (bottom - least)) < limit
    high = magnitudes(inverse * (most - least)) < limit
    return mask_bits(low & high) ^ 0xFFFF


@inlined
def affine_levels(x, i, top, found):
    """The levels of number i that `affine` chose, as integers."""
    inverse, origin = load(found + 2 * LANE_BYTES), load(found + 3 * LANE_BYTES)
    level = between_ints(nearest(inverse * (load(x + LANE_BYTES * i) - origin)), 0, top)
    return where_ints(load(found + 4 * LANE_BYTES) > floats(0.0), ints(0), level)


@inlined
def positive(x, w, count, top, levels):
    """make_qp_quants: levels 0 … top, written as floats; returns the scale."""
    most = floats(0.0)
    for i in range(count):
        value = load(x + LANE_BYTES * i)
        most = where(most > value, most, value)
    high = ints(top)
    inverse = floats(np.float32(top)) / most
    scale = floats(1.0) / inverse
    best = floats(0.0)
    for i in range(count):
        value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
        level = nearest(inverse * value) & ints(255)
        error = value - scale * to_floats(level)
        best = best + weight * error * error
    for step in range(-4, 5):
        if step == 0:
            continue
        trial = floats(np.float32(0.1) * np.float32(step) + np.float32(top)) / most
        scale = floats(1.0) / trial
        total = floats(0.0)
        for i in range(count):
            value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
            level = nearest(trial * value)
            level = where_ints(level < high, level, high)
            error = value - scale * to_floats(level)
            total = total + weight * error * error
        better = total < best
        best = where(better, total, best)
        inverse = where(better, trial, inverse)
    sum_lx, sum_l2 = floats(0.0), floats(0.0)
    for i in range(count):
        value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
        level = nearest(inverse * value)
        level = where_ints(level < high, level, high)
        store(levels + LANE_BYTES * i, to_floats(level & ints(255)))
        number = to_floats(level)
        sum_lx = sum_lx + weight * value * number
        sum_l2 = sum_l2 + weight * number * number
    for _ in range(5):
        changed = 0
        for i in range(count):
            value, weight = load(x + LANE_BYTES * i), load(w + LANE_BYTES * i)
            level = load(levels + LANE_BYTES * i)
            part = sum_lx - weight * value * level
            square = sum_l2 - weight * level * level
            other = nearest(value * square / part)
            other = where_ints(other < high, other, high)
            number = to_floats(other)
            lx = part + weight * value * number
            l2 = square + weight * number * number
            better = (part > floats(0.0)) & (square > floats(0.0)) & (number != level)
            better = better & (lx * lx * sum_l2 > sum_lx * sum_lx * l2)
            store(levels + LANE_BYTES * i, where(better, to_floats(other & ints(255)), level))
            sum_lx, sum_l2 = where(better, lx, sum_lx), where(better, l2, sum_l2)
            changed |= mask_bits(better)
        if changed == 0:
            break
    empty = most < floats(EPS)
    if mask_bits(empty):
        for i in range(count):
            level = load(levels + LANE_BYTES * i)
            store(levels + LANE_BYTES * i, where(empty, floats(0.0), level))
    scale = where(sum_l2 > floats(0.0), sum_lx / sum_l2, floats(0.0))
    return where(empty, floats(0.0), scale)
