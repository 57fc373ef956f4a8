"""Reading and writing GGUF files: the only module that knows the gguf package."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf

from bot.clients.header import RawHeader, read_header, values
from bot.errors import SourceError
from bot.records import Tensor

if TYPE_CHECKING:
    import numpy as np


ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT, gguf.h


@dataclass(frozen=True, kw_only=True)
class Model:
    """A GGUF file's header: metadata by key (vocabulary arrays left out) and its tensors."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    data_offset: int  # bytes before the first tensor's data

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value, `ARCH.key` when the key starts with a dot."""
        if key.startswith("."):
            key = f"{self.metadata.get('general.architecture')}{key}"
        return self.metadata.get(key, default)


def _open(path: Path) -> gguf.GGUFReader:
    """A reader over `path`; SourceError when it is not a whole GGUF file."""
    if not path.is_file():
        raise SourceError(f"{path} does not exist; check the path")
    with _whole(path):
        return gguf.GGUFReader(path)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What the library raises over a damaged file, as SourceError."""
    try:
        yield
    except (ValueError, IndexError, KeyError, OverflowError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SourceError(
            f"{path} is not a whole GGUF file ({reason}); fetch or convert it again"
        ) from error


def read(path: Path) -> Model:
    """Header of a GGUF file, memory-mapped: no tensor data is read.

    Raises SourceError for a file that is missing, truncated or not GGUF.
    """
    reader = _open(path)
    metadata = {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith(("GGUF.", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"))
        and not name.startswith(("tokenizer.ggml.token_type", "tokenizer.ggml.scores"))
    }
    tensors = tuple(
        Tensor(
            name=tensor.name,
            shape=tuple(int(n) for n in tensor.shape),
            type=tensor.tensor_type.name,
            bytes=int(tensor.n_bytes),
        )
        for tensor in reader.tensors
    )
    end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    if end > path.stat().st_size:
        raise SourceError(f"{path} is shorter than its header says; fetch or convert it again")
    return Model(metadata=metadata, tensors=tensors, data_offset=int(reader.data_offset))


def shards(path: Path, model: Model) -> tuple[Path, ...]:
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


def read_split(path: Path) -> Model:
    """Header of a GGUF model in one file or in shards, `path` being the first.

    Tensors are those of all shards in order, metadata is the first's; `data_offset` is that of
    the one file that quantizing makes of them, within 128 bytes. Raises SourceError as `read`
    and `shards` do, and when shards do not fit together.
    """
    first = read(path)
    others = [read(shard) for shard in shards(path, first)[1:]]
    if not others:
        return first
    tensors = [*first.tensors, *(tensor for other in others for tensor in other.tensors)]
    wrong = [n for n, other in enumerate(others, 1) if other.metadata.get("split.no") != n]
    total = first.metadata.get("split.tensors.count", len(tensors))
    if wrong or total != len(tensors) or len({t.name for t in tensors}) < len(tensors):
        raise SourceError(f"{path} and its shards do not fit together; fetch them again")
    infos = sum(
        len(tensor.name.encode()) + 8 * len(tensor.shape) + 24  # gguf_write_ti of ggml's gguf.cpp
        for other in others
        for tensor in other.tensors
    )
    offset = -(-(first.data_offset + infos) // ALIGNMENT) * ALIGNMENT
    return Model(metadata=first.metadata, tensors=tuple(tensors), data_offset=offset)


def raw_headers(path: Path) -> tuple[tuple[Path, RawHeader], ...]:
    """Each file of a model with its raw header, in order, `path` being the only or first one.

    Much faster than `read_split`, since vocabularies are stepped over. Raises SourceError as it.
    """
    first = read_header(path)
    known = Model(metadata=values(first.keys), tensors=(), data_offset=first.data_offset)
    paths = shards(path, known)
    found = ((path, first), *((shard, read_header(shard)) for shard in paths[1:]))
    if len(found) > 1:
        numbers = [values(header.keys).get("split.no") for _, header in found]
        names = [tensor.name for _, header in found for tensor in header.tensors]
        total = known.metadata.get("split.tensors.count", len(names))
        if numbers != [*range(len(found))] or not total == len(names) == len(set(names)):
            raise SourceError(f"{path} and its shards do not fit together; fetch them again")
    return found


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and f32 arrays of a small GGUF file such as an importance matrix.

    Arrays are memory-mapped with numpy's order of dimensions: the row length comes last.
    """
    read_header(path)  # bounds every length, so that the library does not lose itself in one
    reader = _open(path)
    with _whole(path):
        metadata = {n: f.contents() for n, f in reader.fields.items() if not n.startswith("GGUF.")}
    return metadata, {tensor.name: tensor.data for tensor in reader.tensors}


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


def tensor_names(family: str) -> Callable[[str], str | None]:
    """From makers' names of tensors to GGUF's, as the converter maps them: None for an unknown one.

    For a family that the gguf package does not know, a name means what it means to most others.
    """
    known = _names(family)

    def find(name: str) -> str | None:
        suffix = next((end for end in (".weight", ".bias") if name.endswith(end)), "")
        stem = name.removesuffix(suffix)
        layer = re.search(r"\.(\d{1,5})(?=\.)", stem)
        found = known.get(
            stem if layer is None else f"{stem[: layer.start()]}.0{stem[layer.end() :]}"
        )
        if found is None or layer is None:
            return found and found + suffix
        return found.replace("blk.0.", f"blk.{layer[1]}.", 1) + suffix

    return find


@functools.cache
def _names(family: str) -> dict[str, str]:
    """The names of a family, with layer 0 for any; of all families together for an unknown one."""
    arch = next((arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family), None)
    if arch is not None:
        mapping = gguf.get_tensor_name_map(arch, 1).mapping
        return {name: own for name, (_, own) in mapping.items()}
    table, known = gguf.TensorNameMap, dict[str, str]()
    for kind, names in [*table.mappings_cfg.items(), *table.block_mappings_cfg.items()]:
        own = gguf.TENSOR_NAMES[kind].format(bid=0)
        if own.startswith(("blk.", "token_embd", "output")):
            for name in names:
                known.setdefault(name.format(bid=0), own)
    return known
