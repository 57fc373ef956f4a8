"""The installed llama.cpp: its libraries, versions, types and devices, and its log."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as c

from bot.clients.rpc_servers import reached
from bot.disk.own_build import build_id, library_in, own_folder
from bot.errors import BuildError

_LOG_LIMIT = 40
REASON = 300  # characters
WARNING, ERROR = 3, 4  # GGML_LOG_LEVEL_WARN and _ERROR of ggml.h; the binding numbers them wrongly
# what every caller on the way up adds to a reason, and says none
_NO_REASON = re.compile(r"(?:llama_model_loader: )?failed to load (?:the )?model(?: from .*)?")
_WHO = re.compile(r"\A\w{1,64}: (?:error loading model: )?")
TYPES = int(c.GGML_TYPE_COUNT)
ROOM = 4096  # bytes: more than any struct of parameters has
OBJECT = 32  # bytes of struct ggml_object (ggml.c)


class Log:
    """The last warnings and errors of llama.cpp, so that an error of ours can carry its reason."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self._captured: list[str] | None = None
        self.callback = llama_cpp.llama_log_callback(self._take)
        c.llama_log_set(self.callback, ctypes.c_void_p(0))

    def _take(self, level: int, text: bytes, _user: Any) -> None:
        line = text.decode("utf-8", "replace")
        if self._captured is not None:
            self._captured.append(line)
        line = line.strip()
        if not line.strip(".="):
            return
        if level == WARNING:
            self.warnings = [*self.warnings[1 - _LOG_LIMIT :], line]
        elif level == ERROR and len(self.errors) < _LOG_LIMIT:  # the reason comes first
            self.errors.append(line)

    def forget(self) -> None:
        """Drop earlier lines: they are no reason for a later failure."""
        self.warnings.clear()
        self.errors.clear()

    @contextmanager
    def captured(self) -> Iterator[list[str]]:
        """Collects the log of the block, in pieces as llama.cpp writes them."""
        self._captured = []
        try:
            yield self._captured
        finally:
            self._captured = None

    def contains(self, words: re.Pattern[str]) -> bool:
        """Whether any line since `forget` has these words."""
        return any(words.search(line) for line in (*self.errors, *self.warnings))

    def reason(self) -> str:
        """Why something failed, one line long: the errors in their order, the cause first.

        Each function of llama.cpp that hands an error up adds a line; those that only say that it
        failed are left out. Warnings count where there is no error.
        """
        plain = (" ".join(line.replace("===", "").split()) for line in self.errors)  # no frames
        bare = [_WHO.sub("", line, count=1) for line in plain]
        telling = [line for line in bare if not _NO_REASON.fullmatch(line)]
        lines = telling or bare or self.warnings[-1:] or ["llama.cpp gave no reason"]
        return "; ".join(dict.fromkeys(lines))[:REASON]


@cache
def start() -> Log:
    """The log of llama.cpp, whose backends are loaded by the first call of a process."""
    c.llama_backend_init()
    return Log()


@cache
def reach_servers() -> None:
    """Make the devices of RPC servers this process's, as common/arg.cpp of llama.cpp does.

    A server takes one client at a time, and others wait. Where nobody answers, ggml ends the
    process. Raises BuildError where the library has no RPC backend, or a server no device.
    """
    for server in reached():
        _register(server)


