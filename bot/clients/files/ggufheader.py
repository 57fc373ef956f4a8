"""The raw header of a GGUF file: parsing it within bounds, and writing one.

Format: docs/gguf.md of ggml. Keys and values stay the bytes they are, so that a header can be
written as llama.cpp's own functions write it. Files are strangers': every count and length is
bounded before anything is allocated for it, so that no header takes a second or 100 MB to refuse.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from bot.errors import SourceError
from bot.foreign import START, require_itself

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT
MOST_KEYS, MOST_TENSORS, LONGEST_KEY, MOST_DIMENSIONS = 10_000, 65_536, 1_024, 4
MOST_STRINGS = 1 << 21  # in all arrays; 262,144 tokens come with about twice as many merges
MOST_WEIGHTS = 1 << 48  # of a tensor
MOST_TEXT = 8 << 20  # bytes of all texts outside of arrays; the longest are chat templates
LARGEST = 48 << 20  # bytes of a header; the largest vocabularies take some 20 MB
FIRST = 1 << 20  # bytes of a file far away that are asked for at first

U16, U32, I32, STRING, ARRAY = 2, 4, 5, 8, 9
_LENGTH = struct.Struct("<Q")
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@dataclass(frozen=True, kw_only=True, slots=True)
class RawTensor:
    """A tensor's entry: shape as written, type as its number, offset from the first data byte."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True, kw_only=True)
class RawHeader:
    """A header: each key with all its bytes (key, type, value), tensors, where data begins."""

    keys: Mapping[str, bytes]
    tensors: tuple[RawTensor, ...]
    data_offset: int


class _Reader:
    """A position in a header's bytes. Every length is checked against the bytes that remain."""

    def __init__(self, data: mmap.mmap | bytes, path: Path | str) -> None:
        self._data, self._path, self.at = data, path, 0
        self._end = min(len(data), LARGEST)
        self._strings, self._text = MOST_STRINGS, MOST_TEXT

    def take(self, size: int) -> int:
        """Step over `size` bytes; returns where they began."""
        if size < 0 or size > self._end - self.at:
            raise SourceError(f"{self._path} has a damaged header; fetch or convert it again")
        start, self.at = self.at, self.at + size
        return start

    def number(self, form: str) -> int:
        """One little-endian integer."""
        return int(struct.unpack_from(form, self._data, self.take(struct.calcsize(form)))[0])

    def count(self, form: str, most: int) -> int:
        """An unsigned count of at most `most`. Raises SourceError."""
        number = self.number(form)
        if not 0 <= number <= most:
            raise SourceError(f"{self._path} has a damaged header; fetch or convert it again")
        return number

    def entries(self, what: str, most: int, smallest: int) -> int:
        """How many keys or tensors of at least `smallest` bytes there are."""
        count = self.number("<q")
        if most < count <= len(self._data) // smallest:
            raise SourceError(
                f"{self._path} has {count:,} {what}, more than the {most:,} that this apex-bot "
                "reads; choose another model"
            )
        if not 0 <= count <= most:
            raise SourceError(f"{self._path} has a damaged header; fetch or convert it again")
        return count

    def raw(self, start: int) -> bytes:
        """Bytes from `start` to here."""
        return self._data[start : self.at]

    def start(self, most: int) -> bytes:
        """The first bytes of the file, at most so many."""
        return self._data[:most]

    def string(self, longest: int) -> str:
        """A short string, strictly UTF-8."""
        size = self.count("<Q", longest)
        start = self.take(size)
        try:
            return self.raw(start).decode("utf-8")
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{self._path} has a name that is not text; convert it again"
            ) from error

    def skip_value(self, kind: int) -> None:
        """Step over a value; arrays of arrays are not written by anybody."""
        if kind in _SIZES:
            self.take(_SIZES[kind])
        elif kind == STRING:
            self._skip_text(self.number("<Q"))
        elif kind == ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _SIZES:
                self.take(_SIZES[inner] * count)
            elif inner == STRING:
                self._skip_strings(count)
            else:
                self.take(-1)
        else:
            self.take(-1)

    def _skip_text(self, size: int) -> None:
        """Step over a text of `size` bytes."""
        self.take(size)
        self._text -= size
        if self._text < 0:
            raise SourceError(
                f"{self._path} has texts of more than the {MOST_TEXT:,} bytes that this apex-bot "
                "reads; choose another model"
            )

    def _skip_strings(self, count: int) -> None:
        """Step over many strings: the one loop whose speed matters."""
        self._strings -= count
        if self._strings < 0:
            self.take(-1)
        at, last, data, length = self.at, self._end - 8, self._data, _LENGTH.unpack_from
        for _ in range(count):
            if at > last:
                self.take(-1)
            at += 8 + length(data, at)[0]
        self.take(at - self.at)


