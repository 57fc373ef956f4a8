"""A GGUF file's header with other keys, in the room of the old one where that can be.

A header ends where its data begins: at a multiple of the alignment. A shorter one is filled up by a
key that no program reads, `PADDING`; a longer one moves the data by whole blocks of `PLACE` bytes,
and leaves room for the next. So most changes leave every tensor at its byte of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from bot.clients.files.ggufheader import (
    MAGIC,
    VERSION,
    RawHeader,
    RawTensor,
    alignment_of,
    text_value,
)
from bot.errors import SourceError

PADDING = "apex.padding"
PLACE = 4096  # bytes: a page, a block of most disks
ALIGNMENT_KEY = "general.alignment"
_FEWEST = 8 + len(PADDING) + 4 + 8  # bytes of the key with an empty text


def refitted(header: RawHeader, keys: Mapping[str, bytes], name: str) -> bytes:
    """The header of the file called `name` with `keys` instead of its own; its tensors are as ever.

    It is as long as the old one where that can be. Raises SourceError where the keys would change
    the alignment, by which the data lies.
    """
    if keys.get(ALIGNMENT_KEY) != header.keys.get(ALIGNMENT_KEY):
        raise SourceError(f"{name} would have another alignment; its data cannot stay as it is")
    own = [raw for key, raw in keys.items() if key != PADDING]
    entries = b"".join(map(_entry, header.tensors))
    bare = 24 + sum(map(len, own)) + len(entries)
    end = data_place(header, bare)
    if end - bare >= alignment_of(header.keys):
        own.append(text_value(PADDING, " " * (end - bare - _FEWEST)))
    counts = struct.pack("<Iqq", VERSION, len(header.tensors), len(own))
    head = b"".join([MAGIC, counts, *own, entries])
    return head + bytes(end - len(head))


def data_place(header: RawHeader, bare: int) -> int:
    """Where data begins behind a header of `bare` bytes: where it does now, if that can be."""
    alignment, place = alignment_of(header.keys), header.data_offset
    while not (place - alignment < bare <= place or bare + _FEWEST <= place):
        place += max(PLACE, alignment)
    return place


def _entry(tensor: RawTensor) -> bytes:
    """A tensor's entry as it was read: its data stays at its offset."""
    name, dimensions = tensor.name.encode(), len(tensor.shape)
    form = f"<I{dimensions}qIQ"
    numbers = struct.pack(form, dimensions, *tensor.shape, tensor.type, tensor.offset)
    return struct.pack("<Q", len(name)) + name + numbers
