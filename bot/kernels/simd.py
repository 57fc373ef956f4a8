"""Sixteen numbers side by side, as types that Numba's functions compute with.

Numba vectorizes loops where it can prove that it may; ggml's searches are none of those. Here a
vector of LLVM is a value: `<16 x float>`, `<16 x i32>` or a mask of sixteen bits, and each
operation below is one instruction of LLVM's IR, without any fast-math flag, so that a lane holds
the very bits that C's operation on one number gives. LLVM turns a vector into one register of
AVX-512, two of AVX2 or four of SSE and NEON. Memory is reached by address: handing arrays from
function to function costs more than what the functions do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

WIDTH = 16

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


class Lanes(types.Type):
    """A vector of sixteen; `element` is LLVM's type of one."""

    def __init__(self, name: str, element: ir.Type) -> None:
        self.vector = ir.VectorType(element, WIDTH)
        super().__init__(name=name)


FLOATS = Lanes("floats16", F32)
DOUBLES = Lanes("doubles16", F64)
INTS = Lanes("ints16", I32)
MASK = Lanes("mask16", I1)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.vector)


def _features() -> str:
    """What LLVM may use of this processor, as Numba's own configuration says it."""
    if config.CPU_FEATURES is not None:
        return str(config.CPU_FEATURES)
    return "" if config.CPU_NAME == "generic" else str(llvm.get_host_cpu_features().flatten())


def target() -> str:
    """LLVM's name of the processor and the features that code may use."""
    name = config.CPU_NAME or llvm.get_host_cpu_name()
    return f"{name} {_features()}"


def form() -> str:
    """Which of the three forms the kernels have on this processor: avx512, avx2 or plain."""
    features = _features().split(",")
    if "+avx512f" in features and "+avx512vl" in features:
        return "avx512"
    return "avx2" if "+avx2" in features else "plain"


def has_fused() -> bool:
    """Whether code may use fused multiply-add; every processor but old x86 has it."""
    machine = llvm.get_process_triple().split("-")[0]
    return machine not in ("x86_64", "i386", "i686") or "+fma" in _features().split(",")


# ── operators ───────────────────────────────────────────────────────────────────────────────


def _splat(builder: ir.IRBuilder, vector: ir.VectorType, value: ir.Value) -> ir.Value:
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, WIDTH), None)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)


def _operator(symbol: Any, lanes: Lanes, returns: Lanes, emit: Callable[..., ir.Value]) -> None:
    """`symbol` on two vectors of `lanes`, or on one and a number of Python."""

    @infer_global(symbol)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:  # noqa: ARG002 - Numba calls it by name
            if len(args) == 2 and args[0] is lanes and args[1] is lanes:
                return signature(returns, lanes, lanes)
            return None

    lower_builtin(symbol, lanes, lanes)(lambda _context, builder, _sig, args: emit(builder, *args))


def _compare(ordered: bool, symbol: str) -> Callable[..., ir.Value]:
    def emit(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
        if not ordered:
            return builder.icmp_signed(symbol, a, b)
        if symbol == "!=":
            return builder.fcmp_unordered(symbol, a, b)
        return builder.fcmp_ordered(symbol, a, b)

    return emit


for _symbol, _float, _int in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", None),
    (operator.and_, None, "and_"),
    (operator.or_, None, "or_"),
    (operator.xor, None, "xor"),
    (operator.lshift, None, "shl"),
    (operator.rshift, None, "lshr"),
):
    if _float:
        _operator(_symbol, FLOATS, FLOATS, getattr(ir.IRBuilder, _float))
    if _int:
        _operator(_symbol, INTS, INTS, getattr(ir.IRBuilder, _int))
_operator(operator.add, DOUBLES, DOUBLES, ir.IRBuilder.fadd)
for _symbol in (operator.and_, operator.or_, operator.xor):
    _name = {"and_": "and_", "or_": "or_", "xor": "xor"}[_symbol.__name__]
    _operator(_symbol, MASK, MASK, getattr(ir.IRBuilder, _name))
