"""Sums of squared activations, column by column, one row after another.

Each sum is f32, and its row's squares are added in the order that is given, as llama-imatrix adds
them: 128 columns at a time stay in registers, over a few rows that are read side by side.

Arguments are addresses and counts: `source` f32, rows of `width` numbers; `order` i64, which of
them are added, matrix after matrix, or 0 for all as they lie; `counts` i64, how many of them each
matrix has; `before` and `after` f32, two arrays of sums [matrices, width].
"""

from __future__ import annotations

from bot.kernels.lanes.rounding import inlined
from bot.kernels.lanes.simd import floats, get_long, load, mask_bits, store

COLUMNS = 128
ROWS = 16  # that are read side by side


@inlined
def _finite(value):
    """Whether sixteen numbers are: of others the difference from themselves is NaN."""
    return mask_bits(value - value == floats(0.0)) == 0xFFFF


@inlined
def _square(address):
    value = load(address)
    return value * value


@inlined
def _many(source, stride, order, first, count, before, after):
    """128 columns: the rows first to first + count of an order; whether sums are finite."""
    a, b, c, d = load(before), load(before + 64), load(before + 128), load(before + 192)
    e, f, g, h = load(before + 256), load(before + 320), load(before + 384), load(before + 448)
    for i in range(first, first + count):
        row = source + (get_long(order + 8 * i) if order else i) * stride
        a, b = a + _square(row), b + _square(row + 64)
        c, d = c + _square(row + 128), d + _square(row + 192)
        e, f = e + _square(row + 256), f + _square(row + 320)
        g, h = g + _square(row + 384), h + _square(row + 448)
    store(after, a)
    store(after + 64, b)
    store(after + 128, c)
    store(after + 192, d)
    store(after + 256, e)
    store(after + 320, f)
    store(after + 384, g)
    store(after + 448, h)
    return _finite(((a - a) + (b - b)) + ((c - c) + (d - d)) + ((e - e) + (f - f)) + (g - g) + h)


@inlined
def _few(source, stride, order, first, count, before, after):
    """16 columns, as `_many`."""
    total = load(before)
    for i in range(first, first + count):
        row = source + (get_long(order + 8 * i) if order else i) * stride
        total = total + _square(row)
    store(after, total)
    return _finite(total)


@inlined
def _columns(source, stride, order, first, count, before, after, start, stop):
    """Columns from `start` to `stop`, a multiple of 16, of a few rows."""
    good, column = True, start
    while column + COLUMNS <= stop:
        row, old, new = source + 4 * column, before + 4 * column, after + 4 * column
        if not _many(row, stride, order, first, count, old, new):
            good = False
        column += COLUMNS
    while column < stop:
        row, old, new = source + 4 * column, before + 4 * column, after + 4 * column
        if not _few(row, stride, order, first, count, old, new):
            good = False
        column += 16
    return good


def squares(source, order, counts, matrices, width, before, after, start, stop):
    """Sums of columns `start` to `stop`, 16 at least, after the rows; 1 where all are finite.

    Where they are no multiple of 16, the last sixteen are added up by themselves, some of them for
    the second time, from `before`.
    """
    good, begun, stride = True, 0, 4 * width
    whole, tail = start + (stop - start) // 16 * 16, 4 * (stop - 16)
    for m in range(matrices):
        number, sums = get_long(counts + 8 * m), after + stride * m
        old, first, end = before + stride * m, begun, begun + number
        while True:  # once at least: sums without rows are copied
            count = min(ROWS, end - first)
            good &= _columns(source, stride, order, first, count, old, sums, start, whole)
            old, first = sums, first + count
            if first >= end:
                break
        if whole < stop:
            old = before + stride * m + tail
            good &= _few(source + tail, stride, order, begun, number, old, sums + tail)
        begun = end
    return 1 if good else 0
