"""Devices on paper: llama.cpp places a model on graphics cards that this machine does not have.

`llama_model_params.no_alloc` makes llama.cpp read a file's header and reserve nothing; devices may
be given by address. So a card of any size is a struct of ours, with the properties by which
llama.cpp decides what lies where, and llama.cpp's own code tells what each device would hold. The
structs are ggml-backend-impl.h of the pinned version (GGML_BACKEND_API_VERSION 2). Nothing can be
computed on such a device. For a process of its own: llama.cpp ends it where something is amiss.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llama_cpp import llama_cpp as c

from bot.clients.llama.library import ggml_base
from bot.clients.llama.observer import GraphTensor, operation_number
from bot.errors import BuildError

_POINTER, _SIZE, _TEXT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
_API_VERSION = 2
_GPU = 1  # GGML_BACKEND_DEVICE_TYPE_GPU
ANY = 1 << 60  # bytes
_SOMEWHERE = 1 << 12  # the address of memory that is never touched


class _Table(ctypes.Structure):
    """A struct of function pointers, all of them None until they are set."""


def _table(*names: str) -> type[_Table]:
    return type("_Table", (_Table,), {"_fields_": [(name, _POINTER) for name in names]})


_BufferType = _table(
    *("get_name", "alloc_buffer", "get_alignment", "get_max_size", "get_alloc_size", "is_host"),
    *("device", "context"),
)
_Buffer = _table(
    *("free_buffer", "get_base", "init_tensor", "memset_tensor", "set_tensor", "get_tensor"),
    *("set_tensor_2d", "get_tensor_2d", "cpy_tensor", "clear", "reset"),
)
_Backend = _table(
    *("guid", "get_name", "free", "set_tensor_async", "get_tensor_async", "set_tensor_2d_async"),
    *("get_tensor_2d_async", "cpy_tensor_async", "synchronize", "graph_plan_create"),
    *("graph_plan_free", "graph_plan_update", "graph_plan_compute", "graph_compute"),
    *("event_record", "event_wait", "graph_optimize", "device", "context"),
)
_Device = _table(
    *("get_name", "get_description", "get_memory", "get_type", "get_props", "init_backend"),
    *("get_buffer_type", "get_host_buffer_type", "buffer_from_host_ptr", "supports_op"),
    *("supports_buft", "offload_op", "event_new", "event_free", "event_synchronize"),
    *("reg", "context"),
)


class _Registry(ctypes.Structure):
    """struct ggml_backend_reg."""

    _fields_ = [
        ("api_version", ctypes.c_int),
        *((name, _POINTER) for name in ("get_name", "get_device_count", "get_device")),
        *((name, _POINTER) for name in ("get_proc_address", "context")),
    ]


class _Properties(ctypes.Structure):
    """struct ggml_backend_dev_props."""

    _fields_ = [
        ("name", _TEXT),
        ("description", _TEXT),
        ("memory_free", _SIZE),
        ("memory_total", _SIZE),
        ("type", ctypes.c_int),
        ("device_id", _TEXT),
        *((name, ctypes.c_bool) for name in ("async_", "host_buffer", "buffer_from_host_ptr")),
        *((name, ctypes.c_bool) for name in ("events", "mmap_support")),
    ]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Properties of a sort of device, by which llama.cpp decides; sizes in bytes or numbers."""

    name: str
    alignment: int  # of a tensor in a buffer
    row_padding: int  # rows of quantized matrices are padded to a multiple of it
    takes_batches: bool  # computes large batches with weights that lie in main memory
    pipelines: bool  # runs beside the others, with copies of its inputs


# ggml-cuda.cu: alignment, get_alloc_size with MATRIX_ROW_PADDING, offload_op, caps
CUDA = Kind(name="CUDA", alignment=128, row_padding=512, takes_batches=True, pipelines=True)
# ggml-rpc.cpp over a server of CPU memory: the server's alignment, no offload_op, its caps
RPC = Kind(name="RPC", alignment=32, row_padding=0, takes_batches=False, pipelines=True)
_LARGE_BATCH = 32  # GGML_OP_OFFLOAD_MIN_BATCH of ggml-cuda.cu


