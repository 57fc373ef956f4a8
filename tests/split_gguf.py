"""A GGUF file taken apart into shards, as llama.cpp's converter writes them."""

from __future__ import annotations

from pathlib import Path

import gguf  # noqa: TID251 - its own writer makes the shards that ours must read


def split(source: Path, target: Path, tensors: int) -> list[Path]:
    """Write `source` as shards of at most `tensors` tensors named after `target`; their paths."""
    reader = gguf.GGUFReader(source)
    family = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(target, family, split_max_tensors=tensors)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(target.parent.glob(f"{target.stem}-*-of-*.gguf"))
