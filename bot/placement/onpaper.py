"""A model's file on paper: its header without the vocabulary, as long as the model, taking nothing.

What lies where depends on tensors and shapes alone, while most of a header is its vocabulary, which
llama.cpp would sort anew each time it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.clients.files.gguf import ALIGNMENT, VOCABULARY, raw_headers, read_split
from bot.clients.files.ggufheader import length, text_value, u32, values, write_header
from bot.clients.llama.library import ggml_type
from bot.records.model import Tensor
from bot.tensors.sizes import file_bytes, tensor_bytes

_TOKENS = VOCABULARY[0]
_LEFT_OUT = ("tokenizer.", "split.", "general.alignment")


@dataclass(frozen=True, kw_only=True)
class OnPaper:
    """What is known of a model beside its file on paper."""

    path: Path
    bytes: int  # that the model's files take, but for the vocabulary
    layers: int  # blocks, those for multi-token prediction among them
    trained_context: int  # tokens; 0: not told


def put_on_paper(path: Path, target: Path, types: Mapping[str, str] | None = None) -> OnPaper:
    """Write `target` as the file that llama.cpp places; `path` is the model's only or first file.

    Shards become one file; `types` are those that tensors are to get. Raises SourceError where a
    header is not sound, ValueError for a type that does not divide a tensor's rows.
    """
    model, headers = read_split(path), raw_headers(path)
    keys = dict(headers[0][1].keys)
    known = values(keys)
    family = str(known.get("general.architecture", ""))
    kept = [raw for key, raw in keys.items() if not key.startswith(_LEFT_OUT)]
    kept.append(text_value("tokenizer.ggml.model", "none"))
    if _TOKENS in keys and f"{family}.vocab_size" not in keys:
        kept.append(u32(f"{family}.vocab_size", length(_TOKENS, keys[_TOKENS])))
    entries = [_entry(tensor, (types or {}).get(tensor.name, "")) for tensor in model.tensors]
    head = write_header(kept, entries, ALIGNMENT)
    with target.open("wb") as file:
        file.write(head)
        file.truncate(file_bytes((size for *_, size in entries), len(head)))
    return OnPaper(
        path=target,
        bytes=target.stat().st_size,
        layers=int(model.get(".block_count", 0)),
        trained_context=int(model.get(".context_length", 0)),
    )


def _entry(tensor: Tensor, kind: str) -> tuple[str, tuple[int, ...], int, int]:
    """A line of the header, with the bytes of its data."""
    if not kind or kind == tensor.type:
        return tensor.name, tensor.shape, ggml_type(tensor.type), tensor.bytes
    return tensor.name, tensor.shape, ggml_type(kind), tensor_bytes(kind, tensor.shape)
