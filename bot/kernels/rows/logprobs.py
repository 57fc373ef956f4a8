"""Rows of logits: their softmax, rows of llama.cpp's file, and a candidate against such a row.

Each row is read once for its highest logit and the sum of exponentials, and once for what is done
with them. Exponentials are f32, with a relative error of 2e-7 and 6e-8 for each power of two that
they are below 1; sums over a row are f64. Rows have at least 16 numbers; the last sixteen overlap
those before them where the length is no multiple, and what was counted is not counted again. A row
with NaN or infinity gives NaN or infinity.

Arguments are addresses and counts: `logits` f32, its rows `stride` bytes apart, each of `length`
numbers. `found` is f64, a row of FOUND numbers for each row of logits.
"""

from __future__ import annotations

import numpy as np

from bot.kernels.lanes.powers import fraction, multiplied, times_power
from bot.kernels.lanes.rounding import MAGIC, inlined
from bot.kernels.lanes.simd import (
    bits,
    doubled,
    floats,
    get,
    get_int,
    get_word,
    highest,
    highest_int,
    ints,
    load,
    load_words,
    lowest,
    mask_bits,
    mask_of,
    no_doubles,
    put,
    put_double,
    put_word,
    soon,
    store_words,
    summed,
    to_floats,
    where,
    where_ints,
)

FOUND = 4  # KLD, -ln p, the reference's, same top; or -ln p alone
PIECE = 2048  # numbers among which the highest is looked for again, to know where it stands
AHEAD = 4096  # bytes that are fetched before it is their turn
WORDS = 4  # of 16 bits before the codes of a row: scale and floor
SPAN = np.float32(16.0)  # of log-probabilities that a row of the file can tell
STEPS = np.float32(65535.0)
INFINITY = np.float32(np.inf)

LOG2E = np.float32(1.4426950408889634)
# least relative error of 2^f, 0 ≤ f < 1, by a polynomial of degree 5: 7.5e-8
P0, P1, P2 = (
    np.float32(0.9999999403953552),
    np.float32(0.6931530833244324),
    np.float32(0.2401536107),
)
P3, P4, P5 = np.float32(0.0558263175), np.float32(0.0089893397), np.float32(0.0018775767)
FAR = np.float32(20.0)  # above what exponentials are taken of: higher, and they would leave f32


@inlined
def _exponentials(value):
    """exp of sixteen numbers: infinite from 88.7 on, nothing below -87.3, NaN of NaN."""
    power = value * floats(LOG2E)
    rest = fraction(power)
    square = rest * rest
    upper = multiplied(floats(P5), rest, floats(P4))
    middle = multiplied(floats(P3), rest, floats(P2))
    lower = multiplied(floats(P1), rest, floats(P0))
    return times_power(multiplied(multiplied(upper, square, middle), square, lower), power)


@inlined
def _fresh(length):
    """Which lanes of a row's last sixteen numbers are not in a group before them."""
    rest = length % 16
    return mask_of(0xFFFF if rest == 0 else (0xFFFF << (16 - rest)) & 0xFFFF)


@inlined
def _most(row, end, length):
    """The highest of a row's first numbers; NaN is passed over."""
    most = floats(-INFINITY)
    for i in range(0, end, 16):
        most = _larger(load(row + 4 * min(i, length - 16)), most)
    return highest(most)


@inlined
def _least(row, length):
    """The lowest of a row's numbers; NaN is passed over."""
    least = e = f = g = h = floats(INFINITY)
    fours = length // 64 * 64
    for at in range(row, row + 4 * fours, 256):
        p, q, r, s = load(at), load(at + 64), load(at + 128), load(at + 192)
        e, f, g, h = _smaller(p, e), _smaller(q, f), _smaller(r, g), _smaller(s, h)
    for i in range(fours, length, 16):
        least = _smaller(load(row + 4 * min(i, length - 16)), least)
    return lowest(_smaller(least, _smaller(_smaller(e, f), _smaller(g, h))))


@inlined
def _larger(a, b):
    return where(a > b, a, b)


@inlined
def _smaller(a, b):
    return where(a < b, a, b)


