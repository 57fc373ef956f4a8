"""Sums of squared activations before each weight of a graph, as llama-imatrix collects them."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

from bot.clients.llama.library import ggml_base
from bot.errors import BuildError, RefusedError


class GraphTensor(ctypes.Structure):
    """struct ggml_tensor (ggml.h), as far as its name."""


GraphTensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(GraphTensor) * 10),
    ("view_src", ctypes.POINTER(GraphTensor)),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
]


@cache
def operation_number(name: str) -> int:
    """Number of a ggml operation: the enum shifts between versions, its names do not."""
    return next(i for i in range(256) if ggml_base().ggml_op_name(i) == name.encode())


def weight_name(raw: bytes) -> str:
    """A weight's name without the `CUDA0#NAME#0` of a scheduler copy (imatrix.cpp)."""
    parts = raw.decode("utf-8", "replace").split("#")
    return parts[1] if len(parts) > 1 else parts[0]


def _fetch(tensor: GraphTensor, kind: str) -> NDArray[Any]:
    """A tensor's values, [ne3, ne2, ne1, ne0], copied to this process where they lie elsewhere."""
    layout = ctypes.string_at(ctypes.addressof(tensor) + GraphTensor.ne.offset, _LAYOUT.size)
    base = ggml_base()
    if base.ggml_backend_buffer_is_host(tensor.buffer):
        return _view(tensor.data, layout, kind)
    memory = (ctypes.c_char * _extent(layout, kind))()
    base.ggml_backend_tensor_get(ctypes.addressof(tensor), memory, 0, len(memory))
    return _array(memory, layout, kind)


@lru_cache(4096)  # graphs of a batch lie at the same places; after a graph this is half the time
def _view(address: int, layout: bytes, kind: str) -> NDArray[Any]:
    memory = (ctypes.c_char * _extent(layout, kind)).from_address(address)
    return _array(memory, layout, kind)


def _extent(layout: bytes, kind: str) -> int:
    """Bytes from a tensor's first value to the end of its last."""
    sizes = _LAYOUT.unpack(layout)
    steps = zip(sizes[:4], sizes[4:], strict=True)
    return int(sum((n - 1) * step for n, step in steps) + np.dtype(kind).itemsize)


def _array(memory: Any, layout: bytes, kind: str) -> NDArray[Any]:
    sizes = _LAYOUT.unpack(layout)
    return np.ndarray(sizes[3::-1], kind, memory, strides=sizes[:3:-1])


_OP, _NAME = GraphTensor.op.offset, GraphTensor.name.offset
_LAST_NORM = b"result_norm\0"  # llama.cpp's name for what the output matrix is multiplied with
_BLOCKS = "blk."
_LAYOUT = struct.Struct("4q4N")  # ne and nb

_BLOCK = 1 << 16  # f32 values, 256 KiB: what stays in the processor's cache
NOT_FINITE = "activations are not finite; the source file is damaged"
NARROW = 16  # rows of fewer numbers are added here, whoever adds the others

Floats = NDArray[np.float32]
Longs = NDArray[np.int64]
Route = tuple[Longs, Longs]  # an order that sorts by expert; counts
Inputs = tuple[int, int, int]  # addresses of activations and expert ids, number of matrices


@dataclass(frozen=True, eq=False)
class Stats:
    """Statistics of a weight's inputs; immutable: weights with the same inputs share them."""

    sums: Floats  # [experts, row length]: squared activations; a weight without experts has one
    counts: NDArray[np.int64]  # [experts], or [1] where matrices share a count


class Adding(Protocol):
    """Adds squares of activations to sums, one row after another, in f32."""

    def __call__(self, x: Floats, order: Longs | None, counts: Longs, before: Floats) -> Floats:
        """`before`, [matrices, width], and after it the squares of rows of `x`, [rows, width].

        `order` tells which rows, matrix after matrix; None, for one matrix: all as they lie.
        `counts` [matrices] are how many of them each matrix has. Raises RefusedError where a sum
        is not finite.
        """


