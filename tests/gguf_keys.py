"""Keys of a GGUF header as our reader holds them, written by gguf's own writer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import gguf  # noqa: TID251 - its own writer makes what ours must read

from bot.clients.files.ggufheader import read_header


def keys_of(values: Mapping[str, object]) -> dict[str, bytes]:
    """Each key with all its bytes; ints become u32, lists arrays of strings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.gguf"
        writer = gguf.GGUFWriter(path, arch="")
        for shard in writer.kv_data:
            shard.clear()
        for key, value in values.items():
            if isinstance(value, int):
                writer.add_uint32(key, value)
            elif isinstance(value, list):
                writer.add_array(key, value)
            else:
                writer.add_string(key, str(value))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return dict(read_header(path).keys)
