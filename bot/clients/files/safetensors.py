"""What safetensors files hold, read from their headers alone.

Format (github.com/huggingface/safetensors): 8 bytes with the header's length, little-endian, then
JSON: name → dtype, shape, data_offsets within the rest of the file. Files are strangers': all
sizes are bounded before anything is allocated for them.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from bot.errors import SourceError
from bot.foreign import printable, require_itself
from bot.legible import legible
from bot.records.model import HeaderTensor

Fetch = Callable[[str, int, int], bytes]  # path, start, stop → these bytes of the file

FIRST = 100_000  # bytes asked for at once; most headers are shorter
LARGE = 2_000_000  # bytes of a header beyond which one is read at a time
LONGEST = 32_000_000  # bytes of a header; safetensors itself allows 100 MB
MOST_TENSORS = 196_608  # of a file: 61 layers of 384 experts, with scales, are 140,544
MOST_BYTES = 1 << 50  # of a file
MOST_DIMENSIONS = 8
MOST_WEIGHTS = 1 << 48
LONGEST_NAME = 500

# bits of one element: `Dtype::bitsize`, safetensors/src/tensor.rs
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


_LARGE_HEADER = threading.Lock()  # held while a large header is read: some files are read at once

# ── one header ──────────────────────────────────────────────────────────────────────────────


def read_safetensors(fetch: Fetch, path: str, size: int) -> tuple[HeaderTensor, ...]:
    """Tensors of one file of `size` bytes, with at most two calls of `fetch`.

    Raises SourceError for anything but a whole safetensors file.
    """
    start = fetch(path, 0, min(FIRST, size))
    require_itself(start, path)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or not 2 <= length <= size - 8:
        raise _damaged(path, "its header is longer than the file")
    if length > LONGEST:
        raise _beyond(path, f"a header of {length:,} bytes")
    with _LARGE_HEADER if length > LARGE else contextlib.nullcontext():
        return _rest(fetch, path, size, start, 8 + length)


def _rest(fetch: Fetch, path: str, size: int, start: bytes, end: int) -> tuple[HeaderTensor, ...]:
    """The tensors of a header that ends at `end` and whose `start` is here."""
    header = start[8:end]
    if end > len(start):
        header += fetch(path, len(start), end)
    if len(header) < end - 8:
        raise _damaged(path, "its header is cut short")
    return parse_header(header, path, size - end)


def parse_header(header: bytes, path: str, room: int) -> tuple[HeaderTensor, ...]:
    """The tensors that a header names, whose data fills at most `room` bytes after it.

    Entry by entry, so that memory grows with the tensors that are kept and with nothing else.
    Raises SourceError for a header that is not JSON, not of the format, or not consistent.
    """
    tensors: dict[str, HeaderTensor] = {}
    starts, ends = array("q"), array("q")
    for name, entry in _entries(header, path):
        if name in tensors:
            raise _damaged(path, f"its tensor {_quoted(name)} is given twice")
        if len(tensors) == MOST_TENSORS:
            raise _beyond(path, f"more than {MOST_TENSORS:,} tensors")
        tensors[name] = _tensor(name, entry, path, starts, ends)
    _require_apart(starts, ends, path, room)
    return tuple(tensors.values())


# an entry of a header, bounded: no value of a tensor's holds a brace or a string of any length
_OTHER_JSON = tuple(bytes([sign]) for sign in b'["tfn-0123456789')  # begin other values of JSON
_OPEN = re.compile(rb"\s*+\{\s*+(\}?)")
_NAME = re.compile(rb'("(?:[^"\\\x00-\x1f]|\\.){0,4000}+")\s*+:\s*+')
_LONG = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.){4000}')
_VALUE = re.compile(rb"\{[^{}]{0,600}+\}")
# as the format's own library writes it: most headers hold nothing else, and this is the faster way
_USUAL = re.compile(
    rb'"([^"\\\x00-\x1f]{1,500}+)":\{"dtype":"(\w{1,20}+)","shape":\[((?:\d{1,15}+,?){0,8}+)\],'
    rb'"data_offsets":\[(\d{1,18}+),(\d{1,18}+)\]\}'
)
_NEXT = re.compile(rb"\s*+(,|\})\s*+")
_TEXTS = re.compile(  # __metadata__: text by text
    rb'\{\s*+(?:(?:"(?:[^"\\\x00-\x1f]|\\.)*+"\s*+:\s*+"(?:[^"\\\x00-\x1f]|\\.)*+"\s*+,?\s*+)*+)\}'
)


def _entries(header: bytes, path: str) -> Iterator[tuple[str, Any]]:
    """Names and JSON values of a header's tensors, in their order."""
    begun = _OPEN.match(header)
    if begun is None:
        kind = "not a JSON object" if header.lstrip().startswith(_OTHER_JSON) else "not JSON"
        raise _damaged(path, f"its header is {kind}")
    at, more = begun.end(), not begun[1]
    while more:
        usual = _USUAL.match(header, at)
        if usual is not None and (plain := _usual_entry(usual)) is not None:
            yield plain
            after = _NEXT.match(header, usual.end())
            if after is None:
                raise _damaged(path, "its header is not JSON")
            at, more = after.end(), after[1] == b","
            continue
        if _LONG.match(header, at):
            raise _beyond(path, "a tensor's name of more than 4,000 characters")
        named = _NAME.match(header, at)
        name = _json(named[1], path) if named else ""
        if named is None or not isinstance(name, str):
            raise _damaged(path, "its header is not JSON")
        metadata = name == "__metadata__"
        value = (_TEXTS if metadata else _VALUE).match(header, named.end())
        if value is None:
            raise _damaged(path, f"its tensor {_quoted(name)} makes no sense")
        if not metadata:
            yield name, _json(value[0], path)
        after = _NEXT.match(header, value.end())
        if after is None:
            raise _damaged(path, "its header is not JSON")
        at, more = after.end(), after[1] == b","
    if header[at:].strip():
        raise _damaged(path, "its header is not JSON")


