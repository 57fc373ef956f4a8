"""Headers, offsets and shards of the files that a pass writes, before any data is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.clients.files.ggufheader import ALIGNMENT, read_header
from bot.clients.llama.ggml import row_bytes
from bot.quantize.passes.layout import (
    SPLIT_KEYS,
    OutputSpec,
    PassSource,
    open_source,
    outputs,
    shard_path,
    tensor_order,
)
from tests.split_gguf import split

UP = "blk.0.ffn_up_exps.weight"
LIMIT = 2_000_000  # bytes of a shard


@pytest.fixture
def source(demo_model: Path) -> PassSource:
    return open_source(demo_model)


@pytest.fixture
def spec(tmp_path: Path) -> OutputSpec:
    return OutputSpec(
        target=tmp_path / "M-Q8_0.gguf",
        file_type=7,
        types={UP: "Q8_0"},
        weights=None,
        notes=(("apex.tier", "Compact"),),
    )


def test_tensors_are_ordered_by_layer_and_then_by_name() -> None:
    names = ["blk.10.a", "output.weight", "blk.2.b", "blk.2.a", "blk.x.a"]
    ordered = ["blk.x.a", "output.weight", "blk.2.a", "blk.2.b", "blk.10.a"]
    assert sorted(names, key=tensor_order) == ordered


def test_shards_are_named_as_llama_cpp_names_them(tmp_path: Path) -> None:
    assert shard_path(tmp_path / "M.gguf", 0, 12).name == "M-00001-of-00012.gguf"


def test_a_source_in_shards_has_the_tensors_of_the_single_file(
    source: PassSource, demo_model: Path, tmp_path: Path
) -> None:
    shards = split(demo_model, tmp_path / "M.gguf", 40)
    sharded = open_source(shards[0])
    assert sharded.paths == tuple(shards)
    assert [tensor.raw.name for tensor in sharded.tensors] == [
        tensor.raw.name for tensor in source.tensors
    ]
    for tensor, single in zip(sharded.tensors, source.tensors, strict=True):
        with shards[tensor.file].open("rb") as shard, demo_model.open("rb") as model:
            shard.seek(tensor.start)
            model.seek(single.start)
            assert shard.read(64) == model.read(64)


def test_a_source_that_changed_has_another_state(demo_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "M.gguf"
    path.write_bytes(demo_model.read_bytes())
    source = open_source(path)
    before = source.state
    assert open_source(path).state == before
    path.write_bytes(path.read_bytes() + bytes(32))
    assert source.state != before


def test_a_header_has_the_sources_keys_and_the_types_of_its_spec(
    source: PassSource, spec: OutputSpec
) -> None:
    (output,) = outputs(source, spec)
    assert output.path == spec.target
    spec.target.write_bytes(output.head + bytes(output.size - len(output.head)))
    header = gguf.read_gguf(spec.target)
    assert header.get("general.file_type") == 7
    assert header.get("general.quantization_version") == 2
    assert header.get("apex.tier") == "Compact"
    unchanged = {k: v for k, v in source.keys.items() if k != "general.file_type"}
    assert {**read_header(spec.target).keys, **unchanged} == read_header(spec.target).keys
    (up,) = (tensor for tensor in header.tensors if tensor.name == UP)
    assert (up.type, up.bytes) == (
        "Q8_0",
        row_bytes("Q8_0", up.shape[0]) * up.shape[1] * up.shape[2],
    )
    types = {tensor.type for tensor in header.tensors if tensor.name != UP}
    assert types == {"BF16", "F32"}


def test_tensors_follow_one_another_aligned(source: PassSource, spec: OutputSpec) -> None:
    (output,) = outputs(source, spec)
    assert output.offsets[0] == len(output.head)
    assert not any(offset % ALIGNMENT for offset in output.offsets)
    assert sorted(output.offsets) == list(output.offsets)
    assert output.size % ALIGNMENT == 0
    assert output.size > output.offsets[-1]


def test_shards_take_all_tensors_in_order_and_the_first_all_metadata(
    source: PassSource, spec: OutputSpec
) -> None:
    shards = outputs(source, replace(spec, shard=LIMIT))
    assert [shard.path for shard in shards] == [
        shard_path(spec.target, number, len(shards)) for number in range(len(shards))
    ]
    names = []
    for number, shard in enumerate(shards):
        shard.path.write_bytes(shard.head + bytes(shard.size - len(shard.head)))
        header = read_header(shard.path)
        names += [tensor.name for tensor in header.tensors]
        assert set(header.keys) >= set(SPLIT_KEYS)
        assert (len(header.keys) == len(SPLIT_KEYS)) == (number > 0)
        assert shard.size - len(shard.head) <= LIMIT or len(shard.offsets) == 1
    assert names == [tensor.raw.name for tensor in source.tensors]


def test_below_the_limit_one_file_is_enough(source: PassSource, spec: OutputSpec) -> None:
    assert outputs(source, replace(spec, shard=1 << 40)) == outputs(source, spec)
