"""The importance matrix as llama.cpp wrote it before GGUF: a `.dat` file, read strictly.

Little-endian (tools/imatrix/imatrix.cpp, save_imatrix_legacy): i32 number of entries, each an i32
length and that many bytes of name, i32 calls, i32 number of values and as many f32, which are
mean squares times calls; then, if the file goes on, i32 chunks, i32 length and a dataset's name.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.errors import SourceError

MOST_ENTRIES = 100_000
LONGEST_NAME = 255  # of a tensor; ggml itself has room for 63
LONGEST_DATASET = 65_535


@dataclass(frozen=True, kw_only=True)
class LegacyEntry:
    """One weight: all experts after another, with a single count."""

    name: str
    calls: int
    values: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Legacy:
    """A `.dat` file: its entries, chunks, and the dataset's name, empty in the oldest."""

    entries: tuple[LegacyEntry, ...]
    chunks: int
    dataset: str


class _Reader:
    """Cursor over the file's bytes; every length is checked against the bytes that are left."""

    def __init__(self, data: bytes | mmap.mmap, path: Path) -> None:
        self._data, self._path, self.at = data, path, 0

    @property
    def left(self) -> int:
        return len(self._data) - self.at

    def wrong(self) -> SourceError:
        return SourceError(
            f"{self._path} is no importance matrix, or damaged; make one with `bot calibrate`"
        )

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise self.wrong()
        self.at += size
        return bytes(self._data[self.at - size : self.at])

    def number(self, low: int, high: int) -> int:
        (value,) = struct.unpack("<i", self.take(4))
        if not low <= value <= high:
            raise self.wrong()
        return int(value)

    def text(self, low: int, high: int) -> str:
        try:
            text = self.take(self.number(low, high)).decode()
        except UnicodeDecodeError as error:
            raise self.wrong() from error
        if not text.isprintable():
            raise self.wrong()
        return text


def read_legacy(path: Path) -> Legacy:
    """Parse a `.dat` file. Raises SourceError for anything that is not wholly one."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return _parse(_Reader(b"", path))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(_Reader(data, path))


def _parse(reader: _Reader) -> Legacy:
    entries: dict[str, LegacyEntry] = {}
    for _ in range(reader.number(1, MOST_ENTRIES)):
        entry = _entry(reader)
        if entry.name in entries:
            raise reader.wrong()
        entries[entry.name] = entry
    chunks, dataset = 0, ""
    if reader.left:  # the oldest files end here
        chunks = reader.number(0, 2**31 - 1)
        dataset = reader.text(0, LONGEST_DATASET) if reader.left else ""
    if reader.left:
        raise reader.wrong()
    return Legacy(entries=tuple(entries.values()), chunks=chunks, dataset=dataset)


def _entry(reader: _Reader) -> LegacyEntry:
    name = reader.text(1, LONGEST_NAME)
    calls = reader.number(1, 2**31 - 1)
    values = np.frombuffer(reader.take(4 * reader.number(1, reader.left // 4)), "<f4")
    return LegacyEntry(name=name, calls=calls, values=values.astype(np.float32, copy=False))
