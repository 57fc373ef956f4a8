"""A GGUF file written anew: taken apart into shards, or made smaller."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf  # noqa: TID251 - its own writer makes the files that ours must read
import numpy as np

LAYER = re.compile(r"blk\.(\d+)\.")
BY_EXPERT = re.compile(r"ffn_((gate|up|down)_exps|gate_inp)\.weight$")


def split(source: Path, target: Path, tensors: int) -> list[Path]:
    """Write `source` as shards of at most `tensors` tensors named after `target`; their paths.

    As llama.cpp's converter writes them.
    """
    reader = gguf.GGUFReader(source)
    writer = _begun(reader, target, {}, split_max_tensors=tensors)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _finish(writer)
    return sorted(target.parent.glob(f"{target.stem}-*-of-*.gguf"))


def shrink(source: Path, target: Path, *, layers: int, experts: int) -> None:
    """Write a mixture of experts with its first layers, and of these the first experts, alone."""
    reader = gguf.GGUFReader(source)
    family = str(reader.fields["general.architecture"].contents())
    counts = {f"{family}.block_count": layers, f"{family}.expert_count": experts}
    for name, field in reader.fields.items():
        if field.types[0] == gguf.GGUFValueType.ARRAY and name.endswith("_layers"):
            counts[name] = field.contents()[:layers]  # one value a layer
    writer = _begun(reader, target, counts)
    for tensor in reader.tensors:
        layer = LAYER.match(tensor.name)
        if layer is None or int(layer[1]) < layers:
            data = tensor.data[:experts] if BY_EXPERT.search(tensor.name) else tensor.data
            writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    _finish(writer)


def _begun(
    reader: gguf.GGUFReader, target: Path, other: Mapping[str, Any], **options: Any
) -> gguf.GGUFWriter:
    """A writer with the metadata of a file, some values of which are others."""
    family = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, family, **options)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, other.get(name, field.contents()), kind, sub_type=inner)
    return writer


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def changed_weights(
    source: Path,
    target: Path,
    change: Callable[[str, np.ndarray], np.ndarray],
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write `source` in F32 with what `change` makes of each tensor, and some other metadata."""
    reader = gguf.GGUFReader(source)
    writer = _begun(reader, target, metadata or {})
    for tensor in reader.tensors:
        array = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        array = array.reshape([int(n) for n in tensor.shape][::-1])
        writer.add_tensor(tensor.name, np.ascontiguousarray(change(tensor.name, array)))
    _finish(writer)
    return target
