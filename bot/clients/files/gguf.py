"""Reading and writing GGUF files: the only module that knows the gguf package.

Of that package names, sizes and the writer are used; headers are parsed by `ggufheader`, which
bounds everything.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import quants

from bot.clients.files.ggufheader import (
    MOST_TENSORS,
    RawHeader,
    RawTensor,
    alignment_of,
    header_contents,
    length,
    read_header,
    values,
)
from bot.errors import SourceError
from bot.records.model import Tensor

ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT, gguf.h
LONGEST_ARRAY = 65_536  # elements of a value that is kept; vocabularies are not
MOST_ELEMENTS, MOST_KEPT = 1 << 18, 8 << 20  # elements, and bytes, of all arrays that are kept
MOST_IN_ALL = 4 * MOST_TENSORS  # tensors of all shards
OF_A_SHARD = ("general.alignment", "split.no")  # keys that are kept of a shard after the first
VOCABULARY = tuple(f"tokenizer.ggml.{n}" for n in ("tokens", "merges", "token_type", "scores"))


@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """A GGUF file's header: metadata by key (vocabulary arrays left out) and its tensors."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    data_offset: int  # bytes before the first tensor's data

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value, `ARCH.key` when the key starts with a dot."""
        if key.startswith("."):
            key = f"{self.metadata.get('general.architecture')}{key}"
        return self.metadata.get(key, default)


def read_gguf(path: Path) -> GgufModel:
    """Header of a GGUF file: no tensor data is read.

    Raises SourceError for a file that is missing, truncated, not GGUF or not sound.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist; check the path")
    header = read_header(path)
    metadata = {key: header_contents(key, raw) for key, raw in _keys_to_read(path, header).items()}
    tensors = tuple(_placed(path, header))
    return GgufModel(metadata=metadata, tensors=tensors, data_offset=header.data_offset)


def _keys_to_read(path: Path, header: RawHeader) -> Mapping[str, bytes]:
    """The keys that are read: no vocabulary, and of other arrays at most `MOST_KEPT` bytes.

    Raises SourceError beyond that.
    """
    lengths = {key: length(key, raw) for key, raw in header.keys.items()}
    kept = {
        key: raw
        for key, raw in header.keys.items()
        if not key.startswith(VOCABULARY) and lengths[key] <= LONGEST_ARRAY
    }
    arrays = [key for key in kept if lengths[key] > 1]
    elements, size = sum(lengths[key] for key in arrays), sum(len(kept[key]) for key in arrays)
    if elements > MOST_ELEMENTS or size > MOST_KEPT:
        raise SourceError(
            f"{path} has arrays of {elements:,} elements and {size:,} bytes beside its vocabulary, "
            f"more than the {MOST_ELEMENTS:,} and {MOST_KEPT:,} that this apex-bot reads; "
            "choose another model"
        )
    return kept