def _register(server: str) -> None:
    ggml, base = _ggml(), ggml_base()
    ggml.ggml_backend_reg_by_name.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_reg_by_name.restype = ctypes.c_void_p
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    base.ggml_backend_reg_get_proc_address.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    base.ggml_backend_reg_get_proc_address.restype = ctypes.c_void_p
    backend = ggml.ggml_backend_reg_by_name(b"RPC")
    if not backend:  # a library of its own, which nothing has loaded
        try:
            rpc = _library("ggml-rpc")
        except BuildError as error:
            raise BuildError(
                "this llama.cpp has no RPC backend; name a build with -DGGML_RPC=ON in "
                "llama.library, or leave llama.rpc out"
            ) from error
        rpc.ggml_backend_rpc_reg.restype = ctypes.c_void_p
        backend = rpc.ggml_backend_rpc_reg()
        ggml.ggml_backend_register(backend)
    address = base.ggml_backend_reg_get_proc_address(backend, b"ggml_backend_rpc_add_server")
    add = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(address)
    registered = add(server.encode())
    if not registered:
        raise BuildError(f"the RPC server {server} has no device; start it with one")
    ggml.ggml_backend_register(registered)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device llama.cpp can compute on; memory in bytes."""

    name: str  # CPU, CUDA0, …
    description: str
    kind: str  # cpu, gpu, igpu, accel
    memory_free: int
    memory_total: int


def _library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(_library_path(name)))


@cache
def base_digest() -> str:
    """SHA-256 of libggml-base, whose code decides every byte of a quantized row."""
    return sha256(_library_path("ggml-base").read_bytes()).hexdigest()


def _library_path(name: str) -> Path:
    own = own_folder()
    folder = own or Path(llama_cpp.__file__).parent / "lib"
    path = library_in(folder, name)
    if path is None:
        raise BuildError(f"{folder} lacks lib{name}; install llama-cpp-python again, or build it")
    return path


_KINDS = ("cpu", "gpu", "igpu", "accel", "meta")  # enum ggml_backend_dev_type, ggml-backend.h


@cache
def ggml_base() -> ctypes.CDLL:
    """libggml-base, with the signatures that this room calls. Raises BuildError without it."""
    base = _library("ggml-base")
    for name in ("ggml_version", "ggml_commit", "ggml_op_name", "ggml_type_name"):
        getattr(base, name).restype = ctypes.c_char_p
    for name in ("ggml_backend_dev_name", "ggml_backend_dev_description"):
        getattr(base, name).restype = ctypes.c_char_p
        getattr(base, name).argtypes = [ctypes.c_void_p]
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    base.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size, size]
    base.ggml_backend_dev_memory.restype = None
    base.ggml_backend_buffer_is_host.argtypes = [ctypes.c_void_p]
    base.ggml_backend_buffer_is_host.restype = ctypes.c_bool
    base.ggml_backend_tensor_get.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    ]
    base.ggml_backend_tensor_get.restype = None
    return base


@cache
def ggml_cpu() -> ctypes.CDLL | None:
    """The CPU's own library; None where a build divides it by processor."""
    try:
        return _library("ggml-cpu")
    except BuildError:
        return None


@cache
def _ggml() -> ctypes.CDLL:
    library = _library("ggml")
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    return library


def package_version() -> str:
    """Version of llama-cpp-python."""
    return str(llama_cpp.__version__)


def library_version() -> str:
    """llama.cpp's commit, where the library was built with one, and ggml's version."""
    base = ggml_base()
    version, commit = base.ggml_version().decode(), base.ggml_commit().decode()
    # every build of the source distribution calls itself dirty: it is a copy, not a checkout
    commit = commit.removesuffix("-dirty")
    own = own_folder()
    words = f"{commit} (ggml {version})" if commit not in ("", "unknown") else f"ggml {version}"
    return f"{words}, own build {build_id(own)}" if own else words


def known_build() -> str:
    """How llama.cpp stands in a job's key: by version, and by content where it is the user's."""
    own = own_folder()
    return f"{package_version()}+{build_id(own)}" if own else package_version()


def build_flags() -> str:
    """What the library was compiled with and for, as its tools print it."""
    return " ".join((c.llama_print_system_info() or b"").decode().split())


def devices() -> tuple[Device, ...]:
    """Every device the installed build finds, in llama.cpp's order; in a child servers' too."""
    start()
    reach_servers()
    base, ggml = ggml_base(), _ggml()
    return tuple(
        _device(base, ggml.ggml_backend_dev_get(i)) for i in range(ggml.ggml_backend_dev_count())
    )


