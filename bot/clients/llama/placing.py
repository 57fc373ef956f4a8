"""What each device would hold of a model, as llama.cpp itself places it: nothing is loaded."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llama_cpp import llama_cpp as c

from bot.clients.llama.library import ggml_base, ggml_type, start
from bot.clients.llama.paper import CUDA, RPC, PaperDevice, ask_for_sizes
from bot.errors import BuildError

KINDS = {"cuda": CUDA, "rpc": RPC}
BATCH = 2048  # tokens that llama-server takes at once: its default
_COMPUTE = re.compile(r"(\S{1,64}) compute buffer size = {1,16}(\d{1,12}\.\d{1,4}) MiB")
_CACHE = "cache_"  # llama.cpp's names of what a layer remembers
_MIB = 1 << 20


class _Override(ctypes.Structure):
    """struct llama_model_tensor_buft_override (llama.h)."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p)]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A model in memory, as llama-server's options say it, on so many cards.

    `layers` are those on devices, counted from the last, the output matrix being one; -1: all.
    `parts` says how many of them each device takes, `in_memory` of which layers the experts stay
    in main memory, and `everything` puts on the first device what llama.cpp would never put there.
    """

    cards: int
    kind: Literal["cuda", "rpc"] = "cuda"
    n_ctx: int = 4096
    cache_type: str = "F16"
    micro_batch: int = 512
    sequences: int = 1
    outputs: int = 1  # tokens of a batch whose logits are wanted: llama-server's; 0: of all
    layers: int = -1
    parts: tuple[int, ...] = ()
    in_memory: tuple[int, ...] = ()
    everything: bool = False


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a device holds, in bytes: of each weight, of what layers remember, and to compute in."""

    weights: dict[str, int]
    cache: dict[str, int]
    compute: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.weights.values()) + sum(self.cache.values()) + self.compute


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What each device holds, and what main memory holds to compute in."""

    devices: tuple[Held, ...]
    host_compute: int


def experts_pattern(layers: Sequence[int]) -> str:
    """The names of all experts' weights in some layers, as `-ot` takes them (common/common.h)."""
    numbers = "|".join(str(layer) for layer in sorted(layers))
    return rf"blk\.({numbers})\.ffn_(up|down|gate|gate_up)_(ch|)exps"


def place(path: Path, asked: Asked) -> Placed:
    """Have llama.cpp place the model of a file, of which only the header is read.

    For a process of its own. Raises BuildError where llama.cpp refuses the file or the context.
    """
    log = start()
    log.forget()
    with log.captured() as pieces, ExitStack() as kept:
        devices = [
            PaperDevice(kind=KINDS[asked.kind], number=number) for number in range(asked.cards)
        ]
        parameters, behind = _model_parameters(asked, devices)
        kept.callback(behind.clear)  # llama.cpp looks at some of it after loading
        model = c.llama_model_load_from_file(os.fsencode(path), parameters)
        if not model:
            raise BuildError(f"llama.cpp could not read {path.name}: {log.reason()}")
        kept.callback(c.llama_model_free, model)
        for device in devices:
            device.sizes.clear()
        context = c.llama_init_from_model(model, _context_parameters(asked))
        if not context:
            raise BuildError(f"no context of {asked.n_ctx} tokens: {log.reason()}")
        kept.callback(c.llama_free, context)
        # what layers remember is asked for while it is made, in part; weights are asked for below
        remembered = [_remembered(device.sizes) for device in devices]
        for device in devices:
            device.sizes.clear()
        ask_for_sizes(context)
        asked_for = [dict(device.sizes) for device in devices]
    compute = _compute("".join(pieces))
    return Placed(
        devices=tuple(
            Held(
                weights={n: size for n, size in sizes.items() if not n.startswith(_CACHE)},
                cache=before | _remembered(sizes),
                compute=compute.get(device.name, 0),
            )
            for device, before, sizes in zip(devices, remembered, asked_for, strict=True)
        ),
        host_compute=sum(size for n, size in compute.items() if n not in {d.name for d in devices}),
    )


def _remembered(sizes: dict[str, int]) -> dict[str, int]:
    return {name: size for name, size in sizes.items() if name.startswith(_CACHE)}


def _compute(log: str) -> dict[str, int]:
    """Bytes by buffer, to a hundredth of a MiB, as llama.cpp's log tells them."""
    return {name: int(float(size) * _MIB) for name, size in _COMPUTE.findall(log)}


def _model_parameters(asked: Asked, devices: Sequence[PaperDevice]) -> tuple[Any, list[Any]]:
    """llama_model_params, and what they point to."""
    parameters = c.llama_model_default_params()
    parameters.no_alloc, parameters.load_mode = True, 0  # LLAMA_LOAD_MODE_NONE
    parameters.n_gpu_layers = asked.layers if devices else 0
    addresses = (ctypes.c_void_p * (len(devices) + 1))(*(d.address for d in devices), None)
    parameters.devices = ctypes.cast(addresses, ctypes.c_void_p)
    parts = (ctypes.c_float * max(int(c.llama_max_devices()), len(devices)))(*asked.parts)
    if asked.parts:
        parameters.tensor_split = parts
    patterns = _overrides(asked, devices)
    overrides = (_Override * (len(patterns) + 1))()
    for row, (pattern, buffer_type) in zip(overrides, patterns, strict=False):
        row.pattern, row.buft = pattern.encode(), buffer_type
    if patterns:
        parameters.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
    return parameters, [addresses, parts, overrides]


def _overrides(asked: Asked, devices: Sequence[PaperDevice]) -> list[tuple[str, int]]:
    base = ggml_base()
    base.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
    patterns = []
    if asked.in_memory:
        patterns.append((experts_pattern(asked.in_memory), base.ggml_backend_cpu_buffer_type()))
    if asked.everything:
        patterns.append((".", devices[0].buffer_type))
    return patterns


def _context_parameters(asked: Asked) -> Any:
    parameters = c.llama_context_default_params()
    parameters.n_ctx, parameters.n_seq_max = asked.n_ctx, asked.sequences
    parameters.n_batch, parameters.n_ubatch = max(BATCH, asked.micro_batch), asked.micro_batch
    parameters.n_outputs_max = asked.outputs
    parameters.kv_unified = True
    parameters.type_k = parameters.type_v = ggml_type(asked.cache_type)
    return parameters