def _placed(path: Path, header: RawHeader) -> Iterator[Tensor]:
    """Tensors whose offsets fit each other and the file's size. Raises SourceError for others.

    As gguf_init_from_file_impl of ggml's gguf.cpp: consecutive, each aligned, without a gap.
    """
    alignment, end, reached = alignment_of(header.keys), 0, header.data_offset
    for raw in header.tensors:
        tensor = _tensor(path, raw)
        if raw.offset != end:
            raise SourceError(
                f"{path}: {raw.name[:120]!r} lies at offset {raw.offset}, not {end}; fetch it again"
            )
        reached = header.data_offset + end + tensor.bytes
        end = -(-(end + tensor.bytes) // alignment) * alignment
        yield tensor
    if reached > path.stat().st_size and header.tensors:
        raise SourceError(f"{path} is shorter than its header says; fetch or convert it again")


def _tensor(path: Path, raw: RawTensor) -> Tensor:
    try:
        kind = gguf.GGMLQuantizationType(raw.type)
    except ValueError as error:
        raise SourceError(
            f"{path}: {raw.name[:120]!r} is of type {raw.type}, which ggml lacks; fetch it again"
        ) from error
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if raw.shape and raw.shape[0] % block:
        raise SourceError(
            f"{path}: {raw.name[:120]!r} of shape {raw.shape} cannot be {kind.name}; fetch it again"
        )
    return Tensor(
        name=raw.name, shape=raw.shape, type=kind.name, bytes=prod(raw.shape) // block * size
    )


def shards(path: Path, model: GgufModel) -> tuple[Path, ...]:
    """The files of a model whose first file is `path`, as llama.cpp looks for them.

    Shards lie beside each other as NAME-00001-of-0000N.gguf (llama_split_path of llama.cpp).
    Raises SourceError when `path` is another shard than the first, or one is missing.
    """
    count = model.metadata.get("split.count", 0)
    if not isinstance(count, int) or count <= 1:
        return (path,)
    named = re.fullmatch(r"(.+)-00001-of-(\d{5})\.gguf", path.name)
    if model.metadata.get("split.no", 0) != 0 or not named or int(named[2]) != count:
        raise SourceError(
            f"{path} is a shard of {count}; name the first, NAME-00001-of-{count:05d}.gguf"
        )
    paths = [
        path.with_name(f"{named[1]}-{number:05d}-of-{count:05d}.gguf")
        for number in range(1, count + 1)
    ]
    missing = [shard for shard in paths if not shard.is_file()]
    if missing:
        raise SourceError(f"{missing[0]} does not exist; fetch all {count} shards")
    return tuple(paths)


def read_split(path: Path) -> GgufModel:
    """Header of a GGUF model in one file or in shards, `path` being the first.

    Tensors are those of all shards in order, metadata is the first's; `data_offset` is that of
    the one file that quantizing makes of them, within 128 bytes. Raises SourceError as `read_gguf`
    and `shards` do, and when shards do not fit together.
    """
    first = read_gguf(path)
    paths = shards(path, first)
    if len(paths) == 1:
        return first
    tensors = [*first.tensors]
    wrong = False
    for number, shard in enumerate(paths[1:], 1):
        other = read_gguf(shard)
        wrong |= other.metadata.get("split.no") != number
        tensors += other.tensors
        _require_few(path, len(tensors))
    total = first.metadata.get("split.tensors.count", len(tensors))
    if wrong or total != len(tensors) or len({t.name for t in tensors}) < len(tensors):
        raise SourceError(f"{path} and its shards do not fit together; fetch them again")
    infos = sum(
        len(tensor.name.encode()) + 8 * len(tensor.shape) + 24  # gguf_write_ti of ggml's gguf.cpp
        for tensor in tensors[len(first.tensors) :]
    )
    offset = -(-(first.data_offset + infos) // ALIGNMENT) * ALIGNMENT
    return GgufModel(metadata=first.metadata, tensors=tuple(tensors), data_offset=offset)


def raw_headers(path: Path) -> tuple[tuple[Path, RawHeader], ...]:
    """Each file of a model with its raw header, in order, `path` being the only or first one.

    Of shards after the first the keys in `OF_A_SHARD` are kept. Much faster than `read_split`,
    since vocabularies are stepped over. Raises SourceError as it.
    """
    first = read_header(path)
    model = GgufModel(metadata=values(first.keys), tensors=(), data_offset=first.data_offset)
    paths = shards(path, model)
    headers = [(path, first)]
    for shard in paths[1:]:
        headers.append((shard, _bare(read_header(shard))))
        _require_few(path, sum(len(header.tensors) for _, header in headers))
    if len(headers) > 1:
        numbers = [values(header.keys).get("split.no") for _, header in headers]
        names = [tensor.name for _, header in headers for tensor in header.tensors]
        total = model.metadata.get("split.tensors.count", len(names))
        if numbers != [*range(len(headers))] or not total == len(names) == len(set(names)):
            raise SourceError(f"{path} and its shards do not fit together; fetch them again")
    return tuple(headers)


def _bare(header: RawHeader) -> RawHeader:
    """A header with the keys of `OF_A_SHARD` alone."""
    keys = {key: header.keys[key] for key in OF_A_SHARD if key in header.keys}
    return replace(header, keys=keys)


def _require_few(path: Path, tensors: int) -> None:
    if tensors > MOST_IN_ALL:
        raise SourceError(
            f"{path} and its shards have more than the {MOST_IN_ALL:,} tensors that this apex-bot "
            "reads; choose another model"
        )


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and f32 arrays of a small GGUF file such as an importance matrix.

    Arrays are memory-mapped with numpy's order of dimensions: the row length comes last. Those of
    another type come as their bytes.
    """
    model, header = read_gguf(path), read_header(path)
    data = np.memmap(path, np.uint8, "r")
    arrays = {}
    for tensor, raw in zip(model.tensors, header.tensors, strict=True):
        start = model.data_offset + raw.offset
        array: np.ndarray = data[start : start + tensor.bytes]
        if tensor.type == "F32":
            array = array.view(np.float32).reshape(tensor.shape[::-1])
        arrays[tensor.name] = array
    return dict(model.metadata), arrays


def write_arrays(
    path: Path, metadata: Iterable[tuple[str, Any]], arrays: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Write f32 arrays with metadata in the given order; ints become u32, lists string arrays."""
    writer = gguf.GGUFWriter(path, arch="")
    # the writer always starts with general.architecture, which these files do not have
    for shard in writer.kv_data:
        shard.clear()
    for key, value in metadata:
        match value:
            case int():
                writer.add_uint32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, list(value))
    for name, array in arrays:
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def knows(family: str) -> bool:
    """Whether the gguf package has a table of a family's names."""
    return family in gguf.MODEL_ARCH_NAMES.values()


def tensor_names(family: str) -> Callable[[str], str | None]:
    """From makers' names of tensors to GGUF's, as the converter maps them: None for an unknown one.

    For a family that the gguf package does not know, a name means what it means to most others.
    """
    names = _names(family)

    def find(name: str) -> str | None:
        suffix = next((end for end in (".weight", ".bias") if name.endswith(end)), "")
        stem = name.removesuffix(suffix)
        layer = re.search(r"\.(\d{1,5})(?=\.)", stem)
        gguf_name = names.get(
            stem if layer is None else f"{stem[: layer.start()]}.0{stem[layer.end() :]}"
        )
        if gguf_name is None or layer is None:
            return gguf_name and gguf_name + suffix
        return gguf_name.replace("blk.0.", f"blk.{layer[1]}.", 1) + suffix

    return find


@functools.cache
def _names(family: str) -> dict[str, str]:
    """The names of a family, with layer 0 for any; of all families together for an unknown one."""
    arch = next((arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family), None)
    if arch is not None:
        return {name: own for name, (_, own) in _name_map(arch).items()}
    table, makers_names = gguf.TensorNameMap, dict[str, str]()
    for kind, names in [*table.mappings_cfg.items(), *table.block_mappings_cfg.items()]:
        own = gguf.TENSOR_NAMES[kind].format(bid=0)
        if own.startswith(("blk.", "token_embd", "output")):
            for name in names:
                makers_names.setdefault(name.format(bid=0), own)
    return makers_names


def _name_map(arch: gguf.MODEL_ARCH) -> Mapping[str, tuple[gguf.MODEL_TENSOR, str]]:
    """A family's names. TensorNameMap writes Arctic's into the table of all families: undone."""
    table = gguf.TensorNameMap.block_mappings_cfg
    before = dict(table)
    try:
        return dict(gguf.get_tensor_name_map(arch, 1).mapping)
    finally:
        table.clear()
        table.update(before)


def grid_points(kind: str) -> np.ndarray:
    """Points of the grid of an IQ type, [points, 8 or 4], in the order of their numbers.

    Each number is a level, counted from 0, not what it stands for.
    """
    source = getattr(quants, kind)
    source.init_grid()
    numbers = np.asarray(source.grid, np.float32).reshape(source.grid_shape)
    steps = np.array(sorted(source.grid_map), np.float32)
    return np.searchsorted(steps, numbers).astype(np.int64)
