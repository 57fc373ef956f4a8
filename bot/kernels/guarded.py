"""Rows that llama.cpp may not survive, quantized in a child: it ends there, not the bot.

ggml's searches end their process (GGML_ASSERT, ggml-quants.c) where no point of a grid is near
enough to compare, as of numbers near 1e15 none is.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.apart.errand import CrashedError, carry_out, sent
from bot.apart.sandbox import Limits
from bot.clients.llama import ggml
from bot.errors import BuildError, RefusedError

LARGE = np.float32(32768.0)  # numbers below are safe, with importance below HEAVY
HEAVY = np.float32(2.0**40)
SECONDS, MEMORY = 600.0, 8 << 30
RESULT = "rows"


def is_risky(kind: str, rows: NDArray[np.float32], weights: NDArray[np.float32] | None) -> bool:
    """Whether ggml could end the process over these rows."""
    if ggml.grid_of(kind) is None:
        return False
    safe = bool((np.abs(rows) < LARGE).all())
    return not safe or (weights is not None and not bool((np.abs(weights) < HEAVY).all()))


def quantize_apart(
    tensor: str,
    kind: str,
    rows: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    out: NDArray[np.uint8],
) -> None:
    """As `ggml.from_f32`, in a child.

    Raises RefusedError when llama.cpp ends that, BuildError for any other failure of it; both name
    the tensor.
    """
    order = {
        "kind": kind,
        "shape": list(rows.shape),
        "rows": _text(rows),
        "weights": None if weights is None else _text(weights),
    }
    limits = Limits(seconds=SECONDS, memory=MEMORY, name="llama.cpp")
    try:
        with sent(__name__, json.dumps(order), limits=limits) as folder:
            data = np.frombuffer((folder / RESULT).read_bytes(), np.uint8)
    except CrashedError as error:
        largest = float(np.abs(rows).max())
        raise RefusedError(
            f"{tensor} holds numbers up to {largest:.1e}, of which llama.cpp cannot make {kind} "
            f"({error}); leave the tier out, or give the tensor another type"
        ) from error
    except BuildError as error:
        raise BuildError(f"{tensor} as {kind}: {error}") from error
    if data.size != out.size:
        raise BuildError(f"a child made {data.size} bytes of {tensor} as {kind}, not {out.size}")
    out[:] = data


def _text(array: NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()


def _array(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), np.float32)


def _quantized(order: str, made: Path) -> None:
    """In the child: the order's rows as the library makes them."""
    values = json.loads(order)
    count, length = values["shape"]
    rows = _array(values["rows"]).reshape(count, length)
    weights = None if values["weights"] is None else _array(values["weights"])
    grid = ggml.grid_of(values["kind"])
    if grid is not None:
        ggml.prepare_grid(grid)
    out = np.zeros(ggml.row_bytes(values["kind"], length) * count, np.uint8)
    ggml.from_f32(values["kind"], rows, weights, out)
    (made / RESULT).write_bytes(out.tobytes())


if __name__ == "__main__":
    carry_out(_quantized)
