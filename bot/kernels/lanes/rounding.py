"""What ggml's quantizers share: how they round, their halves, and which blocks are ordinary.

Every function here does on sixteen lanes what one of ggml-quants.c does on one number, in the same
order. `nearest` is its rounding with all that this does to numbers too large for it; `rounded` is
the same for numbers below 2^22 in magnitude, in fewer operations.
"""

from __future__ import annotations

import secrets
from itertools import count

import numpy as np
from numba import njit
from numba.core.bytecode import FunctionIdentity

from bot.kernels.lanes.moves import transpose
from bot.kernels.lanes.simd import (
    bits,
    bits_per_weight,
    float_of,
    floats,
    get_byte,
    highest_int,
    ints,
    load,
    load_ints,
    put_byte,
    store,
    where,
    where_ints,
)

BLOCK = 256  # weights of a super-block (QK_K)
GROUP = 16  # super-blocks side by side
BLOCK_BYTES = 4 * BLOCK  # of its numbers
GROUP_BYTES = GROUP * BLOCK_BYTES
LANE_BYTES = 64
EPS = np.float32(1e-15)  # GROUP_MAX_EPS
MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding it rounds to whole numbers
LARGEST = 0x47000000  # bits of 32768: above it halves overflow and sums lose their order

# Numba tells functions of one name and type apart, such as closures over other constants, by a
# number that begins at 1 in each process, and LLVM takes equal names for one function: of kernels
# that different processes compiled the second would call functions of the first
# (numba/numba#10486). There is no public way to begin elsewhere.
FunctionIdentity._unique_ids = count(secrets.randbits(60))

# compiled into what calls it: nothing of Python, and no entry for C, is made for it
inlined = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@inlined
def nearest(values):
    """nearest_int of ggml."""
    return (bits(values + floats(MAGIC)) & ints(0x7FFFFF)) - ints(0x400000)


@inlined
def rounded(values):
    """nearest_int of values below 2^22 in magnitude, as floats."""
    return (values + floats(MAGIC)) - floats(MAGIC)


@inlined
def between(values, low, high):
    """Floats clamped to two numbers."""
    values = where(values < floats(high), values, floats(high))
    return where(values > floats(low), values, floats(low))


@inlined
def between_ints(values, low, high):
    """Integers clamped to two numbers."""
    values = where_ints(values < ints(high), values, ints(high))
    return where_ints(values > ints(low), values, ints(low))


@inlined
def nearest_one(value):
    """nearest_int of one float."""
    return (np.int64(bits_per_weight(value + MAGIC)) & 0x7FFFFF) - 0x400000


@inlined
def half(value):
    """The bits of a float as a half, as ggml_compute_fp32_to_fp16 has them."""
    word = np.int64(bits_per_weight(value)) & 0xFFFFFFFF
    base = abs(value) * np.float32(2.0**112) * np.float32(2.0**-110)
    doubled = (word + word) & 0xFFFFFFFF
    bias = doubled & 0xFF000000
    if bias < 0x71000000:
        bias = np.int64(0x71000000)
    base = float_of((bias >> 1) + 0x07800000) + base
    found = np.int64(bits_per_weight(base)) & 0xFFFFFFFF
    rest = 0x7E00 if doubled > 0xFF000000 else ((found >> 13) & 0x7C00) + (found & 0xFFF)
    return ((word & 0x80000000) >> 16) | rest


@inlined
def whole(value):
    """The float that a half's bits mean; not for infinities."""
    sign = np.float32(-1.0) if value & 0x8000 else np.float32(1.0)
    return sign * (float_of((value & 0x7FFF) << 13) * np.float32(2.0**112))


@inlined
def put_half(address, value):
    """A float as a half to an address; what the half means."""
    found = half(value)
    put_byte(address, found)
    put_byte(address + 1, found >> 8)
    return whole(found)


@inlined
def copy(source, target, size):
    """`size` bytes, four at a time."""
    vectors = size // LANE_BYTES
    for i in range(vectors):
        store(target + LANE_BYTES * i, load(source + LANE_BYTES * i))
    for i in range(LANE_BYTES * vectors, size):
        put_byte(target + i, get_byte(source + i))


@inlined
def clear(target, size):
    """`size` bytes, all zero."""
    vectors = size // LANE_BYTES
    for i in range(vectors):
        store(target + LANE_BYTES * i, floats(0.0))
    for i in range(LANE_BYTES * vectors, size):
        put_byte(target + i, 0)


@inlined
def ordinary(source):
    """Whether a super-block's numbers are finite and below 32768."""
    largest = ints(0)
    for i in range(BLOCK // 16):
        found = load_ints(source + LANE_BYTES * i) & ints(0x7FFFFFFF)
        largest = where_ints(found > largest, found, largest)
    return highest_int(largest) < LARGEST


@inlined
def squares(source, scratch):
    """Sums of the squares of 16 super-blocks, a lane each, added in their order."""
    total = floats(0.0)
    for part in range(BLOCK // 16):
        transpose(source + LANE_BYTES * part, BLOCK_BYTES, scratch)
        for i in range(16):
            value = load(scratch + LANE_BYTES * i)
            total = total + value * value
    return total
