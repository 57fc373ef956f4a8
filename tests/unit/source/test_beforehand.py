"""What small files tell before weights are fetched: tokenizers and projectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.errors import SourceError
from bot.source.beforehand import lacking_projector, require_whole
from bot.toolchain.toolchain import Toolchain

MEAN = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SEES = {"architectures": ["Qwen3_5MoeForConditionalGeneration"], "vision_config": {}}


def write(folder: Path, **files: Any) -> Path:
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def vocabulary(count: int, **more: Any) -> dict[str, Any]:
    return {"model": {"type": "BPE", "vocab": {f"t{i}": i for i in range(count)}}, **more}


@pytest.mark.parametrize(
    ("files", "config", "rows", "top"),
    [
        ({"tokenizer__json": vocabulary(100)}, {"vocab_size": 100}, 100, None),
        ({"tokenizer__json": vocabulary(100)}, {"vocab_size": 128}, 128, None),  # padded
        ({"tokenizer__json": vocabulary(101)}, {"vocab_size": 100}, 100, 100),
        ({"tokenizer__json": vocabulary(101)}, {"text_config": {"vocab_size": 100}}, 0, 100),
        ({"tokenizer__json": vocabulary(101)}, {"vocab_size": 128}, 100, 100),
        ({"tokenizer__json": vocabulary(90, added_tokens=[{"id": 117}])}, {}, 100, 117),
        ({"tokenizer__json": vocabulary(90), "added_tokens__json": {"<a>": 100}}, {}, 100, 100),
        ({"tokenizer__json": {"model": {"vocab": [["a", 0.0]] * 101}}}, {}, 100, 100),
        ({"tokenizer__json": vocabulary(101), "tokenizer__model": "spm"}, {}, 100, None),
        ({"tokenizer__json": {"model": []}}, {}, 100, None),
        ({"tokenizer__json": vocabulary(101)}, {}, 0, None),
    ],
)
def test_a_tokenizer_larger_than_the_embedding_is_told_with_both_sizes(
    files: dict[str, Any], config: dict[str, Any], rows: int, top: int | None, tmp_path: Path
) -> None:
    folder = write(tmp_path, **files)
    folder.joinpath("home").mkdir(exist_ok=True)
    if top is None:
        require_whole(folder, config, rows)
        return
    with pytest.raises(SourceError, match=f"tokens up to {top}, its embedding has 100 rows"):
        require_whole(folder, config, rows)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "there is no preprocessor_config.json, which tells image_mean, image_std"),
        ({"preprocessor_config__json": {}}, "preprocessor_config.json tell no image_mean"),
        ({"preprocessor_config__json": {"image_mean": [0.5]}}, "tell no image_std"),
        ({"preprocessor_config__json": MEAN}, None),
        ({"processor_config__json": {"image_processor": MEAN}}, None),
        ({"preprocessor_config__json": {"media_proc_cfg": MEAN}}, None),
    ],
)
def test_a_vision_part_that_cannot_be_converted_is_foretold(
    files: dict[str, Any], reason: str | None, tmp_path: Path, toolchain: Toolchain
) -> None:
    lacking = lacking_projector(write(tmp_path, **files), SEES, toolchain)
    assert lacking == reason if reason is None else reason in (lacking or "")


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("NemotronH_Nano_VL_V2", None),  # its class has values of its own
        ("DeepseekV4ForCausalLM", None),
        ("Qwen2AudioForConditionalGeneration", None),  # which sees nothing
        ("Exaone4_5_ForConditionalGeneration", "max_pixels, min_pixels"),
        ("NobodysForConditionalGeneration", "has none for NobodysForConditionalGeneration"),
    ],
)
def test_what_a_family_wants_is_read_from_its_converter(
    architecture: str, reason: str | None, tmp_path: Path, toolchain: Toolchain
) -> None:
    lacking = lacking_projector(tmp_path, {"architectures": [architecture]}, toolchain)
    assert lacking is None if reason is None else reason in (lacking or "")
