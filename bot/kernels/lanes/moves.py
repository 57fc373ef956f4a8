"""Numbers from lane to lane: tables that sixteen look up at once, squares turned over."""

from __future__ import annotations

from llvmlite import ir
from numba import types

from bot.kernels.lanes.processor import form
from bot.kernels.lanes.simd import (
    F32,
    FLOATS,
    I32,
    I64,
    INTS,
    WIDTH,
    call_llvm,
    operation,
    read_from,
    shuffled,
    splat,
    write_to,
)


def _halves(builder: ir.IRBuilder, value: ir.Value) -> list[ir.Value]:
    undefined = ir.Constant(value.type, ir.Undefined)
    return [shuffled(builder, value, undefined, list(range(i, i + 8))) for i in (0, 8)]


def _joined(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    return shuffled(builder, low, high, list(range(WIDTH)))


def _by_lanes(builder: ir.IRBuilder, table: ir.Value, index: ir.Value, size: int) -> ir.Value:
    index = builder.and_(index, splat(builder, INTS.vector, ir.Constant(I32, size - 1)))
    made = ir.Constant(table.type, ir.Undefined)
    for i in range(WIDTH):
        at = ir.Constant(I32, i)
        number = builder.extract_element(index, at)
        made = builder.insert_element(made, builder.extract_element(table, number), at)
    return made


_F8 = ir.VectorType(F32, 8)


@operation(FLOATS, FLOATS, INTS)
def pick(builder, table, index):
    """For each lane the number of `table` at the low four bits of `index`."""
    if form() == "avx512":
        return call_llvm(builder, "llvm.x86.avx512.permvar.sf.512", FLOATS.vector, table, index)
    if form() == "avx2":
        low, high = _halves(builder, table)
        eight = splat(builder, INTS.vector, ir.Constant(I32, 8))
        upper = builder.icmp_signed(
            "!=", builder.and_(index, eight), ir.Constant(INTS.vector, None)
        )
        made = [
            [call_llvm(builder, "llvm.x86.avx2.permps", _F8, half, part) for half in (low, high)]
            for part in _halves(builder, index)
        ]
        below = _joined(builder, made[0][0], made[1][0])
        above = _joined(builder, made[0][1], made[1][1])
        return builder.select(upper, above, below)
    return _by_lanes(builder, table, index, 16)


@operation(FLOATS, FLOATS, INTS)
def pick8(builder, table, index):
    """As `pick` by the low three bits, from a table whose halves are equal."""
    if form() == "avx512":
        return call_llvm(builder, "llvm.x86.avx512.permvar.sf.512", FLOATS.vector, table, index)
    if form() == "avx2":
        low, _ = _halves(builder, table)
        made = [
            call_llvm(builder, "llvm.x86.avx2.permps", _F8, low, part)
            for part in _halves(builder, index)
        ]
        return _joined(builder, *made)
    return _by_lanes(builder, table, index, 8)


@operation(FLOATS, FLOATS, INTS)
def pick4(builder, table, index):
    """As `pick` by the low two bits, from a table whose quarters are equal."""
    if form() == "avx512":
        return call_llvm(builder, "llvm.x86.avx512.vpermilvar.ps.512", FLOATS.vector, table, index)
    if form() == "avx2":
        halves = zip(_halves(builder, table), _halves(builder, index), strict=True)
        made = [call_llvm(builder, "llvm.x86.avx.vpermilvar.ps.256", _F8, *half) for half in halves]
        return _joined(builder, *made)
    return _by_lanes(builder, table, index, 4)


@operation(FLOATS, FLOATS, FLOATS, INTS)
def pick32(builder, low, high, index):
    """For each lane one of 32 numbers, by the low five bits of `index`."""
    if form() == "avx512":
        return call_llvm(
            builder, "llvm.x86.avx512.vpermi2var.ps.512", FLOATS.vector, low, index, high
        )
    if form() == "avx2":
        bit = splat(builder, INTS.vector, ir.Constant(I32, 16))
        upper = builder.icmp_signed("!=", builder.and_(index, bit), ir.Constant(INTS.vector, None))
        eight = splat(builder, INTS.vector, ir.Constant(I32, 8))
        middle = builder.icmp_signed(
            "!=", builder.and_(index, eight), ir.Constant(INTS.vector, None)
        )
        parts = _halves(builder, index)
        made = []
        for table in (low, high):
            both = []
            for half in _halves(builder, table):
                found = [
                    call_llvm(builder, "llvm.x86.avx2.permps", _F8, half, part) for part in parts
                ]
                both.append(_joined(builder, *found))
            made.append(builder.select(middle, both[1], both[0]))
        return builder.select(upper, made[1], made[0])
    masked = builder.and_(index, splat(builder, INTS.vector, ir.Constant(I32, 31)))
    table = shuffled(builder, low, high, list(range(32)))
    made = ir.Constant(FLOATS.vector, ir.Undefined)
    for i in range(WIDTH):
        at = ir.Constant(I32, i)
        number = builder.extract_element(masked, at)
        made = builder.insert_element(made, builder.extract_element(table, number), at)
    return made


@operation(types.none, types.int64, types.int64, types.int64)
def transpose(builder, source, stride, target):
    """A square of 16 × 16 words of 32 bits turned over its diagonal.

    Its rows lie `stride` bytes apart at `source` and one after another at `target`, which may be
    the same place when the stride is 64.
    """
    rows = []
    for i in range(WIDTH):
        offset = builder.mul(stride, ir.Constant(I64, i))
        rows.append(read_from(builder, builder.add(source, offset), FLOATS.vector))
    for step in (1, 2, 4, 8):
        low = [i if not i & step else i - step + WIDTH for i in range(WIDTH)]
        high = [i + step if not i & step else i + WIDTH for i in range(WIDTH)]
        turned = list(rows)
        for i in range(WIDTH):
            if not i & step:
                turned[i] = shuffled(builder, rows[i], rows[i + step], low)
                turned[i + step] = shuffled(builder, rows[i], rows[i + step], high)
        rows = turned
    for i, row in enumerate(rows):
        write_to(builder, builder.add(target, ir.Constant(I64, 4 * WIDTH * i)), row)
    return
