"""llama.cpp's own quantization of a whole file, in process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

from bot.clients.llama.library import ggml_type, start
from bot.errors import BuildError


def quantize(
    source: Path,
    target: Path,
    *,
    file_type: int,
    overrides: Sequence[tuple[str, str]],
    imatrix: Mapping[str, NDArray[np.float32]] | None,
    notes: Sequence[tuple[str, int | str]] = (),
    threads: int,
    requantize: bool = False,
) -> None:
    """`llama_model_quantize`: the reference that every other engine must equal byte for byte.

    `overrides` are (regular expression, type) pairs, first match wins. `imatrix` maps a tensor's
    name to its flat row of weights, experts one after another. `notes` become metadata: ints are
    stored as u32, strings are cut at 127 bytes by llama.cpp. Raises BuildError with llama.cpp's
    own reason; a half-written `target` may remain.
    """
    log = start()
    log.lines.clear()
    params = c.llama_model_quantize_default_params()
    params.nthread, params.ftype, params.allow_requantize = threads, file_type, requantize
    types = [c.llama_model_tensor_override(p.encode(), ggml_type(t)) for p, t in overrides]
    if types:
        params.tt_overrides = _terminated(types, c.llama_model_tensor_override)
    if imatrix:
        rows = {name: np.ascontiguousarray(row, np.float32) for name, row in imatrix.items()}
        params.imatrix = _terminated(
            [
                c.llama_model_imatrix_data(
                    name.encode(), row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), row.size
                )
                for name, row in rows.items()
            ],
            c.llama_model_imatrix_data,
        )
    if notes:
        params.kv_overrides = _terminated([_note(*n) for n in notes], c.llama_model_kv_override)
    if c.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)):
        raise BuildError(f"llama.cpp could not quantize {source.name}: {log.reason()}")


def _terminated(items: Sequence[Any], kind: type[Any]) -> Any:
    """A C array with a zeroed last element."""
    return (kind * (len(items) + 1))(*items)


def _note(key: str, value: int | str) -> Any:
    note = c.llama_model_kv_override()
    note.key = key.encode()
    if isinstance(value, int):
        note.tag, note.value.val_i64 = c.LLAMA_KV_OVERRIDE_TYPE_INT, value
    else:
        note.tag, note.value.val_str = c.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()[:127]
    return note
