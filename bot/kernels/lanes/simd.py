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

from llvmlite import ir
from numba import types
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


# ── operators ───────────────────────────────────────────────────────────────────────────────


def splat(builder: ir.IRBuilder, vector: ir.VectorType, value: ir.Value) -> ir.Value:
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


def operation(
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
        function.__module__ = emit.__module__
        return intrinsic(function)

    return wrap


def _pointer(builder: ir.IRBuilder, address: ir.Value, to: ir.Type) -> ir.Value:
    return builder.inttoptr(address, to.as_pointer())


def read_from(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(_pointer(builder, address, kind), align=1)


def write_to(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    return builder.store(value, _pointer(builder, address, value.type), align=1)


@operation(FLOATS, types.float32)
def floats(builder, value):
    """Sixteen times a number."""
    return splat(builder, FLOATS.vector, value)


@operation(INTS, types.int32)
def ints(builder, value):
    """Sixteen times a whole number."""
    return splat(builder, INTS.vector, value)


@operation(INTS)
def iota(builder):
    """0, 1, 2 … 15."""
    return ir.Constant(INTS.vector, [ir.Constant(I32, i) for i in range(WIDTH)])


@operation(FLOATS, types.int64)
def load(builder, address):
    """Sixteen floats from an address."""
    return read_from(builder, address, FLOATS.vector)


@operation(types.none, types.int64, FLOATS)
def store(builder, address, value):
    """Sixteen floats to an address."""
    return write_to(builder, address, value)


@operation(types.none, types.int64)
def soon(builder, address):
    """Have 64 bytes fetched that will be read soon; they may lie beyond all that there is."""
    kinds = [ir.IntType(8).as_pointer(), I32, I32, I32]
    name = "llvm.prefetch.p0i8"
    kind = ir.FunctionType(ir.VoidType(), kinds)
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    hints = [ir.Constant(I32, n) for n in (0, 3, 1)]
    return builder.call(function, [_pointer(builder, address, I8), *hints])


@operation(INTS, types.int64)
def load_ints(builder, address):
    """Sixteen 32-bit integers from an address."""
    return read_from(builder, address, INTS.vector)


@operation(types.none, types.int64, INTS)
def store_ints(builder, address, value):
    """Sixteen 32-bit integers to an address."""
    return write_to(builder, address, value)


@operation(INTS, types.int64)
def load_words(builder, address):
    """Sixteen unsigned 16-bit integers from an address."""
    return builder.zext(read_from(builder, address, ir.VectorType(I16, WIDTH)), INTS.vector)


@operation(types.none, types.int64, INTS)
def store_words(builder, address, value):
    """The low 16 bits of sixteen integers to an address."""
    return write_to(builder, address, builder.trunc(value, ir.VectorType(I16, WIDTH)))


@operation(types.none, types.int64, INTS)
def store_bytes(builder, address, value):
    """The low bytes of sixteen integers to an address."""
    return write_to(builder, address, builder.trunc(value, ir.VectorType(I8, WIDTH)))


@operation(types.float32, types.int64)
def get(builder, address):
    """One float."""
    return read_from(builder, address, F32)


@operation(types.none, types.int64, types.float32)
def put(builder, address, value):
    """One float."""
    return write_to(builder, address, value)


@operation(types.int32, types.int64)
def get_int(builder, address):
    """One 32-bit integer."""
    return read_from(builder, address, I32)


@operation(types.none, types.int64, types.int32)
def put_int(builder, address, value):
    """One 32-bit integer."""
    return write_to(builder, address, value)


@operation(types.int64, types.int64)
def get_byte(builder, address):
    """One byte, unsigned."""
    return builder.zext(read_from(builder, address, I8), I64)


@operation(types.none, types.int64, types.int64)
def put_byte(builder, address, value):
    """The low byte of a number."""
    return write_to(builder, address, builder.trunc(value, I8))


@operation(types.int64, types.int64)
def get_word(builder, address):
    """One unsigned 16-bit integer."""
    return builder.zext(read_from(builder, address, I16), I64)


@operation(types.none, types.int64, types.int64)
def put_word(builder, address, value):
    """The low 16 bits of a number."""
    return write_to(builder, address, builder.trunc(value, I16))


@operation(types.int64, types.int64)
def get_long(builder, address):
    """A number of 64 bits."""
    return read_from(builder, address, I64)


@operation(types.none, types.int64, types.int64)
def put_long(builder, address, value):
    """A number of 64 bits."""
    return write_to(builder, address, value)


@operation(types.none, types.int64, types.float64)
def put_double(builder, address, value):
    """One number in double precision."""
    return write_to(builder, address, value)


@operation(types.int32, types.float32)
def bits_per_weight(builder, value):
    """The bits of one float."""
    return builder.bitcast(value, I32)


@operation(types.float32, types.int32)
def float_of(builder, value):
    """The float that has these bits."""
    return builder.bitcast(value, F32)


@operation(types.float32, types.float32)
def root(builder, value):
    """The square root of one float, rounded once."""
    return call_llvm(builder, "llvm.sqrt.f32", F32, value)


@operation(FLOATS, FLOATS)
def roots(builder, value):
    """Square roots, each rounded once."""
    return call_llvm(builder, "llvm.sqrt.v16f32", FLOATS.vector, value)


@operation(FLOATS, FLOATS)
def magnitudes(builder, value):
    """Without their signs."""
    return call_llvm(builder, "llvm.fabs.v16f32", FLOATS.vector, value)


@operation(FLOATS, FLOATS)
def negatives(builder, value):
    """With the other sign, zeros too."""
    return builder.fneg(value)


@operation(INTS, FLOATS)
def bits(builder, value):
    """The bits of sixteen floats."""
    return builder.bitcast(value, INTS.vector)


@operation(FLOATS, INTS)
def to_floats(builder, value):
    """Integers as floats, rounded to nearest."""
    return builder.sitofp(value, FLOATS.vector)


@operation(INTS, INTS, types.int32)
def shift_right(builder, value, count):
    """Signed."""
    return builder.ashr(value, splat(builder, INTS.vector, count))


@operation(FLOATS, MASK, FLOATS, FLOATS)
def where(builder, mask, a, b):
    """`a` where the mask is set, else `b`."""
    return builder.select(mask, a, b)


@operation(INTS, MASK, INTS, INTS)
def where_ints(builder, mask, a, b):
    """`a` where the mask is set, else `b`."""
    return builder.select(mask, a, b)


@operation(types.int64, MASK)
def mask_bits(builder, mask):
    """The mask as a number: bit n is lane n."""
    return builder.zext(builder.bitcast(mask, I16), I64)


@operation(MASK, types.int64)
def mask_of(builder, value):
    """The mask whose lane n is bit n of a number."""
    return builder.bitcast(builder.trunc(value, I16), MASK.vector)


@operation(types.int64, types.int64)
def first_bit(builder, value):
    """Number of the lowest set bit; not for zero."""
    return builder.cttz(value, ir.Constant(I1, 1))


@operation(DOUBLES)
def no_doubles(builder):
    """Sixteen zeros in double precision."""
    return ir.Constant(DOUBLES.vector, None)


@operation(DOUBLES, FLOATS)
def doubled(builder, value):
    """Floats in double precision."""
    return builder.fpext(value, DOUBLES.vector)


@operation(types.float32, FLOATS, types.int32)
def lane(builder, value, number):
    """One of sixteen floats."""
    return builder.extract_element(value, number)


@operation(types.int32, INTS, types.int32)
def lane_int(builder, value, number):
    """One of sixteen integers."""
    return builder.extract_element(value, number)


def call_llvm(builder: ir.IRBuilder, name: str, returns: ir.Type, *args: ir.Value) -> ir.Value:
    kind = ir.FunctionType(returns, [arg.type for arg in args])
    module = builder.module
    function = module.globals.get(name) or ir.Function(module, kind, name)
    return builder.call(function, args)


def shuffled(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
    mask = ir.Constant(ir.VectorType(I32, len(order)), [ir.Constant(I32, i) for i in order])
    return builder.shuffle_vector(a, b, mask)


def _tree(builder: ir.IRBuilder, value: ir.Value, join: Callable[..., ir.Value]) -> ir.Value:
    undefined = ir.Constant(value.type, ir.Undefined)
    for step in (8, 4, 2, 1):
        order = [(i + step) % WIDTH for i in range(WIDTH)]
        value = join(builder, value, shuffled(builder, value, undefined, order))
    return builder.extract_element(value, ir.Constant(I32, 0))


@operation(types.float64, DOUBLES)
def summed(builder, value):
    """The sum of sixteen, halves first."""
    return _tree(builder, value, ir.IRBuilder.fadd)


@operation(types.float32, FLOATS)
def highest(builder, value):
    """The greatest of sixteen, none of which is NaN."""
    return _tree(builder, value, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))


@operation(types.float32, FLOATS)
def lowest(builder, value):
    """The least of sixteen, none of which is NaN."""
    return _tree(builder, value, lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))


@operation(types.int32, INTS)
def highest_int(builder, value):
    """The greatest of sixteen integers."""
    return _tree(builder, value, lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y))
