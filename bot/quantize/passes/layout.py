"""The source of a pass and the files it writes: tensors in llama.cpp's order, headers, offsets.

A file above a size is written as shards in gguf-split's layout (tools/gguf-split/gguf-split.cpp):
NAME-00001-of-0000N.gguf and so on, all metadata in the first, `split.no`, `split.count` and
`split.tensors.count` in each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.files import gguf
from bot.clients.files.ggufheader import (
    ALIGNMENT,
    RawTensor,
    i32,
    text_value,
    u16,
    u32,
    write_header,
)
from bot.clients.llama import ggml
from bot.clients.llama.library import ggml_type, type_name
from bot.records.coding import digest
from bot.tensors.sizes import padded

QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")

Entry = tuple[str, Sequence[int], int, int]  # name, shape, type number, bytes of data


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One model to make: `types` by tensor name, the importance matrix's weights, extra metadata.

    With `shard` it is written in shards whose tensors take at most as many bytes, as soon as one
    file would not do.
    """

    target: Path
    file_type: int
    types: Mapping[str, str]
    weights: Mapping[str, NDArray[np.float32]] | None
    notes: Sequence[tuple[str, int | str]] = ()
    shard: int | None = None


@dataclass(frozen=True, kw_only=True)
class SourceTensor:
    """A tensor of the source: which of its files holds it, and where."""

    raw: RawTensor
    file: int
    start: int


@dataclass(frozen=True, kw_only=True)
class PassSource:
    """A 16-bit model in one file or in shards; tensors in llama.cpp's order."""

    paths: tuple[Path, ...]
    keys: Mapping[str, bytes]
    tensors: tuple[SourceTensor, ...]

    @property
    def state(self) -> str:
        """Hash of all files' paths, sizes and times."""
        states = [(str(path), path.stat()) for path in self.paths]
        return digest([[path, status.st_size, status.st_mtime_ns] for path, status in states])


def tensor_order(name: str) -> tuple[int, str]:
    """llama.cpp's order of tensors: by layer, then by name (weight_name_comparer)."""
    match = re.match(r"blk\.(\d+)\.", name)
    return (int(match[1]) if match else -1), name


def open_source(path: Path) -> PassSource:
    """The model whose only or first file is `path`. Raises SourceError for a damaged one."""
    files = gguf.raw_headers(path)
    tensors = [
        SourceTensor(raw=raw, file=number, start=header.data_offset + raw.offset)
        for number, (_, header) in enumerate(files)
        for raw in header.tensors
    ]
    tensors.sort(key=lambda tensor: tensor_order(tensor.raw.name))
    _, first = files[0]
    return PassSource(
        paths=tuple(path for path, _ in files), keys=first.keys, tensors=tuple(tensors)
    )


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file to write: its header, all its bytes, and where each of its tensors' data begins."""

    path: Path
    head: bytes
    size: int
    offsets: tuple[int, ...]


def outputs(source: PassSource, spec: OutputSpec) -> tuple[Output, ...]:
    """The files of one model; their tensors follow one another in the source's order."""
    entries = [_entry(tensor.raw, spec) for tensor in source.tensors]
    keys = _keys(source, spec)
    parts = _split([size for *_, size in entries], spec.shard)
    if len(parts) == 1:
        return (_output(spec.target, keys, entries),)
    shards = []
    for number, part in enumerate(parts):
        own = (
            u16("split.no", number),
            i32("split.tensors.count", len(entries)),
            u16("split.count", len(parts)),
        )
        path = shard_path(spec.target, number, len(parts))
        shards.append(_output(path, [*(() if number else keys), *own], entries[part]))
    return tuple(shards)


def shard_path(target: Path, number: int, count: int) -> Path:
    """A shard's name, the first being number 0 (llama_split_path of llama.cpp)."""
    stem = target.name.removesuffix(".gguf")
    return target.with_name(f"{stem}-{number + 1:05d}-of-{count:05d}.gguf")


def _entry(raw: RawTensor, spec: OutputSpec) -> Entry:
    kind = spec.types.get(raw.name, type_name(raw.type))
    size = ggml.row_bytes(kind, raw.shape[0]) * prod(raw.shape[1:])
    return raw.name, raw.shape, ggml_type(kind), size


def _keys(source: PassSource, spec: OutputSpec) -> list[bytes]:
    """The source's metadata with what llama_model_quantize changes, in its order."""
    changed: dict[str, int | str] = {
        "general.quantization_version": QUANTIZATION_VERSION,
        "general.file_type": spec.file_type,
        **dict(spec.notes),
    }
    unchanged = {k: raw for k, raw in source.keys.items() if k not in {*changed, *SPLIT_KEYS}}
    changed_entries = (
        u32(k, v) if isinstance(v, int) else text_value(k, v) for k, v in changed.items()
    )
    return [*unchanged.values(), *changed_entries]


def _split(sizes: Sequence[int], limit: int | None) -> list[slice]:
    """Runs of tensors that share a file: as many as fit into `limit` bytes, at least one."""
    starts, file_bytes = [0], 0
    for number, size in enumerate(sizes):
        file_bytes += padded(size)
        if limit is not None and file_bytes > limit and number > starts[-1]:
            starts.append(number)
            file_bytes = padded(size)
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(sizes)], strict=True)]


def _output(path: Path, keys: Sequence[bytes], entries: Sequence[Entry]) -> Output:
    head = write_header(keys, entries, ALIGNMENT)
    offsets, offset = [], len(head)
    for *_, size in entries:
        offsets.append(offset)
        offset += padded(size)
    return Output(path=path, head=head, size=offset, offsets=tuple(offsets))
