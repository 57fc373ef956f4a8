"""Models of true shape: their sizes, and that the same are written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.clients.files.ggufheader import header_contents, read_header
from bot.disk.hashes import sha256
from bot.predict.architecture import architecture_of
from bot.settings.sections import DEMO
from tests.true_shapes import DEEPSEEK, GPT_OSS, QWEN, SHAPES, Shape
from tests.true_weights import write_model

TOKENIZER = DEMO / "tiny-moe-Q8_0.gguf"
# weights of the releases, in thousand millions, as their makers tell them
WEIGHTS = {QWEN.name: 34.7, GPT_OSS.name: 116.8, DEEPSEEK.name: 671.0}


@pytest.mark.parametrize("name", SHAPES)
def test_a_whole_release_has_its_weights(tmp_path: Path, name: str) -> None:
    shape, path = SHAPES[name], tmp_path / "whole.gguf"
    head, size = shape.header(shape.size, [])
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    found = gguf.read_gguf(path)
    weights = sum(tensor.parameters for tensor in found.tensors)
    assert weights / 1e9 == pytest.approx(WEIGHTS[name], rel=0.005)
    architecture = architecture_of(found.metadata, found.tensors)
    assert (architecture.layers, architecture.experts, architecture.vocabulary) == (
        shape.size.layers,
        shape.size.experts,
        shape.size.vocabulary,
    )


def _written(path: Path, shape: Shape, **options: int) -> Path:
    size = shape.sized(2, 4, options.pop("vocabulary", 4096))
    write_model(shape, path, size, tokenizer=TOKENIZER, **options)
    return path


@pytest.mark.road
def test_a_seed_settles_every_byte(tmp_path: Path) -> None:
    hashes = [
        sha256(_written(tmp_path / f"{number}.gguf", GPT_OSS, seed=seed))
        for number, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.road
def test_a_vocabulary_is_padded_and_never_cut(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.gguf", GPT_OSS, vocabulary=5000)
    keys = read_header(path).keys
    tokens, kinds = (
        header_contents(name, keys[name])
        for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
    )
    assert isinstance(tokens, list)
    assert isinstance(kinds, list)
    assert (len(tokens), len(kinds), tokens[-1], kinds[-1]) == (5000, 5000, "[PAD4999]", 5)
    assert len(set(tokens)) == 5000
    with pytest.raises(ValueError, match="4,096 tokens, more than 4,000"):
        _written(tmp_path / "b.gguf", GPT_OSS, vocabulary=4000)


def test_layers_of_every_kind_are_there() -> None:
    with pytest.raises(ValueError, match="name 4 or more"):
        QWEN.sized(3)