class Observer:
    """Sums of squared activations before each weight, to the bit as llama-imatrix collects them.

    Rules from IMatrixCollector::collect_imatrix (tools/imatrix/imatrix.cpp): each sum is an f32 to
    which one square after another is added, rows in order, experts by rank before token. Weights
    that are fed by the same activations (query, key and value; gate and up) are looked at once,
    and the graph does not stop for the others. It ends at the norm before the output matrix, whose
    sums are not kept: logits of an observed decode mean nothing. The first graph runs to its end,
    to see that no weight of a block comes later. `adding` does the arithmetic, where it is not
    NumPy's.
    """

    def __init__(self, adding: Adding | None = None) -> None:
        self.stats: dict[str, Stats] = {}
        self._sums = Sums(adding)
        self._error: BuildError | None = None
        self._mul, self._mul_experts = operation_number("MUL_MAT"), operation_number("MUL_MAT_ID")
        self._by_inputs: dict[Inputs, tuple[Stats | None, Stats]] = {}  # before and after
        self._first: int | None = None  # weights of blocks before the first graph's last norm
        self._met = 0  # weights of blocks since a graph's last norm
        self.callback = c.ggml_backend_sched_eval_callback(self._ask)

    def restore(self, stats: Mapping[str, Stats]) -> None:
        """Go on from the statistics of an earlier run; equal ones are shared again."""
        first: dict[bytes, Stats] = {}
        for name, weight_stats in stats.items():
            digest = sha256(weight_stats.sums.tobytes() + weight_stats.counts.tobytes()).digest()
            self.stats[name] = first.setdefault(digest, weight_stats)

    def check(self) -> None:
        """Raise an error of the callback: nothing can be raised through C."""
        if self._error is not None:
            raise self._error

    def _ask(self, address: int, ask: bool, _user: Any) -> bool:
        # asked about every node of the graph: most are no multiplications and cost only this look
        if ctypes.c_int.from_address(address + _OP).value not in (self._mul, self._mul_experts):
            return ask and self._at_end(address)
        node = GraphTensor.from_address(address)
        name = weight_name(node.src[0].contents.name)
        self._met += ask and name.startswith(_BLOCKS)
        try:
            return self._stop(node, name) if ask else self._look(node, name)
        except (ValueError, IndexError, BuildError) as error:
            kind = RefusedError if isinstance(error, RefusedError) else BuildError
            self._error = kind(f"importance matrix: {name}: {error}")
            return False

    def _at_end(self, address: int) -> bool:
        """Whether a graph may end after this node: its last norm, when no block comes later.

        From one last norm to the next as many weights of blocks are met as before the first one,
        unless graphs have some after it.
        """
        if ctypes.string_at(address + _NAME, len(_LAST_NORM)) != _LAST_NORM:
            return False
        met, self._met = self._met, 0
        if self._first is None:
            self._first = met
            return False
        return met == self._first

    def _stop(self, node: GraphTensor, name: str) -> bool:
        """Whether the graph must stop after this node: only for activations not seen yet.

        Addresses tell the nodes of one graph apart. A later graph may reuse them, but by then the
        weight has seen more than what was known before those activations.
        """
        if not self._wanted(node, name):
            return False
        before, after = self._by_inputs.get(_inputs(node), (None, None))
        if after is None or before is not self.stats.get(name):
            return True
        self.stats[name] = after
        return False

    def _wanted(self, node: GraphTensor, name: str) -> bool:
        if node.op == self._mul_experts:
            return True
        inputs = node.src[1].contents
        return inputs.ne[1] >= 16 and inputs.type == c.GGML_TYPE_F32 and name.startswith(_BLOCKS)

    def _look(self, node: GraphTensor, name: str) -> bool:
        before, matrices = self.stats.get(name), _matrices(node)
        x = _fetch(node.src[1].contents, "f4")  # [ne3, ne2, ne1, row length]
        if node.op == self._mul_experts:
            ids = _fetch(node.src[2].contents, "i4")[0, 0]  # [tokens, used]
            after = self._sums.by_expert(x[0], ids, matrices, before)
        else:
            after = self._sums.by_matrix(x, matrices, before)
        self.stats[name] = after
        self._by_inputs[_inputs(node)] = before, after
        return True


def _inputs(node: GraphTensor) -> Inputs:
    """What the sums depend on."""
    ids = ctypes.addressof(node.src[2].contents) if node.src[2] else 0
    return ctypes.addressof(node.src[1].contents), ids, _matrices(node)


def _matrices(node: GraphTensor) -> int:
    weight = node.src[0].contents
    return int(weight.ne[2] * weight.ne[3])


