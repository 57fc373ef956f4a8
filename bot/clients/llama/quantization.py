"""llama.cpp's own quantization of a whole file, in process."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

from bot.clients.llama.library import ggml_type, start
from bot.errors import BuildError


def quantize_file(
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
    """`llama_model_quantize`: the reference that the one pass must equal byte for byte.

    `overrides` are (regular expression, type) pairs, first match wins. `imatrix` maps a tensor's
    name to its flat row of weights, experts one after another. `notes` become metadata: ints are
    stored as u32, strings are cut at 127 bytes by llama.cpp. Raises BuildError with llama.cpp's
    own reason; a half-written `target` may remain.
    """
    params = c.llama_model_quantize_default_params()
    params.nthread, params.ftype, params.allow_requantize = threads, file_type, requantize
    types = [c.llama_model_tensor_override(p.encode(), ggml_type(t)) for p, t in overrides]
    if types:
        params.tt_overrides = _terminated(types, c.llama_model_tensor_override)
    rows = {name: np.ascontiguousarray(row, np.float32) for name, row in (imatrix or {}).items()}
    if rows:
        params.imatrix = _weights(rows)
    if notes:
        params.kv_overrides = _terminated([_note(*n) for n in notes], c.llama_model_kv_override)
    _run(source, target, params)


_TYPE_LINE = re.compile(
    r"^\[ *\d+/ *\d+\] (\S+) +- \[.*?\], type = +(\w+), size = +[\d.]+ MiB"
    r"(?: -> +[\d.]+ MiB \((\w+)\))?$",
    re.MULTILINE,
)


def chosen_types(source: Path, file_type: int, *, imatrix: bool) -> dict[str, str]:
    """The type that llama.cpp itself gives each tensor in a file type, by name.

    A dry run, which tells the types in its log (llama_model_quantize_impl of llama-quant.cpp) and
    writes nothing; that there is an importance matrix decides some of them, its numbers do not.
    Raises BuildError with llama.cpp's own reason, and when it cannot do without a matrix.
    """
    params = c.llama_model_quantize_default_params()
    params.ftype, params.dry_run = file_type, True
    some = {"any": np.ones(1, np.float32)}
    if imatrix:
        params.imatrix = _weights(some)
    with start().captured() as lines:
        _run(source, source, params)
    text = "".join(lines)
    if "will require an imatrix" in text:
        raise BuildError("this file type needs an importance matrix; put I- before its name")
    types = {name: (new or old).upper() for name, old, new in _TYPE_LINE.findall(text)}
    if not types:
        raise BuildError(
            f"llama.cpp did not tell the types of {source.name}; install apex-bot's own version"
        )
    return types


def _run(source: Path, target: Path, params: Any) -> None:
    log = start()
    log.forget()
    if c.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)):
        raise BuildError(f"llama.cpp could not quantize {source.name}: {log.reason()}")


def _weights(rows: Mapping[str, NDArray[np.float32]]) -> Any:
    """`rows` must outlive what this returns."""
    pointer = ctypes.POINTER(ctypes.c_float)
    return _terminated(
        [
            c.llama_model_imatrix_data(name.encode(), row.ctypes.data_as(pointer), row.size)
            for name, row in rows.items()
        ],
        c.llama_model_imatrix_data,
    )


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


def to_bf16(source: Path, target: Path, threads: int) -> None:
    """Expand a Q8_0 file to BF16 (file type 32); tensors kept in f32 stay as they are."""
    quantize_file(
        source,
        target,
        file_type=32,
        overrides=(),
        imatrix=None,
        threads=threads,
        requantize=True,
    )
