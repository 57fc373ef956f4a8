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
# llama_model::get_tensor, as compilers name it (llama-model.h; Itanium and Microsoft C++ ABI)
_NAMES = (
    "_ZNK11llama_model10get_tensorEPKc",
    "?get_tensor@llama_model@@QEBAPEBUggml_tensor@@PEBD@Z",
)


class LoadedWeights:
    """Weights of a model that is loaded without mapping its file, in the file's own layout."""

    def __init__(self, model: Any) -> None:
        self._model, self._get = model, _getter()
        self._one = threading.Lock()  # a device far away answers one request at a time

    def kind(self, name: str) -> str:
        """A tensor's type."""
        return type_name(self._tensor(name).type)

    def bytes_of(self, name: str) -> int:
        """Size of a tensor's data."""
        base = ggml_base()
        base.ggml_nbytes.argtypes, base.ggml_nbytes.restype = [ctypes.c_void_p], ctypes.c_size_t
        return int(base.ggml_nbytes(ctypes.addressof(self._tensor(name))))

    def read(self, name: str, start: int, size: int) -> Bytes:
        """A copy of `size` bytes of a tensor's data, from `start` on. Raises BuildError outside."""
        data = np.empty(size, np.uint8)
        self._move("ggml_backend_tensor_get", name, data, start)
        return data

    def write(self, name: str, start: int, data: Bytes) -> None:
        """Replace a tensor's bytes from `start` on. Raises BuildError outside of it."""
        self._move("ggml_backend_tensor_set", name, np.ascontiguousarray(data), start)

    def _move(self, function: str, name: str, data: Bytes, start: int) -> None:
        if start < 0 or start + data.size > self.bytes_of(name):
            raise BuildError(f"{name} has no bytes {start} to {start + data.size}")
        move = getattr(ggml_base(), function)
        move.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        move.restype = None
        with self._one:
            move(ctypes.addressof(self._tensor(name)), data.ctypes.data, start, data.size)

    def _tensor(self, name: str) -> GraphTensor:
        address = self._get(self._model, name.encode())
        if not address:
            raise BuildError(f"the loaded model has no tensor {name}")
        return GraphTensor.from_address(address)


@cache
def _getter() -> Any:
    library: Any = c._lib
    function = next((f for n in _NAMES if (f := getattr(library, n, None)) is not None), None)
    if function is None:
        raise BuildError("this llama.cpp does not tell where weights lie; install the pin")
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_void_p
    return function
