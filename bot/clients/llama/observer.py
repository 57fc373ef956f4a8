"""Watching a graph: the activations that meet each weight, as llama-imatrix collects them."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

from bot.clients.llama.library import ggml_base
from bot.errors import BuildError


class _Tensor(ctypes.Structure):
    """struct ggml_tensor (ggml.h), as far as its name."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * 10),
    ("view_src", ctypes.POINTER(_Tensor)),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
]


@cache
def _operation(name: str) -> int:
    """Number of a ggml operation: the enum shifts between versions, its names do not."""
    return next(i for i in range(256) if ggml_base().ggml_op_name(i) == name.encode())


def _weight_name(raw: bytes) -> str:
    """A weight's name without the `CUDA0#NAME#0` of a scheduler copy (imatrix.cpp)."""
    parts = raw.decode("utf-8", "replace").split("#")
    return parts[1] if len(parts) > 1 else parts[0]


def _fetch(tensor: _Tensor, kind: type[np.generic]) -> NDArray[Any]:
    """A tensor's values, [ne3, ne2, ne1, ne0], copied to this process where they lie elsewhere."""
    ne, nb = list(tensor.ne), list(tensor.nb)
    size = sum((n - 1) * step for n, step in zip(ne, nb, strict=True)) + np.dtype(kind).itemsize
    base = ggml_base()
    if base.ggml_backend_buffer_is_host(tensor.buffer):
        memory = (ctypes.c_char * size).from_address(tensor.data)
    else:
        memory = (ctypes.c_char * size)()
        base.ggml_backend_tensor_get(ctypes.addressof(tensor), memory, 0, size)
    return np.ndarray(tuple(ne[::-1]), kind, memory, strides=tuple(nb[::-1]))


_OP = _Tensor.op.offset

Sums = tuple[NDArray[np.float64], NDArray[np.int64]]  # [experts, row length], [experts]
Inputs = tuple[int, int, int]  # addresses of activations and expert ids, number of matrices


class Observer:
    """Sums of squared activations before each weight, as llama-imatrix collects them.

    `sums[name]` is f64 [experts, row length], `counts[name]` i64 [experts]; a weight without
    experts has one. Rules from IMatrixCollector::collect_imatrix (tools/imatrix/imatrix.cpp).
    Weights that are fed by the same activations (query, key and value; gate and up) are looked at
    once, and the graph does not stop for the others.
    """

    def __init__(self) -> None:
        self.sums: dict[str, NDArray[np.float64]] = {}
        self.counts: dict[str, NDArray[np.int64]] = {}
        self._error: BuildError | None = None
        self._mul, self._mul_experts = _operation("MUL_MAT"), _operation("MUL_MAT_ID")
        self._first: str | None = None  # the weight that every evaluation of the graph begins with
        self._fed: dict[Inputs, list[str]] = {}
        self._found: dict[Inputs, Sums] = {}
        self.callback = c.ggml_backend_sched_eval_callback(self._seen)

    def settle(self) -> None:
        """Count what the last evaluation showed. Raises what went wrong inside the graph."""
        if self._error is not None:
            raise self._error
        for inputs, names in self._fed.items():
            for name in names:
                self._store(name, *self._found[inputs])
        self._fed, self._found = {}, {}

    def _seen(self, address: int, ask: bool, _user: Any) -> bool:
        # asked about every node of the graph: most are no multiplications and cost only this look
        if ctypes.c_int.from_address(address + _OP).value not in (self._mul, self._mul_experts):
            return False
        node = _Tensor.from_address(address)
        try:
            return self._asked(node) if ask else self._look(node)
        except (ValueError, KeyError, BuildError) as error:  # raising here would be lost in C
            name = _weight_name(node.src[0].contents.name)
            self._error = BuildError(f"importance matrix: {name}: {error}")
            return False

    def _asked(self, node: _Tensor) -> bool:
        """Whether the graph must stop after this node: only for activations not seen yet."""
        if not self._wanted(node):
            return False
        name, inputs = _weight_name(node.src[0].contents.name), self._inputs(node)
        if name == self._first:
            self.settle()  # a further part of a long batch: its nodes may lie at the same places
        self._first = self._first or name
        self._fed.setdefault(inputs, []).append(name)
        return len(self._fed[inputs]) == 1

    def _wanted(self, node: _Tensor) -> bool:
        if node.op == self._mul_experts:
            return True
        if node.op != self._mul:
            return False
        inputs = node.src[1].contents
        if inputs.ne[1] < 16 or inputs.type != c.GGML_TYPE_F32:
            return False
        return _weight_name(node.src[0].contents.name).startswith("blk.")

    def _inputs(self, node: _Tensor) -> Inputs:
        """What the sums depend on: nodes of a graph all live at once, so addresses tell them."""
        ids = ctypes.addressof(node.src[2].contents) if node.op == self._mul_experts else 0
        matrices = int(node.src[0].contents.ne[2])
        return ctypes.addressof(node.src[1].contents), ids, matrices

    def _look(self, node: _Tensor) -> bool:
        look = _by_expert if node.op == self._mul_experts else _by_matrix
        self._found[self._inputs(node)] = look(node)
        return True

    def _store(self, name: str, sums: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        if name not in self.sums:
            self.sums[name] = np.zeros(sums.shape)
            self.counts[name] = np.zeros(len(counts), np.int64)
        self.sums[name] += sums
        self.counts[name] += counts


def _by_expert(node: _Tensor) -> Sums:
    """Sums over the tokens that were routed to each expert."""
    experts = int(node.src[0].contents.ne[2])
    x = _fetch(node.src[1].contents, np.float32)[0]  # [tokens, used or 1, row length]
    ids = _fetch(node.src[2].contents, np.int32)[0, 0]  # [tokens, used]
    squares = np.square(x).reshape(-1, x.shape[-1])
    order = np.argsort(ids, axis=None, kind="stable")
    rows = order if x.shape[1] == ids.shape[1] else order // ids.shape[1]
    counts = np.bincount(ids.reshape(-1), minlength=experts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[counts > 0]
    total = np.zeros((experts, x.shape[-1]))
    total[counts > 0] = np.add.reduceat(squares[rows], starts, axis=0)
    return _finite(total), counts


def _by_matrix(node: _Tensor) -> Sums:
    """Sums over all rows, for each matrix of the weight."""
    matrices = int(node.src[0].contents.ne[2])
    x = _fetch(node.src[1].contents, np.float32)  # [ne3, ne2, rows, row length]
    parts = x.reshape(-1, matrices, *x.shape[2:])
    total = np.einsum("bmrc,bmrc->mc", parts, parts, dtype=np.float32).astype(np.float64)
    return _finite(total), np.array([parts.shape[0] * parts.shape[2]])


def _finite(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(sums).all():
        raise BuildError("activations are not finite; the source file is damaged")
    return sums
