"""ggml's own kernels on rows of numbers: to f32, from f32, and the check of what came out.

Calls release Python's lock, so threads run them side by side. `ggml_quantize_chunk` takes one lock
of the whole library in every call and holds it while search grids are built, so the functions
behind it are called directly and grids are built with `prepare`, beside other work.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.library import ggml_base, ggml_cpu, ggml_type
from bot.errors import BuildError

# types whose quantization searches a grid, in order of how long it takes to build (ggml-quants.c)
GRIDS = ("IQ1_M", "IQ1_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_S", "IQ3_XXS")
_SHARED_GRID = {"IQ1_S": "IQ1_M"}
_FUNCTIONS = {
    **{name: f"quantize_{name.lower()}" for name in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")},
    **{f"Q{n}_K": f"quantize_q{n}_K" for n in (2, 3, 4, 5, 6)},
    **{name: f"quantize_{name.lower()}" for name in (*GRIDS, "IQ4_NL", "IQ4_XS")},
}


def grid_of(kind: str) -> str | None:
    """The search grid a type needs: types that share one give the same answer."""
    return _SHARED_GRID.get(kind, kind) if kind in GRIDS else None


def prepare_grid(grid: str) -> None:
    """Build a search grid, once per process; calls for different grids may run side by side."""
    base = ggml_base()
    if grid.startswith("IQ3"):
        base.iq3xs_init_impl(512 if grid == "IQ3_S" else 256)
    else:
        base.iq2xs_init_impl(ggml_type(grid))


def row_bytes(kind: str, length: int) -> int:
    """Bytes of a row of `length` weights, which the type's block divides."""
    return int(_row_size()(ggml_type(kind), length))


def block_length(kind: str) -> int:
    """Weights of a block, by which rows are counted."""
    return int(_block_size()(ggml_type(kind)))


@cache
def _block_size() -> Any:
    size = ggml_base().ggml_blck_size
    size.argtypes = [ctypes.c_int]
    size.restype = ctypes.c_int64
    return size


@cache
def _row_size() -> Any:
    size = ggml_base().ggml_row_size
    size.argtypes = [ctypes.c_int, ctypes.c_int64]
    size.restype = ctypes.c_size_t
    return size


def to_f32(kind: str, data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Expand `data`, raw bytes of any type of ggml, into `out`, which sets the count.

    Raises BuildError for a type that the library does not expand.
    """
    if kind == "F32":
        out[:] = data.view(np.float32)
        return
    expand = _expander(kind)
    if expand is None:
        raise BuildError(f"{kind} cannot be expanded; start from a BF16 or F16 file")
    expand(data.ctypes.data, out.ctypes.data, out.size)


@cache
def _expander(kind: str) -> Any:
    """The function that makes f32 of a type's blocks; None where ggml has none."""
    wide = {"BF16": "ggml_bf16_to_fp32_row", "F16": "ggml_fp16_to_fp32_row"}
    name = wide.get(kind, f"dequantize_row_{kind.lower().replace('_k', '_K')}")
    function = getattr(ggml_base(), name, None)
    if function is not None:
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        function.restype = None
    return function


def from_f32(
    kind: str,
    rows: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    out: NDArray[np.uint8],
) -> None:
    """Quantize `rows` [count, row length] into `out`; `weights` [row length] are their imatrix.

    The grid of `kind` must have been prepared. Raises BuildError when ggml wrote another number of
    bytes than the type takes.
    """
    count, length = rows.shape
    if length % block_length(kind):  # where it is not a whole number of blocks some kernels abort
        raise BuildError(f"rows of {length} numbers cannot be {kind}; take another type")
    importance = None if weights is None else weights.ctypes.data
    written = quantizer(kind)(rows.ctypes.data, out.ctypes.data, count, length, importance)
    if written != out.size:
        raise BuildError(f"ggml wrote {written} bytes of {kind}, not {out.size}; look at the shape")


@cache
def quantizer(kind: str) -> Any:
    base = ggml_base()
    if kind in _FUNCTIONS:
        function = getattr(base, _FUNCTIONS[kind])
        function.argtypes = [
            *(ctypes.c_void_p, ctypes.c_void_p),
            *(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
        ]
        function.restype = ctypes.c_size_t
        return function
    chunk = base.ggml_quantize_chunk
    chunk.argtypes = [
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
    ]
    chunk.restype = ctypes.c_size_t
    number = ggml_type(kind)
    return lambda src, dst, rows, length, weights: chunk(number, src, dst, 0, rows, length, weights)


def valid(kind: str, data: NDArray[np.uint8]) -> bool:
    """Whether every block is sane: no NaN, no infinity, no scale out of range."""
    return bool(_validator()(ggml_type(kind), data.ctypes.data, data.size))


@cache
def _validator() -> Any:
    check = ggml_base().ggml_validate_row_data
    check.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    check.restype = ctypes.c_bool
    return check


def any_number(kind: str, row: NDArray[np.uint8], length: int) -> bool:
    """Whether one of a row's `length` numbers is not zero; yes where ggml cannot expand a type."""
    if _expander(kind) is None:
        return True
    numbers = np.empty(length, np.float32)
    to_f32(kind, row, numbers)
    return bool(numbers.any())


def from_f32_to_16(kind: str, rows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Rows as BF16, F16 or F32, as they lie in a file."""
    if kind == "F32":
        return rows.reshape(-1).view(np.uint8).copy()
    out = np.empty(rows.size * 2, np.uint8)
    _to_16(kind)(rows.ctypes.data, out.ctypes.data, rows.size)
    return out


@cache
def _to_16(kind: str) -> Any:
    base = ggml_base()
    functions = {"BF16": base.ggml_fp32_to_bf16_row, "F16": base.ggml_fp32_to_fp16_row}
    if kind not in functions:
        raise BuildError(f"{kind} is not a 16-bit type; start from a BF16 or F16 file")
    functions[kind].argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    functions[kind].restype = None
    return functions[kind]


def exponentials(
    values: NDArray[np.float32], highest: NDArray[np.float32], out: NDArray[np.float32]
) -> NDArray[np.float64]:
    """exp(value - the row's highest) into `out`, rows contiguous; comes back: each row's sum.

    llama.cpp's own kernel (ggml_vec_soft_max_f32, vec.cpp), twice as fast as NumPy's exp and
    within 1e-7 of it; NumPy does it where the library has no such function.
    """
    kernel, columns = _soft_max(), values.shape[1]
    if kernel is None:
        np.subtract(values, highest[:, None], out=out)
        np.exp(out, out=out)
        total: NDArray[np.float64] = out.sum(axis=1, dtype=np.float64)
        return total
    # addresses by hand: asking an array for each row's costs more than a short row's exponentials
    start, step, to, stride = values.ctypes.data, values.strides[0], out.ctypes.data, out.strides[0]
    tops = enumerate(highest.tolist())
    sums = [kernel(columns, to + i * stride, start + i * step, top) for i, top in tops]
    return np.array(sums, np.float64)


@cache
def _soft_max() -> Any:
    kernel = getattr(ggml_cpu(), "ggml_vec_soft_max_f32", None)
    if kernel is not None:
        kernel.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float]
        kernel.restype = ctypes.c_double  # ggml_float
    return kernel