def read_header(path: Path) -> RawHeader:
    """The header of one GGUF file. Raises SourceError for anything that is not whole and sane."""
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise SourceError(f"{path} is empty; fetch or convert it again") from error
        with data:
            return _parse(_Reader(data, path), path)


def parse_header(content: bytes, name: str) -> RawHeader:
    """The header at the beginning of `content`, of a file called `name`. Raises as `read_header`.

    Where data begins may lie behind the end of `content`.
    """
    return _parse(_Reader(content, name), name)


def write_stand_in(fetch: Callable[[int, int], bytes], size: int, target: Path) -> None:
    """A file of `size` bytes that holds only the header of a GGUF file far away.

    `fetch` gives its bytes from a start to a stop; no byte is asked for twice. Raises SourceError
    for a file that is not GGUF or whose header does not end.
    """
    most, stop = min(size, LARGEST), FIRST
    with target.open("wb") as file:
        while True:
            file.write(fetch(file.tell(), min(stop, most)))
            file.flush()
            try:
                read_header(target)
            except SourceError:
                if file.tell() >= most or not _is_gguf(target):
                    raise
                stop *= 4
            else:
                break
        file.truncate(size)


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def _parse(reader: _Reader, path: Path | str) -> RawHeader:
    reader.take(4)
    if reader.raw(0) != MAGIC:
        require_itself(reader.start(START), path)
    if reader.raw(0) != MAGIC or reader.number("<I") not in (2, VERSION):
        raise SourceError(f"{path} is not a GGUF file of version 2 or 3; convert it again")
    tensors = reader.entries("tensors", MOST_TENSORS, 24)
    keys = {}
    for _ in range(reader.entries("keys", MOST_KEYS, 13)):
        start = reader.at
        key = reader.string(LONGEST_KEY)
        reader.skip_value(reader.number("<I"))
        if key in keys:
            raise SourceError(f"{path} has {key[:120]!r} twice; fetch or convert it again")
        keys[key] = reader.raw(start)
    entries = tuple(_entry(reader) for _ in range(tensors))
    if len({entry.name for entry in entries}) < tensors:
        raise SourceError(f"{path} has two tensors of one name; fetch or convert it again")
    alignment = alignment_of(keys)
    return RawHeader(keys=keys, tensors=entries, data_offset=-(-reader.at // alignment) * alignment)


def _entry(reader: _Reader) -> RawTensor:
    name = reader.string(LONGEST_KEY)
    dimensions = reader.count("<I", MOST_DIMENSIONS)
    shape = tuple(reader.count("<q", MOST_WEIGHTS) for _ in range(dimensions))
    if prod(shape) > MOST_WEIGHTS:
        reader.take(-1)
    return RawTensor(name=name, shape=shape, type=reader.number("<I"), offset=reader.number("<Q"))


_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_WHOLE = {0, 1, 2, 3, 4, 5, 10, 11}

Plain = int | str
Value = int | float | bool | str | list[Any]


def values(keys: Mapping[str, bytes]) -> dict[str, Plain]:
    """Those keys whose values are integers or strings, strictly UTF-8; others are left out."""
    kinds = {key: _kind(key, raw)[0] for key, raw in keys.items()}
    plain = {key: keys[key] for key, kind in kinds.items() if kind in _WHOLE or kind == STRING}
    return {
        key: value
        for key, raw in plain.items()
        if isinstance(value := header_contents(key, raw), Plain)
    }


def header_contents(key: str, raw: bytes) -> Value:
    """The value in the bytes of a key, strictly UTF-8. Raises SourceError for text that is none."""
    kind, at = _kind(key, raw)
    if kind != ARRAY:
        return _scalar(key, raw, kind, at)
    inner, count = struct.unpack_from("<IQ", raw, at)
    if inner != STRING:
        return list(struct.unpack_from(f"<{count}{_FORMS[inner]}", raw, at + 12))
    at, texts = at + 12, []
    for _ in range(count):
        text = _scalar(key, raw, STRING, at)
        at += 8 + _LENGTH.unpack_from(raw, at)[0]
        texts.append(text)
    return texts


def length(key: str, raw: bytes) -> int:
    """Elements of an array in the bytes of a key; 1 for any other value."""
    kind, at = _kind(key, raw)
    return int(_LENGTH.unpack_from(raw, at + 4)[0]) if kind == ARRAY else 1


def _kind(key: str, raw: bytes) -> tuple[int, int]:
    """The type of a key's value and where it begins."""
    at = 8 + len(key.encode())
    return int(struct.unpack_from("<I", raw, at)[0]), at + 4


def _scalar(key: str, raw: bytes, kind: int, at: int) -> int | float | bool | str:
    if kind != STRING:
        number: int | float | bool = struct.unpack_from(f"<{_FORMS[kind]}", raw, at)[0]
        return number
    (size,) = _LENGTH.unpack_from(raw, at)
    try:
        return raw[at + 8 : at + 8 + size].decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{key[:120]!r} holds no text; fetch it again") from error


def alignment_of(keys: Mapping[str, bytes]) -> int:
    """`general.alignment` where a file has one."""
    raw = keys.get("general.alignment")
    alignment = struct.unpack("<I", raw[-4:])[0] if raw is not None else ALIGNMENT
    is_sane = 0 < alignment <= 1 << 20 and alignment & (alignment - 1) == 0
    return alignment if is_sane else ALIGNMENT


def u16(key: str, value: int) -> bytes:
    """A key with a u16."""
    return _key(key) + struct.pack("<IH", U16, value)


def u32(key: str, value: int) -> bytes:
    """A key with a u32."""
    return _key(key) + struct.pack("<II", U32, value)


def i32(key: str, value: int) -> bytes:
    """A key with an i32."""
    return _key(key) + struct.pack("<Ii", I32, value)


def text_value(key: str, value: str) -> bytes:
    """A key with a string."""
    data = value.encode()
    return _key(key) + struct.pack("<IQ", STRING, len(data)) + data


def _key(key: str) -> bytes:
    data = key.encode()
    return struct.pack("<Q", len(data)) + data


def write_header(
    keys: Iterable[bytes], tensors: Sequence[tuple[str, Sequence[int], int, int]], alignment: int
) -> bytes:
    """A header of version 3, padded to where data begins.

    `tensors` are (name, shape, type number, bytes of data) in the order of their data. A shape is
    written without trailing ones, as ggml_n_dims counts.
    """
    raw = list(keys)
    parts = [MAGIC, struct.pack("<Iqq", VERSION, len(tensors), len(raw)), *raw]
    offset = 0
    for name, shape, kind, size in tensors:
        ne = list(shape)
        while len(ne) > 1 and ne[-1] == 1:
            ne.pop()
        parts.append(_key(name) + struct.pack(f"<I{len(ne)}qIQ", len(ne), *ne, kind, offset))
        offset += -(-size // alignment) * alignment
    joined = b"".join(parts)
    return joined + bytes(-len(joined) % alignment)
