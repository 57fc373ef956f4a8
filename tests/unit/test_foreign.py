"""What stands in place of a file is called that, wherever a file is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.clients.files.safetensors import read_safetensors
from bot.clients.files.shards import local_index
from bot.errors import SourceError
from bot.foreign import has_few_values, instead, read_json
from bot.quantize import imatrix
from bot.source.beforehand import require_whole
from bot.tensors import weights
from bot.workplace.texts import text_of

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
PAGE = b'\n<!DOCTYPE html>\n<html class=""><head><title>maker/Model at main</title></head></html>'


def safetensors(path: Path) -> object:
    content = path.read_bytes()
    return read_safetensors(lambda _path, start, stop: content[start:stop], path.name, len(content))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "gguf": ("model.gguf", gguf.read_gguf),
    "gguf, raw": ("model.gguf", gguf.raw_headers),
    "safetensors": ("model.safetensors", safetensors),
    "config": ("config.json", read_json),
    "index": (weights.INDEX, lambda path: local_index(path.parent)),
    "imatrix": ("imatrix.dat", imatrix.read_matrix),
    "text": ("wiki.test.raw", text_of),
    "tokenizer": ("tokenizer.json", lambda path: require_whole(path.parent, {}, 9)),
    "vocabulary": ("merges.txt", lambda path: require_whole(path.parent, {}, 9)),
    "sentencepiece": ("tokenizer.model", lambda path: require_whole(path.parent, {}, 9)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [(POINTER, "is a Git LFS pointer, .*git lfs pull"), (PAGE, "is a web page, .*/resolve/")],
    ids=["pointer", "page"],
)
def test_what_is_read_is_the_file_itself(
    reader: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    name, read = READERS[reader]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(SourceError, match=reason) as refused:
        read(folder / name)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (POINTER, "a Git LFS pointer"),
        (b"\xef\xbb\xbf" + POINTER, "a Git LFS pointer"),
        (b"version https://hawser.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"# xet version 0\nfilesize = 7\n", "a Xet pointer"),
        (b"../../.git/annex/objects/xx/yy/SHA256E-s7--a", "a git-annex pointer"),
        (b"<html>", "a web page"),
        (b"  <HEAD>", "a web page"),
        (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code>', "a storage server's refusal"),
        (b"Entry not found", "a server's refusal"),
        (b'{"error":"Repository not found"}', "a server's refusal"),
        # files that are themselves
        (b'{"model_type": "mixtral", "error": "x"}', None),
        (b"Entry not found in the index is what the log said, and then", None),
        (b"version 2 of the text", None),
        (b"<s>[INST] hello", None),
        (b"<?xml version='1.0'?><corpus>", None),
        (b"GGUF\x03\0\0\0", None),
        (b"", None),
    ],
)
def test_what_stands_in_place_of_a_file(start: bytes, what: str | None) -> None:
    stand_in = instead(start)
    assert (stand_in[0] if stand_in else None) == what


@pytest.mark.parametrize(
    ("content", "few"),
    [
        (b'{"a": "' + b"{,[" * 1_000_000 + b'"}', True),  # of a text nothing counts
        (b"[" + b'{"":0},' * 200_000 + b"1]", True),
        (rb'{"a": "\\\"' + b"{,[" * 1_000_000 + rb'\"\\"}', True),
        (b"[" + b'{"":0},' * 800_000 + b"1]", False),
        (b"[" + b"[]," * 800_000 + b"1]", False),
        (b'"' * 8_000_000, False),
    ],
)
def test_values_are_counted_before_they_are_made(content: bytes, few: bool) -> None:
    assert has_few_values(content) is few