def _usual_entry(usual: re.Match[bytes]) -> tuple[str, Any] | None:
    """The entry that was matched; None where it is no JSON, or has to be read with more care."""
    name, dtype, shape, start, end = usual.groups()
    numbers = (*shape.split(b","), start, end) if shape else (start, end)
    if name == b"__metadata__" or any(n[:1] in (b"", b"0") and n != b"0" for n in numbers):
        return None
    try:
        entry = {
            "dtype": dtype.decode("ascii"),
            "shape": [int(number) for number in numbers[:-2]],
            "data_offsets": [int(start), int(end)],
        }
        return name.decode("utf-8"), entry
    except UnicodeDecodeError:
        return None


def _json(text: bytes, path: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_names)
    except ValueError as error:
        raise _damaged(path, "its header is not JSON") from error


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name is given twice")
    return entries


def _tensor(name: str, entry: Any, path: str, starts: array[int], ends: array[int]) -> HeaderTensor:
    if len(name) > LONGEST_NAME:
        raise _beyond(path, f"a tensor's name of {len(name):,} characters")
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end]}:
            bits = BITS.get(dtype)
            if bits is None:
                raise _beyond(path, f"a tensor of the type {_quoted(dtype)}")
            count = _count(shape)
            if (
                _is_place(start, end)
                and count is not None
                and (end - start) * 8 == count * bits
                and _is_name(name)
            ):
                starts.append(start)
                ends.append(end)
                return HeaderTensor(
                    name=name, dtype=dtype, shape=tuple(shape), bytes=end - start, file=path
                )
        case _:
            pass
    raise _damaged(path, f"its tensor {_quoted(name)} makes no sense")


def _is_place(start: Any, end: Any) -> bool:
    # JSON's true is an int to Python
    return type(start) is int and type(end) is int and 0 <= start <= end <= MOST_BYTES


def _is_name(name: str) -> bool:
    return bool(name) and name.isprintable()


def _count(shape: Sequence[Any]) -> int | None:
    """Elements of a shape, None for one that no tensor has."""
    if len(shape) > MOST_DIMENSIONS:
        return None
    count = 1
    for length in shape:
        if type(length) is not int or not 0 <= length <= MOST_WEIGHTS:
            return None
        count *= length
        if count > MOST_WEIGHTS:
            return None
    return count


def _require_apart(starts: array[int], ends: array[int], path: str, room: int) -> None:
    """Every tensor lies inside the file and on no other."""
    reached = 0
    for number in sorted(range(len(starts)), key=lambda at: (starts[at], ends[at])):
        if starts[number] < reached:
            raise _damaged(path, "its tensors overlap")
        reached = ends[number]
    if reached > room:
        raise _damaged(path, "its tensors lie outside of it")


def _quoted(word: str) -> str:
    return repr(legible(word, 120))


def _damaged(path: str, reason: str) -> SourceError:
    name = printable(path)
    return SourceError(f"{name} is not a safetensors file: {reason}; its maker has to repair it")


def _beyond(path: str, what: str) -> SourceError:
    """A bound of ours, which is no fault of the file's."""
    return SourceError(
        f"{printable(path)} has {what}, which this apex-bot does not read; "
        "ask for a newer one, or choose another model"
    )


def stored_as(tensors: Iterable[HeaderTensor]) -> str | None:
    """The type of most bytes of a file's matrices; MLX where they are laid out for that library.

    MLX stacks the experts of a layer under a name of its own (mlx-lm's SwitchGLU).
    """
    bytes_by_type = Counter[str]()
    for tensor in tensors:
        if ".switch_mlp." in tensor.name:
            return "MLX"
        if len(tensor.shape) > 1:
            bytes_by_type[tensor.dtype] += tensor.bytes
    return next((dtype for dtype, _ in bytes_by_type.most_common()), None)
