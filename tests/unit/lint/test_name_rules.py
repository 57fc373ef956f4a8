"""Names: labels of the Hub, tags of llama.cpp, places among shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.lint.repositories import (
    card_with,
    model,
    require_error,
    require_rules,
    sums,
    with_bytes,
    with_model,
)


def _unlabelled(folder: Path) -> None:
    (folder / "M-Q6_K.gguf").rename(folder / "M-APEX-I-Quality.gguf")
    model(folder / "M-APEX-Quality.gguf")
    model(folder / "mmproj-F16.gguf")
    card_with("M-Q6_K.gguf", "M-APEX-I-Quality.gguf")(folder)
    sums(folder)


# a defect as repositories have it: how it is made, and the rules that find it
MADE = {
    "label-less": (_unlabelled, {"no-label", "no-model-taken", "ambiguous-tag"}),
    "ambiguous": (with_model("Other-Q6_K.gguf"), {"ambiguous-label"}),
}


@pytest.mark.parametrize("defect", MADE)
def test_each_defect_is_found_and_nothing_else(folder: Path, defect: str) -> None:
    require_rules(folder, *MADE[defect])


BROKEN = {
    "a shard lacks": (with_model("N-Q8_0-00002-of-00002.gguf"), "missing-shard"),
    "a shard of the source lacks": (
        with_bytes("model-00001-of-00003.safetensors", lambda _: b"x"),
        "missing-shard",
    ),
    "the first shards lack": (with_model("N-Q8_0-00003-of-00003.gguf"), "missing-shard"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_an_error(folder: Path, what: str) -> None:
    require_error(folder, *BROKEN[what])