@dataclass(eq=False)
class PaperDevice:
    """A device that has room for anything and holds nothing; keep it while llama.cpp may ask it.

    `sizes` are bytes of each tensor that llama.cpp asked about, by name, since they were cleared.
    """

    kind: Kind
    number: int
    sizes: dict[str, int] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"{self.kind.name}{self.number}"
        base = ggml_base()
        base.ggml_backend_buffer_init.argtypes = [_POINTER, _Buffer, _POINTER, _SIZE]
        base.ggml_backend_buffer_init.restype = _POINTER
        base.ggml_nbytes.argtypes, base.ggml_nbytes.restype = [_POINTER], _SIZE
        base.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
        base.ggml_row_size.restype = _SIZE
        base.ggml_is_quantized.argtypes = [ctypes.c_int]
        base.ggml_is_quantized.restype = ctypes.c_bool
        base.ggml_backend_buffer_get_type.argtypes = [_POINTER]
        base.ggml_backend_buffer_get_type.restype = _POINTER
        self._base = base
        self._registry, self._device = _Registry(api_version=_API_VERSION), _Device()
        self._buffers, self._buffer, self._backend = _BufferType(), _Buffer(), _Backend()
        self._text = ctypes.create_string_buffer(self.name.encode())
        self._event = (_POINTER * 2)(self.address, None)
        self._fill()

    @property
    def address(self) -> int:
        """What llama.cpp calls the device, a ggml_backend_dev_t."""
        return ctypes.addressof(self._device)

    @property
    def buffer_type(self) -> int:
        """What llama.cpp calls memory of the device, a ggml_backend_buffer_type_t."""
        return ctypes.addressof(self._buffers)

    def _function(self, result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], int]:
        def take(function: Callable[..., Any]) -> int:
            pointer = ctypes.CFUNCTYPE(result, *arguments)(function)
            self._kept.append(pointer)
            return ctypes.cast(pointer, _POINTER).value or 0

        return take

    def _fill(self) -> None:
        name = self._function(_POINTER, _POINTER)(lambda _: ctypes.addressof(self._text))
        nothing = self._function(None, _POINTER)(lambda _: None)
        self._fill_registry(name)
        self._fill_buffers(name, nothing)
        self._fill_backend(name, nothing)
        self._fill_device(name)

    def _fill_registry(self, name: int) -> None:
        self._registry.get_name = name
        self._registry.get_device_count = self._function(_SIZE, _POINTER)(lambda _: 1)
        self._registry.get_device = self._function(_POINTER, _POINTER, _SIZE)(
            lambda _reg, _index: self.address
        )
        self._registry.get_proc_address = self._function(_POINTER, _POINTER, _TEXT)(
            lambda _reg, _name: None
        )

    def _fill_buffers(self, name: int, nothing: int) -> None:
        table = self._buffers
        table.get_name, table.device = name, self.address
        table.alloc_buffer = self._function(_POINTER, _POINTER, _SIZE)(self._allocate)
        table.get_alignment = self._function(_SIZE, _POINTER)(lambda _: self.kind.alignment)
        table.get_alloc_size = self._function(_SIZE, _POINTER, _POINTER)(self._size)
        table.is_host = self._function(ctypes.c_bool, _POINTER)(lambda _: False)
        buffer, tensor = self._buffer, (_POINTER, _POINTER)
        buffer.free_buffer = nothing
        buffer.get_base = self._function(_POINTER, _POINTER)(lambda _: _SOMEWHERE)
        buffer.clear = self._function(None, _POINTER, ctypes.c_uint8)(lambda _b, _v: None)
        buffer.set_tensor = self._function(None, *tensor, _POINTER, _SIZE, _SIZE)(lambda *_: None)

    def _fill_backend(self, name: int, nothing: int) -> None:
        table = self._backend
        self._guid = (ctypes.c_uint8 * 16)(*b"paper device    ")
        table.guid, table.device = ctypes.addressof(self._guid), self.address
        table.get_name, table.free = name, nothing
        table.synchronize = nothing
        table.event_record = table.event_wait = self._function(None, _POINTER, _POINTER)(
            lambda _b, _e: None
        )

    def _fill_device(self, name: int) -> None:
        table, device = self._device, _POINTER
        table.get_name = table.get_description = name
        table.reg = ctypes.addressof(self._registry)
        sizes = ctypes.POINTER(_SIZE)
        table.get_memory = self._function(None, device, sizes, sizes)(self._tell_memory)
        table.get_type = self._function(ctypes.c_int, device)(lambda _: _GPU)
        properties = ctypes.POINTER(_Properties)
        table.get_props = self._function(None, device, properties)(self._tell_properties)
        table.init_backend = self._function(_POINTER, device, _TEXT)(
            lambda _dev, _params: ctypes.addressof(self._backend)
        )
        table.get_buffer_type = self._function(_POINTER, device)(lambda _: self.buffer_type)
        table.supports_op = self._function(ctypes.c_bool, device, _POINTER)(lambda _d, _op: True)
        table.supports_buft = self._function(ctypes.c_bool, device, _POINTER)(
            lambda _d, buft: buft == self.buffer_type
        )
        if self.kind.takes_batches:
            table.offload_op = self._function(ctypes.c_bool, device, _POINTER)(self._takes)
        if self.kind.pipelines:
            event = self._function(_POINTER, device)(lambda _: ctypes.addressof(self._event))
            table.event_new = event
            table.event_free = table.event_synchronize = self._function(None, device, _POINTER)(
                lambda _d, _e: None
            )

    def _allocate(self, _buft: int, size: int) -> int:
        return int(self._base.ggml_backend_buffer_init(self.buffer_type, self._buffer, None, size))

    def _size(self, _buft: int, address: int) -> int:
        tensor = GraphTensor.from_address(address)
        size = int(self._base.ggml_nbytes(address))
        padding = self.kind.row_padding
        if padding and self._base.ggml_is_quantized(tensor.type) and tensor.ne[0] % padding:
            missing = padding - tensor.ne[0] % padding
            size += int(self._base.ggml_row_size(tensor.type, missing))
        padded = -(-size // self.kind.alignment) * self.kind.alignment
        # what a graph computes, and what it is given, is no weight and nothing that stays; of a
        # tensor that lies elsewhere it is asked how large a copy would be
        stays = not tensor.view_src and not tensor.flags and tensor.op == operation_number("NONE")
        if stays and (not tensor.buffer or self._owns(tensor.buffer)):
            self.sizes[tensor.name.decode("utf-8", "replace")] = padded
        return size

    def _owns(self, buffer: int) -> bool:
        return bool(self._base.ggml_backend_buffer_get_type(buffer) == self.buffer_type)

    def _tell_memory(self, _device: int, free: Any, total: Any) -> None:
        free[0] = total[0] = ANY

    def _tell_properties(self, _device: int, properties: Any) -> None:
        out = properties[0]
        out.name = out.description = ctypes.addressof(self._text)
        out.memory_free = out.memory_total = ANY
        out.type, out.device_id = _GPU, None
        out.async_ = out.events = self.kind.pipelines
        out.host_buffer = out.buffer_from_host_ptr = False
        out.mmap_support = True

    def _takes(self, _device: int, address: int) -> bool:
        tensor = GraphTensor.from_address(address)
        if tensor.op == operation_number("GET_ROWS"):
            return False
        if tensor.op == operation_number("MUL_MAT"):
            return int(tensor.ne[1]) >= _LARGE_BATCH
        if tensor.op in (operation_number("MUL_MAT_ID"), operation_number("ROPE")):
            return int(tensor.ne[2]) >= _LARGE_BATCH
        return int(tensor.ne[1] * tensor.ne[2] * tensor.ne[3]) >= _LARGE_BATCH


class _Breakdown(ctypes.Structure):
    """Room for the std::map that llama_get_memory_breakdown returns, of which nothing is read."""

    _fields_ = [("room", ctypes.c_uint8 * 256)]


def ask_for_sizes(context: Any) -> None:
    """Make llama.cpp ask every device for the size of each tensor that it would hold.

    By llama_get_memory_breakdown (llama-ext.h). Raises BuildError where the library has it not.
    """
    library: Any = c._lib
    # the name that GCC and Clang give it; Microsoft's compiler has another, and no such struct
    function = getattr(library, "_Z26llama_get_memory_breakdownPK13llama_context", None)
    if function is None:
        raise BuildError("this llama.cpp does not tell what a device would hold; install the pin")
    function.argtypes, function.restype = [_POINTER], _Breakdown
    function(context)
