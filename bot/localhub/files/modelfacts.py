"""The `gguf` field of a repository: facts of the header of its first GGUF model.

Keys as huggingface_hub's ModelInfo.gguf and the Hub's pages have them. Files are strangers': what
does not parse counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import Any

from bot.clients.files import ggufheader
from bot.clients.files.ggufheader import RawHeader
from bot.errors import SourceError
from bot.localhub.files.repository import Entry

Read = Callable[[str, int], bytes]  # sha256, limit
LOOKED_AT = 16  # GGUF files that are asked whether they are a model
TEMPLATE = 1 << 16  # characters of a chat template; a longer one is left out
WORD = 256  # characters of any other text
SHARDS = 1000
NO_MODEL = frozenset({"adapter", "mmproj", "imatrix", "vocab"})  # general.type; gguf-py, GGUFType


def gguf_facts(files: Mapping[str, Entry], read: Read) -> dict[str, Any] | None:
    """Of the first GGUF file that is a model; None where there is none."""
    paths = sorted(path for path in files if path.endswith(".gguf"))
    for path in paths[:LOOKED_AT]:
        header = _header(files[path], read)
        if header is not None and _is_model(header):
            return dict(_facts(header, _total(header, path, files, read)))
    return None


def _header(file: Entry, read: Read) -> RawHeader | None:
    """The header of a file, or None; reads at most `ggufheader.LARGEST` bytes of it."""
    most, length = min(file.size, ggufheader.LARGEST), ggufheader.FIRST
    while True:
        content = read(file.sha256, min(length, most))
        try:
            return ggufheader.parse_header(content, "a file")
        except SourceError:
            if length >= most or not content.startswith(ggufheader.MAGIC):
                return None
        length *= 4


def _is_model(header: RawHeader) -> bool:
    kind = _text(header, "general.type")
    family = _text(header, "general.architecture")
    return bool(header.tensors) and kind not in NO_MODEL and family not in (None, "clip")


def _total(header: RawHeader, path: str, files: Mapping[str, Entry], read: Read) -> int:
    """Weights of a model, in all of its shards."""
    count = _number(header, "split.count")
    if count is None or not 1 < count <= SHARDS:
        return _weights([header])
    end = f"-00001-of-{count:05d}.gguf"
    if not path.endswith(end):
        return _weights([header])
    stem = path.removesuffix(end)
    names = (f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(2, count + 1))
    shards = (_header(files[name], read) for name in names if name in files)
    return _weights([header, *(shard for shard in shards if shard is not None)])


def _weights(headers: Iterable[RawHeader]) -> int:
    return sum(prod(tensor.shape) for header in headers for tensor in header.tensors)


def _facts(header: RawHeader, total: int) -> Iterator[tuple[str, Any]]:
    family = _text(header, "general.architecture")
    yield "total", total
    values = {
        "architecture": family,
        "context_length": _number(header, f"{family}.context_length"),
        "quantize_imatrix_file": _text(header, "quantize.imatrix.file"),
        "chat_template": _text(header, "tokenizer.chat_template", TEMPLATE),
        "bos_token": _token(header, "bos"),
        "eos_token": _token(header, "eos"),
    }
    yield from ((name, value) for name, value in values.items() if value is not None)


def _token(header: RawHeader, which: str) -> str | None:
    """The text of a token that the header names by its number."""
    number = _number(header, f"tokenizer.ggml.{which}_token_id")
    words = _contents(header, "tokenizer.ggml.tokens")
    if number is None or not isinstance(words, list) or not 0 <= number < len(words):
        return None
    word = words[number]
    return word if isinstance(word, str) and len(word) <= WORD else None


def _text(header: RawHeader, key: str, most: int = WORD) -> str | None:
    text = _contents(header, key)
    return text if isinstance(text, str) and len(text) <= most else None


def _number(header: RawHeader, key: str) -> int | None:
    number = _contents(header, key)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _contents(header: RawHeader, key: str) -> object:
    raw = header.keys.get(key)
    try:
        return None if raw is None else ggufheader.header_contents(key, raw)
    except SourceError:  # text that is none
        return None
