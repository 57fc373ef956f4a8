"""Models in shards are read as one, and llama.cpp takes them as one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files import gguf
from bot.clients.files.ggufheader import text_value, write_header
from bot.clients.llama.session import Session, Token
from bot.errors import SourceError
from bot.predict.architecture import architecture_of
from tests.oracle import quantize_recipe
from tests.split_gguf import split


@pytest.fixture(scope="module")
def shards(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The demo model in shards of forty tensors."""
    return split(demo_model, tmp_path_factory.mktemp("shards") / "Tiny-BF16.gguf", 40)


def logits(path: Path) -> np.ndarray:
    with Session(path, n_ctx=32, threads=1) as session:
        tokens = session.tokenize("The river rises in the north and")
        batch = [Token(id=t, position=i, logits=True) for i, t in enumerate(tokens)]
        rows = np.array(session.decode(batch))
    assert rows.shape[0] == len(tokens)
    assert np.isfinite(rows).all()
    return rows


def test_shards_are_one_model(demo_model: Path, shards: list[Path]) -> None:
    single, parts = gguf.read_gguf(demo_model), gguf.read_split(shards[0])
    assert len(shards) > 2
    assert gguf.shards(shards[0], parts) == tuple(shards)
    assert parts.tensors == single.tensors
    assert abs(parts.data_offset - single.data_offset) <= 128
    assert architecture_of(parts.metadata, parts.tensors) == architecture_of(
        single.metadata, single.tensors
    )
    assert len(gguf.read_gguf(shards[0]).tensors) == 40  # the first alone is not the model


def test_raw_headers_are_those_of_all_shards(demo_model: Path, shards: list[Path]) -> None:
    headers = gguf.raw_headers(shards[0])
    assert [path for path, _ in headers] == shards
    names = [tensor.name for _, header in headers for tensor in header.tensors]
    assert names == [tensor.name for tensor in gguf.read_gguf(demo_model).tensors]
    ((only, _),) = gguf.raw_headers(demo_model)
    assert only == demo_model


def test_a_single_file_is_its_own_only_shard(demo_model: Path) -> None:
    model = gguf.read_split(demo_model)
    assert model == gguf.read_gguf(demo_model)
    assert gguf.shards(demo_model, model) == (demo_model,)


def test_llama_cpp_gives_the_same_logits_and_files(
    demo_model: Path, shards: list[Path], tmp_path: Path
) -> None:
    assert np.array_equal(logits(demo_model), logits(shards[0]))
    for source, name in ((demo_model, "whole"), (shards[0], "parts")):
        target = tmp_path / f"{name}.gguf"
        quantize_recipe(source, target, file_type=18, types={}, imatrix=None, threads=2)
    assert (tmp_path / "whole.gguf").read_bytes() == (tmp_path / "parts.gguf").read_bytes()


def _without_the_last(paths: list[Path]) -> Path:
    paths[-1].unlink()
    return paths[0]


def _renamed(paths: list[Path]) -> Path:
    return paths[0].rename(paths[0].with_name("Tiny.gguf"))


def _the_same_twice(paths: list[Path]) -> Path:
    paths[2].write_bytes(paths[1].read_bytes())
    return paths[0]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_without_the_last, "does not exist; fetch all"),
        (_renamed, "name the first, NAME-00001-of-"),
        (lambda paths: paths[1], "name the first, NAME-00001-of-"),
        (_the_same_twice, "do not fit together"),
    ],
)
def test_broken_sets_are_refused(
    shards: list[Path], tmp_path: Path, broken: Callable[[list[Path]], Path], message: str
) -> None:
    copies = [tmp_path / path.name for path in shards]
    for path, copy in zip(shards, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    first = broken(copies)
    for read in (gguf.read_split, gguf.raw_headers):
        with pytest.raises(SourceError, match=message):
            read(first)


def array(key: str, inner: int, count: int, data: bytes) -> bytes:
    raw = key.encode()
    return struct.pack("<Q", len(raw)) + raw + struct.pack("<IIQ", 9, inner, count) + data


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        # each is short, all together are 8 MB of bytes, which Python's numbers make 290 MB of
        ([array(f"k{n}", 1, 65_536, b"\x80" * 65_536) for n in range(128)], "8,388,608 elements"),
        (
            [array("k", 8, 90, (struct.pack("<Q", 100_000) + b"x" * 100_000) * 90)],
            "90 elements and 9,000,",
        ),
        (
            [text_value("k", "x" * 5_000_000), text_value("l", "x" * 5_000_000)],
            "more than the 8,388,608 bytes",
        ),
    ],
    ids=["numbers", "texts in an array", "texts"],
)
def test_metadata_is_bounded_as_a_whole(tmp_path: Path, keys: list[bytes], message: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(write_header(keys, [], 32))
    with pytest.raises(SourceError, match=f"{message}.*that this apex-bot reads; choose another"):
        gguf.read_gguf(path)


def test_a_vocabulary_is_stepped_over_whatever_its_size(tmp_path: Path) -> None:
    tokens = array(
        "tokenizer.ggml.tokens", 8, 300_000, (struct.pack("<Q", 40) + b"t" * 40) * 300_000
    )
    path = tmp_path / "x.gguf"
    path.write_bytes(write_header([text_value("general.name", "x"), tokens], [], 32))
    assert gguf.read_gguf(path).metadata == {"general.name": "x"}


def test_of_shards_only_tensors_are_kept(shards: list[Path]) -> None:
    first, *later = (header for _, header in gguf.raw_headers(shards[0]))
    assert "tokenizer.ggml.tokens" in first.keys
    assert later
    for header in later:
        assert set(header.keys) <= set(gguf.OF_A_SHARD)
        assert header.tensors