@inlined
def _summed(row, start, end, length, base):
    """Of a piece of a row, [start, end): its highest, and the sum of exp(x - base)."""
    most = a = b = c = d = floats(-INFINITY)
    total, bases = no_doubles(), floats(base)
    fours, whole = start + (end - start) // 64 * 64, end // 16 * 16
    for at in range(row + 4 * start, row + 4 * fours, 256):
        for line in range(4):
            soon(at + AHEAD + 64 * line)
        p, q, r, s = load(at), load(at + 64), load(at + 128), load(at + 192)
        a, b, c, d = _larger(p, a), _larger(q, b), _larger(r, c), _larger(s, d)
        p, q = _exponentials(p - bases), _exponentials(q - bases)
        r, s = _exponentials(r - bases), _exponentials(s - bases)
        total = total + doubled((p + q) + (r + s))
    for i in range(fours, whole, 16):
        p = load(row + 4 * i)
        most, total = _larger(p, most), total + doubled(_exponentials(p - bases))
    if whole < end:
        p = load(row + 4 * (length - 16))
        fresh = where(_fresh(length), _exponentials(p - bases), floats(0.0))
        most, total = _larger(p, most), total + doubled(fresh)
    return highest(_larger(most, _larger(_larger(a, b), _larger(c, d)))), summed(total)


@inlined
def _first(row, start, length, value):
    """Number of the first that is equal to `value`, from `start` on; 0 where none is."""
    for i in range(start, length, 16):
        at = min(i, length - 16)
        equal = mask_bits(load(row + 4 * at) == floats(value))
        if equal:
            return at + np.int64(_lowest_bit(equal))
    return 0


@inlined
def _lowest_bit(mask):
    count = 0
    while not mask & 1:
        mask >>= 1
        count += 1
    return count


@inlined
def _normalized(row, length):
    """Of a row: where a piece begins that has its highest, that, ln of the sum of exp(x - it).

    A piece is summed above what is high before it; where that is not enough, it is summed again.
    """
    top, where_top, total = _most(row, min(PIECE, length), length), 0, 0.0
    base = top if top > -INFINITY else np.float32(0.0)
    for start in range(0, length, PIECE):
        end = min(start + PIECE, length)
        most, part = _summed(row, start, end, length, base)
        if most > base + FAR:
            total, base = total * np.exp(np.float64(base) - np.float64(most)), most
            _, part = _summed(row, start, end, length, base)
        if most > top:
            top, where_top = most, start
        total += part
    return where_top, top, np.float32(np.log(total) + (np.float64(base) - np.float64(top)))


def nll(logits, stride, rows, length, targets, found):
    """Into `found`: -ln p of each row's target."""
    for i in range(rows):
        row = logits + i * stride
        _, top, log_sum = _normalized(row, length)
        surprise = (top + log_sum) - get(row + 4 * get_int(targets + 4 * i))
        put_double(found + 8 * FOUND * i, np.float64(surprise))
    return 0


@inlined
def _sixteen_codes(address, lowest_logits, inverses):
    steps = (load(address) - lowest_logits) * inverses
    steps = _smaller(_larger(steps, floats(0.0)), floats(STEPS))
    return bits(steps + floats(MAGIC))


@inlined
def _codes(row, length, target, lowest_logit, inverse):
    """Codes of a row: round((logit - lowest) / scale), from 0 to 65535."""
    lowest_logits, inverses = floats(lowest_logit), floats(inverse)
    fours = length // 64 * 64
    for i in range(0, fours, 64):
        at, to = row + 4 * i, target + 2 * i
        soon(to + AHEAD)
        soon(to + AHEAD + 64)
        store_words(to, _sixteen_codes(at, lowest_logits, inverses))
        store_words(to + 32, _sixteen_codes(at + 64, lowest_logits, inverses))
        store_words(to + 64, _sixteen_codes(at + 128, lowest_logits, inverses))
        store_words(to + 96, _sixteen_codes(at + 192, lowest_logits, inverses))
    for i in range(fours, length, 16):
        at = min(i, length - 16)
        store_words(target + 2 * at, _sixteen_codes(row + 4 * at, lowest_logits, inverses))