for _symbol, _text in (
    (operator.lt, "<"),
    (operator.gt, ">"),
    (operator.le, "<="),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _operator(_symbol, FLOATS, MASK, _compare(True, _text))
    _operator(_symbol, INTS, MASK, _compare(False, _text))


# ── functions ───────────────────────────────────────────────────────────────────────────────


def _function(
    returns: Any, *arguments: Any
) -> Callable[[Callable[..., ir.Value]], Callable[..., Any]]:
    """Make `emit(builder, *values)` callable from compiled functions.

    Arguments that are numbers are cast to the type that is asked for.
    """

    def wrap(emit: Callable[..., ir.Value]) -> Callable[..., Any]:
        def code(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            values = [
                context.cast(builder, value, given, wanted) if given != wanted else value
                for value, given, wanted in zip(args, sig.args, arguments, strict=True)
            ]
            made = emit(builder, *values)
            return context.get_dummy_value() if returns is types.none else made

        names = ", ".join(f"a{i}" for i in range(len(arguments)))
        scope: dict[str, Any] = {"signature": signature, "returns": returns, "code": code}
        exec(  # intrinsics are told apart by their parameters' names and number
            f"def {emit.__name__}(typing, {names}):\n    return signature(returns, {names}), code\n"
            if names
            else f"def {emit.__name__}(typing):\n    return signature(returns), code\n",
            scope,
        )
        function = scope[emit.__name__]
        function.__doc__ = emit.__doc__
        function.__module__ = __name__
        return intrinsic(function)

    return wrap


def _pointer(builder: ir.IRBuilder, address: ir.Value, to: ir.Type) -> ir.Value:
    return builder.inttoptr(address, to.as_pointer())


def _load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(_pointer(builder, address, kind), align=1)


def _store(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    return builder.store(value, _pointer(builder, address, value.type), align=1)


@_function(FLOATS, types.float32)
def floats(builder, value):
    """Sixteen times a number."""
    return _splat(builder, FLOATS.vector, value)


@_function(INTS, types.int32)
def ints(builder, value):
    """Sixteen times a whole number."""
    return _splat(builder, INTS.vector, value)


@_function(INTS)
def iota(builder):
    """0, 1, 2 … 15."""
    return ir.Constant(INTS.vector, [ir.Constant(I32, i) for i in range(WIDTH)])


@_function(FLOATS, types.int64)
def load(builder, address):
    """Sixteen floats from an address."""
    return _load(builder, address, FLOATS.vector)


@_function(types.none, types.int64, FLOATS)
def store(builder, address, value):
    """Sixteen floats to an address."""
    return _store(builder, address, value)


@_function(types.none, types.int64)
def soon(builder, address):
    """Have 64 bytes fetched that will be read soon; they may lie beyond all that there is."""
    kinds = [ir.IntType(8).as_pointer(), I32, I32, I32]
    name = "llvm.prefetch.p0i8"
    kind = ir.FunctionType(ir.VoidType(), kinds)
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    hints = [ir.Constant(I32, n) for n in (0, 3, 1)]
    return builder.call(function, [_pointer(builder, address, I8), *hints])


@_function(INTS, types.int64)
def load_ints(builder, address):
    """Sixteen 32-bit integers from an address."""
    return _load(builder, address, INTS.vector)


@_function(types.none, types.int64, INTS)
def store_ints(builder, address, value):
    """Sixteen 32-bit integers to an address."""
    return _store(builder, address, value)


@_function(INTS, types.int64)
def load_words(builder, address):
    """Sixteen unsigned 16-bit integers from an address."""
    return builder.zext(_load(builder, address, ir.VectorType(I16, WIDTH)), INTS.vector)


@_function(types.none, types.int64, INTS)
def store_words(builder, address, value):
    """The low 16 bits of sixteen integers to an address."""
    return _store(builder, address, builder.trunc(value, ir.VectorType(I16, WIDTH)))


@_function(types.none, types.int64, INTS)
def store_bytes(builder, address, value):
    """The low bytes of sixteen integers to an address."""
    return _store(builder, address, builder.trunc(value, ir.VectorType(I8, WIDTH)))


@_function(types.float32, types.int64)
def get(builder, address):
    """One float."""
    return _load(builder, address, F32)


@_function(types.none, types.int64, types.float32)
def put(builder, address, value):
    """One float."""
    return _store(builder, address, value)


@_function(types.int32, types.int64)
def get_int(builder, address):
    """One 32-bit integer."""
    return _load(builder, address, I32)


@_function(types.none, types.int64, types.int32)
def put_int(builder, address, value):
    """One 32-bit integer."""
    return _store(builder, address, value)


@_function(types.int64, types.int64)
def get_byte(builder, address):
    """One byte, unsigned."""
    return builder.zext(_load(builder, address, I8), I64)


@_function(types.none, types.int64, types.int64)
def put_byte(builder, address, value):
    """The low byte of a number."""
    return _store(builder, address, builder.trunc(value, I8))


@_function(types.int64, types.int64)
def get_word(builder, address):
    """One unsigned 16-bit integer."""
    return builder.zext(_load(builder, address, I16), I64)


@_function(types.none, types.int64, types.int64)
def put_word(builder, address, value):
    """The low 16 bits of a number."""
    return _store(builder, address, builder.trunc(value, I16))


@_function(types.int64, types.int64)
def get_long(builder, address):
    """A number of 64 bits."""
    return _load(builder, address, I64)


@_function(types.none, types.int64, types.int64)
def put_long(builder, address, value):
    """A number of 64 bits."""
    return _store(builder, address, value)


@_function(types.none, types.int64, types.float64)
def put_double(builder, address, value):
    """One number in double precision."""
    return _store(builder, address, value)


@_function(types.int32, types.float32)
def bits_of(builder, value):
    """The bits of one float."""
    return builder.bitcast(value, I32)


@_function(types.float32, types.int32)
def float_of(builder, value):
    """The float that has these bits."""
    return builder.bitcast(value, F32)


@_function(types.float32, types.float32)
def root(builder, value):
    """The square root of one float, rounded once."""
    return _call(builder, "llvm.sqrt.f32", F32, value)


@_function(FLOATS, FLOATS)
def roots(builder, value):
    """Square roots, each rounded once."""
    return _call(builder, "llvm.sqrt.v16f32", FLOATS.vector, value)


@_function(FLOATS, FLOATS)
def magnitudes(builder, value):
    """Without their signs."""
    return _call(builder, "llvm.fabs.v16f32", FLOATS.vector, value)


@_function(FLOATS, FLOATS)
def negatives(builder, value):
    """With the other sign, zeros too."""
    return builder.fneg(value)


@_function(INTS, FLOATS)
def bits(builder, value):
    """The bits of sixteen floats."""
    return builder.bitcast(value, INTS.vector)


@_function(FLOATS, INTS)
def to_floats(builder, value):
    """Integers as floats, rounded to nearest."""
    return builder.sitofp(value, FLOATS.vector)


@_function(INTS, INTS, types.int32)
def shift_right(builder, value, count):
    """Signed."""
    return builder.ashr(value, _splat(builder, INTS.vector, count))


@_function(FLOATS, MASK, FLOATS, FLOATS)
def where(builder, mask, a, b):
    """`a` where the mask is set, else `b`."""
    return builder.select(mask, a, b)


@_function(INTS, MASK, INTS, INTS)
def where_ints(builder, mask, a, b):
    """`a` where the mask is set, else `b`."""
    return builder.select(mask, a, b)


@_function(types.int64, MASK)
def mask_bits(builder, mask):
    """The mask as a number: bit n is lane n."""
    return builder.zext(builder.bitcast(mask, I16), I64)


@_function(MASK, types.int64)
def mask_of(builder, value):
    """The mask whose lane n is bit n of a number."""
    return builder.bitcast(builder.trunc(value, I16), MASK.vector)


@_function(types.int64, types.int64)
def first_bit(builder, value):
    """Number of the lowest set bit; not for zero."""
    return builder.cttz(value, ir.Constant(I1, 1))


@_function(FLOATS, FLOATS, FLOATS, FLOATS)
def multiplied(builder, a, b, c):
    """a * b + c, rounded once where the processor can."""
    if has_fused():
        return _call(builder, "llvm.fma.v16f32", FLOATS.vector, a, b, c)
    return builder.fadd(builder.fmul(a, b), c)


def _has_fraction() -> bool:
    return form() == "avx512" and "+avx512dq" in _features().split(",")


@_function(FLOATS, FLOATS)
def fraction(builder, value):
    """What numbers are above the whole ones below them: from 0 to less than 1."""
    if not _has_fraction():
        value = _not_below(builder, value)
        return builder.fsub(value, _floor(builder, value))
    name = "llvm.x86.avx512.mask.reduce.ps.512"
    to_floor, mask, rounding = ir.Constant(I32, 9), ir.Constant(I16, -1), ir.Constant(I32, 4)
    return _call(builder, name, FLOATS.vector, value, to_floor, value, mask, rounding)


@_function(FLOATS, FLOATS, FLOATS)
def times_power(builder, value, power):
    """Floats times 2 to the whole part of others, from -126 to 127, beyond that nothing, infinity.

    NaN stays what it is.
    """
    if form() == "avx512":
        mask, rounding = ir.Constant(I16, -1), ir.Constant(I32, 4)
        name = "llvm.x86.avx512.mask.scalef.ps.512"
        return _call(builder, name, FLOATS.vector, value, power, value, mask, rounding)
    most = _splat(builder, FLOATS.vector, ir.Constant(F32, 128.0))
    power = _floor(builder, _not_below(builder, power))
    power = builder.select(builder.fcmp_ordered("<", power, most), power, most)
    biased = builder.add(
        builder.fptosi(power, INTS.vector), _splat(builder, INTS.vector, ir.Constant(I32, 127))
    )
    shift = _splat(builder, INTS.vector, ir.Constant(I32, 23))
    return builder.fmul(value, builder.bitcast(builder.shl(biased, shift), FLOATS.vector))


def _not_below(builder: ir.IRBuilder, power: ir.Value) -> ir.Value:
    """-127 for what is below it: a power of two that is nothing."""
    least = _splat(builder, FLOATS.vector, ir.Constant(F32, -127.0))
    return builder.select(builder.fcmp_ordered("<", power, least), least, power)


def _floor(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The whole numbers below floats of at most 2^22 in magnitude."""
    if form() == "avx2":
        return _call(builder, "llvm.floor.v16f32", FLOATS.vector, value)
    magic = _splat(builder, FLOATS.vector, ir.Constant(F32, 12582912.0))  # 1.5 * 2^23
    near = builder.fsub(builder.fadd(value, magic), magic)
    one = _splat(builder, FLOATS.vector, ir.Constant(F32, 1.0))
    return builder.select(builder.fcmp_ordered(">", near, value), builder.fsub(near, one), near)


@_function(DOUBLES)
def no_doubles(builder):
    """Sixteen zeros in double precision."""
    return ir.Constant(DOUBLES.vector, None)


@_function(DOUBLES, FLOATS)
def doubled(builder, value):
    """Floats in double precision."""
    return builder.fpext(value, DOUBLES.vector)


@_function(types.float32, FLOATS, types.int32)
def lane(builder, value, number):
    """One of sixteen floats."""
    return builder.extract_element(value, number)


@_function(types.int32, INTS, types.int32)
def lane_int(builder, value, number):
    """One of sixteen integers."""
    return builder.extract_element(value, number)


def _call(builder: ir.IRBuilder, name: str, returns: ir.Type, *args: ir.Value) -> ir.Value:
    kind = ir.FunctionType(returns, [arg.type for arg in args])
    module = builder.module
    function = module.globals.get(name) or ir.Function(module, kind, name)
    return builder.call(function, args)


def _shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
    mask = ir.Constant(ir.VectorType(I32, len(order)), [ir.Constant(I32, i) for i in order])
    return builder.shuffle_vector(a, b, mask)


def _tree(builder: ir.IRBuilder, value: ir.Value, join: Callable[..., ir.Value]) -> ir.Value:
    undefined = ir.Constant(value.type, ir.Undefined)
    for step in (8, 4, 2, 1):
        order = [(i + step) % WIDTH for i in range(WIDTH)]
        value = join(builder, value, _shuffle(builder, value, undefined, order))
    return builder.extract_element(value, ir.Constant(I32, 0))


@_function(types.float64, DOUBLES)
def summed(builder, value):
    """The sum of sixteen, halves first."""
    return _tree(builder, value, ir.IRBuilder.fadd)


@_function(types.float32, FLOATS)
def highest(builder, value):
    """The greatest of sixteen, none of which is NaN."""
    return _tree(builder, value, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))


@_function(types.float32, FLOATS)
def lowest(builder, value):
    """The least of sixteen, none of which is NaN."""
    return _tree(builder, value, lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))


@_function(types.int32, INTS)
def highest_int(builder, value):
    """The greatest of sixteen integers."""
    return _tree(builder, value, lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y))


@_function(types.none, types.int64, types.int64, types.int64)
def transpose(builder, source, stride, target):
    """A square of 16 × 16 words of 32 bits turned over its diagonal.

    Its rows lie `stride` bytes apart at `source` and one after another at `target`, which may be
    the same place when the stride is 64.
    """
    rows = []
    for i in range(WIDTH):
        offset = builder.mul(stride, ir.Constant(I64, i))
        rows.append(_load(builder, builder.add(source, offset), FLOATS.vector))
    for step in (1, 2, 4, 8):
        low = [i if not i & step else i - step + WIDTH for i in range(WIDTH)]
        high = [i + step if not i & step else i + WIDTH for i in range(WIDTH)]
        turned = list(rows)
        for i in range(WIDTH):
            if not i & step:
                turned[i] = _shuffle(builder, rows[i], rows[i + step], low)
                turned[i + step] = _shuffle(builder, rows[i], rows[i + step], high)
        rows = turned
    for i, row in enumerate(rows):
        _store(builder, builder.add(target, ir.Constant(I64, 4 * WIDTH * i)), row)
    return


# ── tables ──────────────────────────────────────────────────────────────────────────────────


def _halves(builder: ir.IRBuilder, value: ir.Value) -> list[ir.Value]:
    undefined = ir.Constant(value.type, ir.Undefined)
    return [_shuffle(builder, value, undefined, list(range(i, i + 8))) for i in (0, 8)]


def _joined(builder: ir.IRBuilder, low: ir.Value, high: ir.Value) -> ir.Value:
    return _shuffle(builder, low, high, list(range(WIDTH)))


def _by_lanes(builder: ir.IRBuilder, table: ir.Value, index: ir.Value, size: int) -> ir.Value:
    index = builder.and_(index, _splat(builder, INTS.vector, ir.Constant(I32, size - 1)))
    made = ir.Constant(table.type, ir.Undefined)
    for i in range(WIDTH):
        at = ir.Constant(I32, i)
        number = builder.extract_element(index, at)
        made = builder.insert_element(made, builder.extract_element(table, number), at)
    return made


_F8 = ir.VectorType(F32, 8)


@_function(FLOATS, FLOATS, INTS)
def pick(builder, table, index):
    """For each lane the number of `table` at the low four bits of `index`."""
    if form() == "avx512":
        return _call(builder, "llvm.x86.avx512.permvar.sf.512", FLOATS.vector, table, index)
    if form() == "avx2":
        low, high = _halves(builder, table)
        eight = _splat(builder, INTS.vector, ir.Constant(I32, 8))
        upper = builder.icmp_signed(
            "!=", builder.and_(index, eight), ir.Constant(INTS.vector, None)
        )
        made = [
            [_call(builder, "llvm.x86.avx2.permps", _F8, half, part) for half in (low, high)]
            for part in _halves(builder, index)
        ]
        below = _joined(builder, made[0][0], made[1][0])
        above = _joined(builder, made[0][1], made[1][1])
        return builder.select(upper, above, below)
    return _by_lanes(builder, table, index, 16)


@_function(FLOATS, FLOATS, INTS)
def pick8(builder, table, index):
    """As `pick` by the low three bits, from a table whose halves are equal."""
    if form() == "avx512":
        return _call(builder, "llvm.x86.avx512.permvar.sf.512", FLOATS.vector, table, index)
    if form() == "avx2":
        low, _ = _halves(builder, table)
        made = [
            _call(builder, "llvm.x86.avx2.permps", _F8, low, part)
            for part in _halves(builder, index)
        ]
        return _joined(builder, *made)
    return _by_lanes(builder, table, index, 8)


@_function(FLOATS, FLOATS, INTS)
def pick4(builder, table, index):
    """As `pick` by the low two bits, from a table whose quarters are equal."""
    if form() == "avx512":
        return _call(builder, "llvm.x86.avx512.vpermilvar.ps.512", FLOATS.vector, table, index)
    if form() == "avx2":
        halves = zip(_halves(builder, table), _halves(builder, index), strict=True)
        made = [_call(builder, "llvm.x86.avx.vpermilvar.ps.256", _F8, *half) for half in halves]
        return _joined(builder, *made)
    return _by_lanes(builder, table, index, 4)


@_function(FLOATS, FLOATS, FLOATS, INTS)
def pick32(builder, low, high, index):
    """For each lane one of 32 numbers, by the low five bits of `index`."""
    if form() == "avx512":
        return _call(builder, "llvm.x86.avx512.vpermi2var.ps.512", FLOATS.vector, low, index, high)
    if form() == "avx2":
        bit = _splat(builder, INTS.vector, ir.Constant(I32, 16))
        upper = builder.icmp_signed("!=", builder.and_(index, bit), ir.Constant(INTS.vector, None))
        eight = _splat(builder, INTS.vector, ir.Constant(I32, 8))
        middle = builder.icmp_signed(
            "!=", builder.and_(index, eight), ir.Constant(INTS.vector, None)
        )
        parts = _halves(builder, index)
        made = []
        for table in (low, high):
            both = []
            for half in _halves(builder, table):
                found = [_call(builder, "llvm.x86.avx2.permps", _F8, half, part) for part in parts]
                both.append(_joined(builder, *found))
            made.append(builder.select(middle, both[1], both[0]))
        return builder.select(upper, made[1], made[0])
    masked = builder.and_(index, _splat(builder, INTS.vector, ir.Constant(I32, 31)))
    table = _shuffle(builder, low, high, list(range(32)))
    made = ir.Constant(FLOATS.vector, ir.Undefined)
    for i in range(WIDTH):
        at = ir.Constant(I32, i)
        number = builder.extract_element(masked, at)
        made = builder.insert_element(made, builder.extract_element(table, number), at)
    return made