def _device(base: ctypes.CDLL, handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    base.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    kind = base.ggml_backend_dev_type(handle)
    return Device(
        name=base.ggml_backend_dev_name(handle).decode(),
        description=base.ggml_backend_dev_description(handle).decode().strip(),
        kind=_KINDS[kind] if 0 <= kind < len(_KINDS) else "unknown",
        memory_free=free.value,
        memory_total=total.value,
    )


def device_list(names: Sequence[str]) -> ctypes.Array[ctypes.c_void_p]:
    """A NULL-terminated list of the named devices, as llama_model_params wants it."""
    base, ggml = ggml_base(), _ggml()
    handles = [ggml.ggml_backend_dev_get(i) for i in range(ggml.ggml_backend_dev_count())]
    by_name = {base.ggml_backend_dev_name(handle).decode(): handle for handle in handles}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise BuildError(
            f"llama.cpp has no device {missing[0]}, only {', '.join(by_name)}; change llama.devices"
        )
    return (ctypes.c_void_p * (len(names) + 1))(*(by_name[name] for name in names), None)


@cache
def _types() -> dict[str, int]:
    """Number of each type by its upper-case name, as ggml itself says; removed types left out."""
    names = {number: ggml_base().ggml_type_name(number) for number in range(TYPES)}
    return {name.decode().upper(): number for number, name in names.items() if name}


def ggml_type(name: str) -> int:
    """Number of a ggml type by its upper-case name. Raises BuildError for an unknown one."""
    if name not in _types():
        raise BuildError(f"llama.cpp {package_version()} has no type {name}; mend the profile")
    return _types()[name]


def type_name(number: int) -> str:
    """Upper-case name of a ggml type. Raises BuildError for a number that has none."""
    for name, type_number in _types().items():
        if type_number == number:
            return name
    raise BuildError(f"llama.cpp {package_version()} has no type number {number}")


def used_devices(
    installed: Sequence[Device], names: Sequence[str], *, gpu: bool
) -> tuple[Device, ...]:
    """The devices a model runs on: the named ones, else every GPU if wanted, else the CPU."""
    if names:
        return tuple(device for device in installed if device.name in names)
    gpus = tuple(device for device in installed if device.kind in ("gpu", "igpu"))
    return gpus if gpus and gpu else tuple(device for device in installed if device.kind == "cpu")


# ── how a library that is not the binding's own lays out what both fill ─────────────────────


def struct_bytes(struct: str | type[ctypes.Structure]) -> int:
    """Bytes of a struct as the binding, or this room, declares it."""
    return ctypes.sizeof(getattr(c, struct) if isinstance(struct, str) else struct)


def bytes_written(function: str) -> int:
    """Bytes of a large struct that a library's function gives by value, by what it overwrites.

    On x86-64 its place is the first argument (System V ABI, 3.2.3); padding at its end may stay.
    """
    give = getattr(ctypes.CDLL(str(_library_path("llama"))), function)
    give.restype, give.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    touched = 0
    for fill in (b"\xaa", b"\x55"):
        place = ctypes.create_string_buffer(fill * ROOM, ROOM)
        give(place)
        touched = max(touched, len(place.raw.rstrip(fill)))
    return touched


def defaults_of(function: str) -> Iterator[tuple[str, str]]:
    """Fields of a struct that a function gives by value, as the binding reads them.

    Of pointers only whether they are set.
    """
    struct = getattr(c, function)()
    for name, *_ in struct._fields_:
        value = getattr(struct, name)
        plain = isinstance(value, (bool, int, float)) and not name.endswith("_data")
        yield name, repr(value) if plain else str(bool(value))


def tensor_bytes() -> int:
    """Bytes of struct ggml_tensor: its overhead in a context, without its ggml_object (ggml.c)."""
    overhead = ggml_base().ggml_tensor_overhead
    overhead.restype = ctypes.c_size_t
    return int(overhead()) - OBJECT


def type_shapes() -> dict[str, tuple[int, int, int]]:
    """Each type's number, weights of a block, and bytes of one."""
    block, size = ggml_base().ggml_blck_size, ggml_base().ggml_type_size
    block.restype, size.restype = ctypes.c_int64, ctypes.c_size_t
    return {name: (number, block(number), size(number)) for name, number in _types().items()}