def pack(logits, stride, rows, length, targets, found, packed, width):
    """Rows of the file to `packed`, `width` words each; -ln p of each target into `found`.

    A row whose -ln p is not finite is not packed.
    """
    for i in range(rows):
        row, out = logits + i * stride, packed + 2 * width * i
        _, top, log_sum = _normalized(row, length)
        surprise = (top + log_sum) - get(row + 4 * get_int(targets + 4 * i))
        put_double(found + 8 * FOUND * i, np.float64(surprise))
        if not np.isfinite(surprise):
            continue
        least = max(_least(row, length), top - SPAN)
        scale = (top - least) / STEPS
        inverse = np.float32(1.0) / scale if scale != 0 else np.float32(0.0)
        put(out, scale)
        put(out + 4, (least - top) - log_sum)
        for j in range(WORDS + length, width):
            put_word(out + 2 * j, 0)
        _codes(row, length, out + 2 * WORDS, least, inverse)
    return 0


@inlined
def _term(row, codes, at, scale, floor, total, fewest):
    """Sixteen terms of a divergence, and their codes; what the file has lost is no part of it."""
    code = load_words(codes + 2 * at)
    above = to_floats(code) * scale
    p = _exponentials(above + floor)
    term = ((above - load(row + 4 * at)) + total) * p
    return where(above > fewest, term, floats(0.0)), code


@inlined
def _divergence(row, codes, length, scale, floor, total):
    """KL divergence of a row of logits from a row of the file, and the highest code."""
    fewest = floats(np.float32(-16.0) - floor if floor <= -16 else -INFINITY)
    scales, floors, totals = floats(scale), floats(floor), floats(floor + total)
    kld, most = no_doubles(), ints(0)
    fours, whole = length // 64 * 64, length // 16 * 16
    for i in range(0, fours, 64):
        soon(codes + 2 * i + AHEAD)
        soon(codes + 2 * i + AHEAD + 64)
        a, p = _term(row, codes, i, scales, floors, totals, fewest)
        b, q = _term(row, codes, i + 16, scales, floors, totals, fewest)
        c, r = _term(row, codes, i + 32, scales, floors, totals, fewest)
        d, s = _term(row, codes, i + 48, scales, floors, totals, fewest)
        kld = kld + doubled((a + b) + (c + d))
        most = _larger_int(most, _larger_int(_larger_int(p, q), _larger_int(r, s)))
    for i in range(fours, whole, 16):
        a, p = _term(row, codes, i, scales, floors, totals, fewest)
        kld, most = kld + doubled(a), _larger_int(most, p)
    if whole < length:
        a, p = _term(row, codes, length - 16, scales, floors, totals, fewest)
        kld = kld + doubled(where(_fresh(length), a, floats(0.0)))
        most = _larger_int(most, p)
    return summed(kld), highest_int(most)


@inlined
def _larger_int(a, b):
    return where_ints(a > b, a, b)


@inlined
def _is_first(codes, best, length, most):
    """Whether a row's first code that is `most` is the one at `best`."""
    if get_word(codes + 2 * best) != most:
        return False
    for i in range(0, best, 16):
        at = min(i, length - 16)
        equal = mask_bits(load_words(codes + 2 * at) == ints(most))
        if equal and at + _lowest_bit(equal) < best:
            return False
    return True


def compare(logits, stride, rows, length, targets, found, packed, width):
    """Into `found`: KL divergence, -ln p of the target in both, whether both think alike."""
    for i in range(rows):
        row, reference = logits + i * stride, packed + 2 * width * i
        out, codes = found + 8 * FOUND * i, reference + 2 * WORDS
        scale, floor = get(reference), get(reference + 4)
        target = np.int64(get_int(targets + 4 * i))
        where_top, top, log_sum = _normalized(row, length)
        best, total = _first(row, where_top, length, top), top + log_sum
        kld, most = _divergence(row, codes, length, scale, floor, total)
        known = np.float32(get_word(codes + 2 * target)) * scale + floor
        # a file whose scale or floor is no number has no divergence either
        put_double(out, kld + np.float64(known - known))
        put_double(out + 8, np.float64(total - get(row + 4 * target)))
        put_double(out + 16, np.float64(-known))
        put_double(out + 24, 1.0 if _is_first(codes, best, length, most) else 0.0)
    return 0
