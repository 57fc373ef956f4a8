"""Reading and writing GGUF files: the only module that knows the gguf package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf

from bot.errors import SourceError
from bot.records import Tensor

if TYPE_CHECKING:
    import numpy as np


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
    try:
        return gguf.GGUFReader(path)
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


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and f32 arrays of a small GGUF file such as an importance matrix.

    Arrays are memory-mapped with numpy's order of dimensions: the row length comes last.
    """
    reader = _open(path)
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
