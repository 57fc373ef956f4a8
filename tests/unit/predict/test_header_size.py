"""Bytes before the data of a GGUF file that does not exist yet, against files of llama.cpp's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bot.predict.header_size import header_bytes, usual_text
from bot.records.model import Tensor
from bot.records.releases import Release, RepoFile

RELEASE = Release(repo_id="maker/Model", commit="0" * 40)


def vocabulary_bytes(count: int, **files: int) -> int:
    listed = tuple(RepoFile(path=n.replace("_", "."), size=size) for n, size in files.items())
    return header_bytes((), 0, count, replace(RELEASE, files=listed))


def test_tensor_descriptions_are_exact() -> None:
    tensor = Tensor(name="blk.0.ffn_up_exps.weight", shape=(256, 256, 6), type="BF16", bytes=1)
    many = header_bytes([tensor] * 32, 0, 0, RELEASE) - header_bytes((), 0, 0, RELEASE)
    assert many == 32 * (8 + len(tensor.name) + 4 + 3 * 8 + 4 + 8)


@pytest.mark.parametrize(
    ("count", "size", "real"),
    [
        # tokenizer.json as published, and llama.cpp's own models/ggml-vocab-*.gguf of it
        (151_936, 7_028_015, 5_928_681),  # Qwen2
        (50_257, 1_355_256, 1_766_807),  # GPT-2, in one line
        (102_400, 4_612_394, 3_970_167),  # DeepSeek-LLM
    ],
)
def test_vocabularies_within_a_few_percent(count: int, size: int, real: int) -> None:
    assert abs(vocabulary_bytes(count, tokenizer_json=size) / real - 1) < 0.03


def test_the_same_vocabulary_in_any_layout_of_json_is_the_same_size() -> None:
    count, text = 50_000, round(usual_text(50_000))
    tokens = {f"{'t' * (text - 5)}{i:05d}": i for i in range(count)}
    pairs = [[name[:3], name[3:]] for name in tokens][256:]
    layouts = [
        json.dumps({"vocab": tokens, "merges": merges}, indent=indent, separators=signs)
        for merges in (pairs, [" ".join(pair) for pair in pairs])
        for indent, signs in ((2, None), (None, (",", ":")))
    ]
    assert len({len(layout) for layout in layouts}) == 4
    real = vocabulary_bytes(count, tokenizer_json=len(layouts[0]))
    stored = sum(8 + len(n) + 4 for n in tokens) + sum(8 + len(a + b) + 1 for a, b in pairs)
    assert abs(real / stored - 1) < 0.05
    for layout in layouts[1:]:
        assert abs(vocabulary_bytes(count, tokenizer_json=len(layout)) / stored - 1) < 0.12


def test_other_tokenizers_and_none() -> None:
    # llama.cpp's ggml-vocab-llama-spm.gguf, of a tokenizer.model of 499,723 bytes
    assert abs(vocabulary_bytes(32_000, tokenizer_model=499_723) / 723_869 - 1) < 0.03
    assert vocabulary_bytes(32_000, tokenizer_model=10**12) == vocabulary_bytes(
        32_000, tokenizer_model=10**11
    )
    assert vocabulary_bytes(0) < 5_000
    usual = vocabulary_bytes(160_000)
    assert abs(vocabulary_bytes(160_000, tiktoken_model=2_800_000) / usual - 1) < 0.2


def test_a_chat_template_counts() -> None:
    def with_files(**files: int) -> int:
        listed = tuple(RepoFile(path=n.replace("_", "."), size=size) for n, size in files.items())
        return header_bytes((), 0, 1000, replace(RELEASE, files=listed))

    plain = with_files()
    template = RepoFile(path="chat_template.jinja", size=6400)
    release = replace(RELEASE, files=(template,))
    assert header_bytes((), 0, 1000, release) == plain + 6400
    config = RepoFile(path="tokenizer_config.json", size=10**9)
    assert header_bytes((), 0, 1000, replace(RELEASE, files=(config,))) - plain < 13_000


def test_what_is_padded_is_a_whole_number_of_blocks() -> None:
    assert header_bytes((), 3, 1001, RELEASE) % 32 == 0
