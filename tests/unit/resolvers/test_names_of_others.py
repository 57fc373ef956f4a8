"""Short names of others: what each fetches by the rules of the program that reads it."""

from __future__ import annotations

import pytest

from bot.card.commands import card_commands
from bot.resolvers.hub_labels import hub_label, hub_snippet, unlabelled
from bot.resolvers.llamacpp import ambiguous, llama_file, llama_tag, models
from bot.resolvers.ollama import ollama_file, ollama_tag

SEED = [
    *(
        f"Qwen3.6-35B-A3B-APEX-{tier}.gguf"
        for tier in ("Balanced", "Compact", "I-Balanced", "I-Compact", "I-Mini", "I-Quality")
    ),
    "Qwen3.6-35B-A3B-APEX-Quality.gguf",
    "README.md",
    "imatrix.gguf",
    "mmproj.gguf",
]


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Qwen3.6-35B-A3B-APEX-I-Quality.gguf", None),
        ("Model-APEX-I-Quality-Q6_K.gguf", "Q6_K"),
        ("Model-APEX-Q6_K_IQUALITY.gguf", "Q6_K_IQUALITY"),
        ("model-ud-q4_k_xl.gguf", "UD-Q4_K_XL"),
        ("Model-F16-IQ2_XXS-00001-of-00002.gguf", "IQ2_XXS"),
        ("mmproj-model-f16.gguf", "F16"),
    ],
)
def test_labels_are_the_last_type_in_the_name(path: str, label: str | None) -> None:
    assert hub_label(path) == label


def test_a_tag_fetches_the_first_file_in_order_that_has_it() -> None:
    assert llama_file(SEED, "Quality") == "Qwen3.6-35B-A3B-APEX-I-Quality.gguf"
    assert llama_file(SEED, "APEX-Quality") == "Qwen3.6-35B-A3B-APEX-Quality.gguf"
    assert llama_file(SEED, "i-mini") == "Qwen3.6-35B-A3B-APEX-I-Mini.gguf"
    assert llama_file(SEED, "I-Nano") is None
    assert llama_file(SEED, None) == "Qwen3.6-35B-A3B-APEX-Balanced.gguf"
    assert llama_file([*SEED, "Z-Q8_0.gguf"], None) == "Z-Q8_0.gguf"
    assert llama_file([*SEED, "preset.ini"], "I-Mini") == "preset.ini"
    assert llama_file(SEED, "mmproj") is None


def test_shards_are_fetched_by_their_first() -> None:
    shards = [f"M-I-Mini-0000{n}-of-00002.gguf" for n in (2, 1)]
    assert models(shards) == ["M-I-Mini-00001-of-00002.gguf"]
    assert llama_file(shards, "I-Mini") == "M-I-Mini-00001-of-00002.gguf"
    assert ollama_file(shards, shards[1]) is None, "Ollama refuses shards"


@pytest.mark.parametrize(
    ("tier", "tag"), [("Quality", "APEX-Quality"), ("I-Quality", "I-Quality"), ("no tag!", None)]
)
def test_a_tag_is_offered_only_where_it_leads_to_the_file(tier: str, tag: str | None) -> None:
    path = f"Qwen3.6-35B-A3B-APEX-{tier}.gguf"
    assert llama_tag([*SEED, path], path, [tier]) == tag


def test_ollama_takes_a_file_name_or_a_label_of_one_file() -> None:
    assert ollama_file(SEED, SEED[0]) == SEED[0]
    assert ollama_file(["A-Q6_K.gguf"], "q6_k") == "A-Q6_K.gguf"
    assert ollama_file(["A-Q6_K.gguf", "B-Q6_K.gguf"], "Q6_K") is None
    assert ambiguous(["B-Q6_K.gguf", "A-Q6_K.gguf"]) == [("Q6_K", ("A-Q6_K.gguf", "B-Q6_K.gguf"))]


def test_the_hubs_own_snippet_names_a_labelled_file() -> None:
    assert hub_snippet(SEED) is None
    assert hub_snippet([*SEED, "mmproj-F16.gguf"]) == "mmproj-F16.gguf"
    assert hub_snippet(["A-Q2_K.gguf", "A-Q4_K_M.gguf"]) == "A-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("repo", "file", "tag"),
    [
        ("me/model", f"{'m' * 76}.gguf", None),  # 81 characters
        ("me/model", f"{'m' * 75}.gguf", f"{'m' * 75}.gguf"),
        ("me/model", f"{'m' * 80}-Q6_K_MINI.gguf", "Q6_K_MINI"),
        (f"me/{'r' * 81}", "m.gguf", None),
        ("my.name/model", "m.gguf", None),
        ("me/model", "My Model (v2).gguf", None),
        ("me/model", "modèle-Q6_K.gguf", "Q6_K"),
        ("me/model", "-m.gguf", None),
    ],
)
def test_a_command_of_ollamas_only_where_each_part_of_the_name_is_taken(
    repo: str, file: str, tag: str | None
) -> None:
    assert ollama_tag(repo, [file], file) == tag
    printed = [c.lines[0] for c in card_commands(repo, [file], file, []) if c.program == "Ollama"]
    assert printed == ([f"ollama run hf.co/{repo}:{tag}"] if tag else [])


@pytest.mark.parametrize("name", ["M-MXFP4", "m-mxfp4_moe", "x-NVFP4-y", "UD-Q4_K_XL", "a.f32.b"])
def test_no_label_is_left_in_a_name(name: str) -> None:
    assert hub_label(name) is not None
    assert hub_label(unlabelled(name)) is None
