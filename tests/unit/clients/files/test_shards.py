"""Which files are the model: by an index, by names, in a folder and on a Hub alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.clients.files.shards import (
    LONGEST_INDEX,
    MOST_TENSORS,
    local_index,
    local_release,
    local_safetensors,
    parse_index,
    read_headers,
)
from bot.errors import SourceError
from bot.records.releases import RepoFile
from bot.tensors import weights
from tests import headers

CONFIG: dict[str, Any] = {"num_hidden_layers": 3}
PAIR = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def write(folder: Path, files: dict[str, str], index: dict[str, str] | None = None) -> None:
    """Files with tensors by their names, and an index."""
    for name, tensors in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(headers.file(dict.fromkeys(tensors.split(), ("BF16", (2,)))))
    if index is not None:
        (folder / weights.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))


def found(folder: Path, dropped: tuple[str, ...] = ()) -> list[str]:
    return [tensor.name for tensor in local_safetensors(folder, CONFIG, dropped)]


def test_a_folder_is_read_as_a_repository_would_be(tmp_path: Path) -> None:
    write(tmp_path, {PAIR[0]: "a", PAIR[1]: "b", "consolidated.safetensors": "x"})
    assert found(tmp_path) == ["a", "b"]
    (tmp_path / PAIR[1]).unlink()
    with pytest.raises(SourceError, match=f"lacks 1 of its safetensors files, .* {PAIR[1]}"):
        found(tmp_path)


def test_a_folder_without_a_checkpoint_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no safetensors files"):
        found(tmp_path)
    with pytest.raises(SourceError, match="not a folder"):
        local_release(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "beside",
    [
        # older sets, whole and in parts; leftovers, copies, adapters
        {f"model-0000{n}-of-00003.safetensors": "a b" for n in (1, 2, 3)},
        {"model-00002-of-00003.safetensors": "a"},
        {"model.safetensors": "a b"},
        {"model-fp8.safetensors": "a b c"},
        {"consolidated.safetensors": "a", "adapter_model.safetensors": "lora"},
        {"extra.safetensors": "c", "sub/model.safetensors": "a b"},
    ],
)
def test_what_an_index_does_not_name_is_not_looked_at(
    tmp_path: Path, beside: dict[str, str]
) -> None:
    index = {"a": PAIR[0], "b": PAIR[1]}
    write(tmp_path, {PAIR[0]: "a", PAIR[1]: "b", **beside}, index)
    assert found(tmp_path) == ["a", "b"]
    for name in beside:
        (tmp_path / name).write_bytes(b"no safetensors file at all")
    assert found(tmp_path) == ["a", "b"]


def test_an_index_may_name_any_file(tmp_path: Path) -> None:
    files = {"main.safetensors": "a", "parts/other.safetensors": "b", "stray.safetensors": "a"}
    write(tmp_path, files, {"a": "main.safetensors", "b": "parts/other.safetensors"})
    assert found(tmp_path) == ["a", "b"]


def test_prediction_layers_may_be_missing_where_they_are_dropped(tmp_path: Path) -> None:
    own = {"model.layers.2.w": "model.safetensors"}
    ahead = {"mtp.layers.0.w": "mtp.safetensors", "model.layers.3.w": "late.safetensors"}
    write(tmp_path, {"model.safetensors": "model.layers.2.w"}, own | ahead)
    assert found(tmp_path, dropped=("mtp",)) == ["model.layers.2.w"]
    with pytest.raises(SourceError, match=r"lacks 2 of .* the first is late\.safetensors"):
        found(tmp_path)


def test_files_must_hold_what_the_index_says(tmp_path: Path) -> None:
    write(
        tmp_path, {"model.safetensors": "a"}, {"a": "model.safetensors", "b": "model.safetensors"}
    )
    with pytest.raises(SourceError, match="lacks 1 tensors of its index, the first is b"):
        found(tmp_path)
    write(tmp_path, {"model.safetensors": "a x.rotary_emb.inv_freq"}, {"a": "model.safetensors"})
    assert found(tmp_path) == ["a", "x.rotary_emb.inv_freq"]  # a helper, which is no weight
    write(tmp_path, {"model.safetensors": "a b"}, {"a": "model.safetensors"})
    with pytest.raises(SourceError, match=r"holds 1 tensors that its index does not name, .* b;"):
        found(tmp_path)


def test_a_tensor_in_two_files_is_named(tmp_path: Path) -> None:
    write(tmp_path, {PAIR[0]: "a b", PAIR[1]: "b"})
    with pytest.raises(SourceError, match=f"{PAIR[0]} and {PAIR[1]} both hold 'b'"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", "has no weight_map"),
        (b'{"weight_map": []}', "has no weight_map"),
        (b'{"weight_map": {}}', "has no weight_map"),
        (b'{"weight_map": {"a": 3}}', "names a file that is no text"),
        (b'{"weight_map": ' + b'{"a":' * 200, "is no list of tensors"),
        (b'{"weight_map": {"a": "\xff"}}', "is not UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b" " * (LONGEST_INDEX + 1), "larger than the 67,108,864 bytes that apex-bot reads"),
    ],
)
def test_an_index_that_is_none_is_said_so(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / weights.INDEX).write_bytes(content)
    with pytest.raises(SourceError, match=reason) as refused:
        local_index(tmp_path)
    assert "\n" not in str(refused.value)


def test_an_index_may_have_a_mark_and_many_tensors() -> None:
    named = {f"model.layers.{i}.w": f"model-{i % 9}.safetensors" for i in range(100_000)}
    content = b"\xef\xbb\xbf" + json.dumps({"weight_map": named}).encode()
    assert parse_index(content, "index") == named


def test_an_index_of_more_tensors_than_are_read_is_not_its_makers_fault(tmp_path: Path) -> None:
    entries = b",".join(b'"%d":"a"' % n for n in range(MOST_TENSORS + 2))
    (tmp_path / weights.INDEX).write_bytes(b'{"weight_map":{' + entries + b"}}")
    with pytest.raises(SourceError, match="600,000 values that apex-bot reads; choose another"):
        local_index(tmp_path)


@pytest.mark.road
def test_the_tensors_of_all_files_are_bounded() -> None:
    """Each of a thousand files is within what one may hold, all together are not."""
    many = 60_000
    entries = b",".join(
        b'"t%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % n for n in range(many)
    )
    header = b"{" + entries + b"}"
    data = len(header).to_bytes(8, "little") + header
    paths: list[str] = []

    def fetch(path: str, start: int, stop: int) -> bytes:
        paths.append(path)
        return data[start:stop]

    files = tuple(RepoFile(path=f"{n}.safetensors", size=len(data)) for n in range(60))
    with pytest.raises(SourceError, match="more than the 600,000 tensors that this apex-bot reads"):
        read_headers(fetch, "org/model", weights.CheckpointFiles(files=files))
    assert len(set(paths)) < 20
