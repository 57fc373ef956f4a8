"""Sums of squared activations, column by column, one row after another.

Each sum is f32, and its row's squares are added in the order that is given, as llama-imatrix adds
them: 128 columns at a time stay in registers over all rows of a matrix. Where rows are used several
times, by several experts, their squares are made once and kept in `scratch`.

Arguments are addresses and counts: `source` f32, `inputs` rows of `width` numbers; `order` i64,
which of the rows are added, matrix after matrix, or 0 for all as they lie; `counts` i64, how many
of them each matrix has; `before` and `after` f32, two arrays of sums [matrices, width]; `scratch` 0
or room for `inputs` rows of LINE bytes.
"""

from __future__ import annotations

from bot.kernels.rounding import inlined
from bot.kernels.simd import floats, get_long, load, mask_bits, soon, store

COLUMNS = 128
LINE = 4 * COLUMNS  # bytes
AHEAD = 12  # rows that are fetched before they are squared
ROWS = 8  # that are read side by side


@inlined
def _finite(value):
    """Whether sixteen numbers are: of others the difference from themselves is NaN."""
    return mask_bits(value - value == floats(0.0)) == 0xFFFF


@inlined
def _square(address):
    value = load(address)
    return value * value


@inlined
def _many(squared, source, stride, order, first, count, before, after):
    """128 columns: the rows first to first + count of an order; whether sums are finite."""
    a, b, c, d = load(before), load(before + 64), load(before + 128), load(before + 192)
    e, f, g, h = load(before + 256), load(before + 320), load(before + 384), load(before + 448)
    for i in range(first, first + count):
        row = source + (get_long(order + 8 * i) if order else i) * stride
        if squared:
            a, b, c, d = a + load(row), b + load(row + 64), c + load(row + 128), d + load(row + 192)
            e, f = e + load(row + 256), f + load(row + 320)
            g, h = g + load(row + 384), h + load(row + 448)
        else:
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
def _keep(source, stride, inputs, scratch):
    """The squares of 128 columns of all rows."""
    for i in range(inputs):
        for j in range(0, LINE, 64):
            soon(source + stride * (i + AHEAD) + j)
            store(scratch + LINE * i + j, _square(source + stride * i + j))


@inlined
def _shared(source, inputs, order, counts, matrices, width, before, after, start, stop, scratch):
    """Whole groups of 128 columns from `start` to `stop`, squares made once."""
    good = True
    for column in range(start, stop, COLUMNS):
        _keep(source + 4 * column, 4 * width, inputs, scratch)
        first = 0
        for m in range(matrices):
            count = get_long(counts + 8 * m)
            at = 4 * (m * width + column)
            if not _many(True, scratch, LINE, order, first, count, before + at, after + at):
                good = False
            first += count
    return good


@inlined
def _columns(source, stride, order, first, count, before, after, start, stop):
    """Columns from `start` to `stop`, a multiple of 16, of a few rows."""
    good, column = True, start
    while column + COLUMNS <= stop:
        row, old, new = source + 4 * column, before + 4 * column, after + 4 * column
        if not _many(False, row, stride, order, first, count, old, new):
            good = False
        column += COLUMNS
    while column < stop:
        row, old, new = source + 4 * column, before + 4 * column, after + 4 * column
        if not _few(row, stride, order, first, count, old, new):
            good = False
        column += 16
    return good


@inlined
def _direct(source, order, counts, matrices, width, before, after, start, stop):
    """Columns from `start` to `stop`, a few rows at a time so that they are read as they lie.

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
        old = before + stride * m
        if whole < stop:
            good &= _few(source + tail, stride, order, begun, number, old + tail, sums + tail)
        begun = end
    return good


def squares(source, inputs, order, counts, matrices, width, before, after, start, stop, scratch):
    """Sums of columns `start` to `stop`, 16 at least, after the rows; 1 where all are finite."""
    good, whole = True, start
    if scratch:
        whole = start + (stop - start) // COLUMNS * COLUMNS
        good &= _shared(
            source, inputs, order, counts, matrices, width, before, after, start, whole, scratch
        )
    if whole < stop:
        low = min(whole, stop - 16)
        good &= _direct(source, order, counts, matrices, width, before, after, low, stop)
    return 1 if good else 0
