"""The 16-bit model's tensors as its files have them, read matrix by matrix."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.files import gguf
from bot.clients.llama import ggml
from bot.clients.llama.library import type_name
from bot.errors import SourceError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredTensor:
    """A tensor of the file: `matrices` of `rows` rows of `length` weights, one after another."""

    name: str
    kind: str
    length: int
    rows: int
    matrices: int
    data: Bytes  # mapped: nothing is read before it is asked for

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return ggml.row_bytes(self.kind, self.length)

    def part(self, matrix: int, first: int, count: int) -> slice:
        """Where rows of a matrix lie in the tensor's data."""
        start = (matrix * self.rows + first) * self.row_bytes
        return slice(start, start + count * self.row_bytes)

    def numbers(self, matrix: int, first: int, count: int) -> Floats:
        """Rows of a matrix as f32, [count, length]."""
        out = np.empty(count * self.length, np.float32)
        ggml.to_f32(self.kind, np.array(self.data[self.part(matrix, first, count)]), out)
        return out.reshape(count, self.length)


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """All tensors of a model in one file or in shards, by name. Raises SourceError as headers do.

    And for a file that ends before its data does.
    """
    tensors = {}
    for file, header in gguf.raw_headers(path):
        mapped = np.memmap(file, np.uint8, "r")
        for raw in header.tensors:
            length, rows, *more = (*raw.shape, 1)
            start, kind = header.data_offset + raw.offset, type_name(raw.type)
            size = ggml.row_bytes(kind, length) * rows * prod(more)
            data = mapped[start : start + size]
            if data.size != size:
                raise SourceError(f"{file} ends before its data does; fetch or convert it again")
            tensors[raw.name] = StoredTensor(
                name=raw.name, kind=kind, length=length, rows=rows, matrices=prod(more), data=data
            )
    return tensors
