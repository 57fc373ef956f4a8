"""The weights of a loaded model, read and written where they lie, on whatever device."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

from bot.clients.llama.library import ggml_base, type_name
from bot.clients.llama.observer import GraphTensor
from bot.errors import BuildError

Bytes = NDArray[np.uint8]
# llama_internal_get_tensor_map (llama-model.cpp), as compilers name it, and the bytes of a
# std::string of their library: it returns a std::vector<std::pair<std::string, ggml_tensor *>>
_MAPS = (
    ("_Z29llama_internal_get_tensor_mapB5cxx11PK11llama_model", 32),  # libstdc++
    ("_Z29llama_internal_get_tensor_mapPK11llama_model", 24),  # libc++
)
_POINTER = ctypes.sizeof(ctypes.c_void_p)


class LoadedWeights:
    """Weights of a model that is loaded without mapping its file, in the file's own layout.

    One tensor of the file can lie in two places: a token embedding that is the output matrix, too,
    is on the processor for the one use and on a device for the other (TENSOR_DUPLICATED in
    llama-model-loader.cpp). Both are written.
    """

    def __init__(self, model: Any) -> None:
        self._tensors = _tensors_of(model)
        self._one = threading.Lock()  # a device far away answers one request at a time

    def kind(self, name: str) -> str:
        """A tensor's type."""
        return type_name(self._places(name)[0].type)

    def bytes_of(self, name: str) -> int:
        """Size of a tensor's data."""
        base = ggml_base()
        base.ggml_nbytes.argtypes, base.ggml_nbytes.restype = [ctypes.c_void_p], ctypes.c_size_t
        return int(base.ggml_nbytes(ctypes.addressof(self._places(name)[0])))

    def read(self, name: str, start: int, size: int) -> Bytes:
        """A copy of `size` bytes of a tensor's data, from `start` on. Raises BuildError outside."""
        data = np.empty(size, np.uint8)
        self._require_inside(name, start, size)
        self._move("ggml_backend_tensor_get", self._places(name)[0], data, start)
        return data

    def write(self, name: str, start: int, data: Bytes) -> None:
        """Replace a tensor's bytes from `start` on. Raises BuildError outside of it."""
        self._require_inside(name, start, data.size)
        for tensor in self._places(name):
            self._move("ggml_backend_tensor_set", tensor, np.ascontiguousarray(data), start)

    def _require_inside(self, name: str, start: int, size: int) -> None:
        if start < 0 or start + size > self.bytes_of(name):
            raise BuildError(f"{name} has no bytes {start} to {start + size}")

    def _move(self, function: str, tensor: GraphTensor, data: Bytes, start: int) -> None:
        move = getattr(ggml_base(), function)
        move.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        move.restype = None
        with self._one:
            move(ctypes.addressof(tensor), data.ctypes.data, start, data.size)

    def _places(self, name: str) -> list[GraphTensor]:
        """Wherever a tensor of the file lies."""
        if name not in self._tensors:
            raise BuildError(f"the loaded model has no tensor {name}")
        return self._tensors[name]


def _tensors_of(model: Any) -> dict[str, list[GraphTensor]]:
    """All tensors of a loaded model, by the name in its file."""
    get, text_bytes = _map_of()
    begin, end = (ctypes.c_void_p * 2).from_address(get(model))
    tensors: dict[str, list[GraphTensor]] = {}
    for entry in range(begin or 0, end or 0, text_bytes + _POINTER):
        address = ctypes.c_void_p.from_address(entry + text_bytes).value
        tensor = GraphTensor.from_address(address or 0)
        tensors.setdefault(tensor.name.decode("utf-8", "replace"), []).append(tensor)
    return tensors


@cache
def _map_of() -> tuple[Any, int]:
    library: Any = c._lib
    for name, text_bytes in _MAPS:
        if (function := getattr(library, name, None)) is not None:
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            return function, text_bytes
    raise BuildError("this llama.cpp does not tell where weights lie; install the pin")
