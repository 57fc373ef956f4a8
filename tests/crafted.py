"""GGUF files of which one number is not what llama.cpp takes for granted."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from bot.clients.files.ggufheader import RawHeader, read_header

NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 10: "<Q", 11: "<q"}  # by type
ARRAY = 9
EXTREMES = (0, 1, 1 << 31, None)  # None: the largest that fits


def numbers(header: RawHeader) -> Iterator[str]:
    """Keys whose value is a whole number, or an array of such."""
    for key, raw in header.keys.items():
        kind, _ = _value(key, raw)
        if kind in NUMBERS:
            yield key


def changed(source: Path, target: Path, key: str, number: int | None) -> Path:
    """A copy in which the value of `key`, or its first element, is another; nothing moves."""
    header, data = read_header(source), bytearray(source.read_bytes())
    raw = header.keys[key]
    kind, at = _value(key, raw)
    bits = 8 * struct.calcsize(NUMBERS[kind])
    signed = NUMBERS[kind][1].islower()
    largest = (1 << (bits - signed)) - 1
    value = largest if number is None else min(number, largest)
    place = data.index(raw)
    struct.pack_into(NUMBERS[kind], data, place + at, value)
    target.write_bytes(data)
    return target


def entry(source: Path, target: Path, tensor: str, field: str, number: int) -> Path:
    """A copy in which a tensor's first dimension, its type or its offset is another."""
    data = bytearray(source.read_bytes())
    found = next(one for one in read_header(source).tensors if one.name == tensor)
    start = struct.pack("<Q", len(tensor)) + tensor.encode() + struct.pack("<I", len(found.shape))
    at = data.index(start) + len(start)
    size = 8 * len(found.shape)
    place, form = {"shape": (at, "<Q"), "type": (at + size, "<I"), "offset": (at + size + 4, "<Q")}[
        field
    ]
    struct.pack_into(form, data, place, number)
    target.write_bytes(data)
    return target


def _value(key: str, raw: bytes) -> tuple[int, int]:
    """Type of a key's value, or of its elements, and where in its bytes the number begins."""
    at = 8 + len(key.encode())
    kind = int.from_bytes(raw[at : at + 4], "little")
    if kind != ARRAY:
        return kind, at + 4
    return int.from_bytes(raw[at + 4 : at + 8], "little"), at + 16
