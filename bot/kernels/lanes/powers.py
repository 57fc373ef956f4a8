"""Powers of two of sixteen numbers, and products that are rounded once with their sums."""

from __future__ import annotations

from llvmlite import ir

from bot.kernels.lanes.processor import features, form, has_fused
from bot.kernels.lanes.simd import F32, FLOATS, I16, I32, INTS, call_llvm, operation, splat


@operation(FLOATS, FLOATS, FLOATS, FLOATS)
def multiplied(builder, a, b, c):
    """a * b + c, rounded once where the processor can."""
    if has_fused():
        return call_llvm(builder, "llvm.fma.v16f32", FLOATS.vector, a, b, c)
    return builder.fadd(builder.fmul(a, b), c)


def _has_fraction() -> bool:
    return form() == "avx512" and "+avx512dq" in features().split(",")


@operation(FLOATS, FLOATS)
def fraction(builder, value):
    """What numbers are above the whole ones below them: from 0 to less than 1."""
    if not _has_fraction():
        value = _not_below(builder, value)
        return builder.fsub(value, _floor(builder, value))
    name = "llvm.x86.avx512.mask.reduce.ps.512"
    to_floor, mask, rounding = ir.Constant(I32, 9), ir.Constant(I16, -1), ir.Constant(I32, 4)
    return call_llvm(builder, name, FLOATS.vector, value, to_floor, value, mask, rounding)


@operation(FLOATS, FLOATS, FLOATS)
def times_power(builder, value, power):
    """Floats times 2 to the whole part of others, from -126 to 127, beyond that nothing, infinity.

    NaN stays what it is.
    """
    if form() == "avx512":
        mask, rounding = ir.Constant(I16, -1), ir.Constant(I32, 4)
        name = "llvm.x86.avx512.mask.scalef.ps.512"
        return call_llvm(builder, name, FLOATS.vector, value, power, value, mask, rounding)
    most = splat(builder, FLOATS.vector, ir.Constant(F32, 128.0))
    power = _floor(builder, _not_below(builder, power))
    power = builder.select(builder.fcmp_ordered("<", power, most), power, most)
    biased = builder.add(
        builder.fptosi(power, INTS.vector), splat(builder, INTS.vector, ir.Constant(I32, 127))
    )
    shift = splat(builder, INTS.vector, ir.Constant(I32, 23))
    return builder.fmul(value, builder.bitcast(builder.shl(biased, shift), FLOATS.vector))


def _not_below(builder: ir.IRBuilder, power: ir.Value) -> ir.Value:
    """-127 for what is below it: a power of two that is nothing."""
    least = splat(builder, FLOATS.vector, ir.Constant(F32, -127.0))
    return builder.select(builder.fcmp_ordered("<", power, least), least, power)


def _floor(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The whole numbers below floats of at most 2^22 in magnitude."""
    if form() == "avx2":
        return call_llvm(builder, "llvm.floor.v16f32", FLOATS.vector, value)
    magic = splat(builder, FLOATS.vector, ir.Constant(F32, 12582912.0))  # 1.5 * 2^23
    near = builder.fsub(builder.fadd(value, magic), magic)
    one = splat(builder, FLOATS.vector, ir.Constant(F32, 1.0))
    return builder.select(builder.fcmp_ordered(">", near, value), builder.fsub(near, one), near)