class Sums:
    """Statistics of a weight after further activations."""

    def __init__(self, adding: Adding | None = None) -> None:
        self._narrow = NumpySquares()
        self._wide = adding or self._narrow
        self._routed: tuple[bytes, Route] | None = None

    def by_expert(
        self, x: Floats, ids: NDArray[np.int32], experts: int, before: Stats | None
    ) -> Stats:
        """Over the tokens that were routed to each expert.

        `x` [tokens, used or 1, row length]; `ids` [tokens, used] are the experts chosen.
        """
        start = _start(before, (experts, x.shape[2]), experts)
        order, counts = self._route(ids, experts)
        if len(counts) != experts:
            raise IndexError(f"an expert {len(counts) - 1} of {experts}")
        rows = _rows(ids.shape, x.shape[1])[order]
        return Stats(self._added(x, rows, counts, start.sums), start.counts + counts)

    def by_matrix(self, x: Floats, matrices: int, before: Stats | None) -> Stats:
        """Over all rows, for each matrix of the weight; `x` [ne3, ne2, rows, row length]."""
        start = _start(before, (matrices, x.shape[3]), 1)
        parts = x.reshape(-1, matrices, *x.shape[2:])
        count, places = parts.shape[0] * parts.shape[2], np.arange(parts[..., 0].size)
        order = places.reshape(parts.shape[:3]).swapaxes(0, 1).reshape(-1)
        counts = np.full(matrices, count)
        sums = self._added(x, None if matrices == 1 else order, counts, start.sums)
        return Stats(sums, start.counts + count)

    def _added(self, x: Floats, order: Longs | None, counts: Longs, before: Floats) -> Floats:
        adding = self._narrow if x.shape[-1] < NARROW else self._wide
        return adding(x.reshape(-1, x.shape[-1]), order, counts, before)

    def _route(self, ids: NDArray[np.int32], experts: int) -> Route:
        """Where each expert's rows stand among all that the router chose.

        The order is the tool's: every token's first expert, then every second. A layer's matrices
        are asked one after another with the same choice.
        """
        chosen = ids.T.tobytes()
        if self._routed is None or self._routed[0] != chosen:
            flat = np.frombuffer(chosen, np.int32)
            counts = np.bincount(flat, minlength=experts)
            short = flat.astype(np.uint16)  # numpy sorts short numbers by radix
            self._routed = chosen, (np.argsort(short, kind="stable"), counts)
        return self._routed[1]


class NumpySquares:
    """`Adding` by NumPy, block by block, in one thread."""

    def __init__(self) -> None:
        self._lines = np.empty(_BLOCK, np.float32)

    def __call__(self, x: Floats, order: Longs | None, counts: Longs, before: Floats) -> Floats:
        """As `Adding`."""
        sums, end = before.copy(), 0
        with np.errstate(over="ignore", invalid="ignore"):  # it is told below
            for matrix in np.flatnonzero(counts):
                begin, end = end, end + int(counts[matrix])
                self._add(sums[matrix], x, None if order is None else order[begin:end])
        if not np.isfinite(sums.max()):
            raise RefusedError(NOT_FINITE)
        return sums

    def _add(self, total: Floats, x: Floats, rows: Longs | None = None) -> None:
        """Add the squares of one row of `x` after another to `total`, in f32."""
        width, count = len(total), len(x if rows is None else rows)
        at_once = max(_BLOCK // width - 1, 1)
        if self._lines.size < 2 * width:
            self._lines = np.empty(2 * width, np.float32)
        for i in range(0, count, at_once):
            end = min(i + at_once, count)
            lines = self._lines[: (end - i + 1) * width].reshape(-1, width)
            lines[0], some = total, lines[1:]
            if rows is not None:
                np.take(x, rows[i:end], axis=0, out=some, mode="clip")  # unlike raise, no copy
            np.square(x[i:end] if rows is None else some, out=some)
            np.add.reduce(lines, axis=0, out=total)  # over the outer axis numpy adds line by line


@cache
def _rows(shape: tuple[int, int], inputs: int) -> NDArray[np.int64]:
    """Which row of the activations each choice means, [used * tokens]; `inputs` of them a token."""
    rank, token = np.divmod(np.arange(shape[0] * shape[1]), shape[0])
    return np.asarray(token * inputs + rank % inputs)


def _start(before: Stats | None, shape: tuple[int, int], counts: int) -> Stats:
    """Statistics of a weight so far. Raises ValueError where they have another shape."""
    if before is None:
        return Stats(np.zeros(shape, np.float32), np.zeros(counts, np.int64))
    if len(before.counts) != counts:
        raise ValueError(f"{counts} counts after {len(before.counts)}")
    return Stats(before.sums.reshape(shape), before.counts)  # a file knows no more than the size
