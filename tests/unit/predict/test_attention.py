"""Kinds of attention by config.json: configs as makers publish them, and each key by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.predict.attention import attention_kinds
from bot.records.patterns import attention_pattern as in_words
from bot.tensors.configs import layer_count, scopes_of

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
FULL = "unknown"  # the config does not tell: full attention, unless tensors speak against it
WORDS = {
    "MiniMaxAI__MiniMax-M1-80k.json": "full attention every 8th layer, linear otherwise",
    "MiniMaxAI__MiniMax-M2.7.json": "full attention in every layer",
    "Qwen__Qwen3-Next-80B-A3B-Instruct.json": "full attention every 4th layer, linear otherwise",
    "Qwen__Qwen3.5-122B-A10B.json": "full attention every 4th layer, linear otherwise",
    "Qwen__Qwen3-235B-A22B.json": FULL,
    "deepseek-ai__DeepSeek-V3.1.json": FULL,
    "deepseek-ai__DeepSeek-V3.2.json": "sparse attention in every layer",
    "deepseek-ai__DeepSeek-V4-Flash.json": "sparse attention in 41 layers, "
    "sliding attention in 2 layers",
    "google__gemma-4-26B-A4B.json": "full attention every 6th layer, sliding otherwise",
    "meta-llama__Llama-4-Scout-17B-16E-Instruct.json": "full attention every 4th layer, "
    "chunked otherwise",
    "microsoft__Phi-3.5-MoE-instruct.json": FULL,  # its window is as long as its context
    "mistralai__Mixtral-8x7B-v0.1.json": FULL,
    "moonshotai__Kimi-K3.json": "linear attention in 69 layers, full attention in 24 layers",
    "moonshotai__Kimi-Linear-48B-A3B-Instruct.json": "linear attention in 20 layers, "
    "full attention in 7 layers",
    "openai__gpt-oss-120b.json": "full attention every 2nd layer, sliding otherwise",
    "poolside__Laguna-XS.2.json": "full attention every 4th layer from layer 1, sliding otherwise",
    "zai-org__GLM-5.2.json": "sparse attention in every layer",
}


@pytest.mark.skipif(not DATA.is_dir(), reason="the real configs are not beside the checkout")
@pytest.mark.parametrize("file", WORDS)
def test_attention_of_real_configs(file: str) -> None:
    config = json.loads((DATA / "configs" / file).read_text(encoding="utf-8"))
    scopes = tuple(scopes_of(config))
    assert in_words(attention_kinds(scopes, layer_count(scopes) or 0) or ()) == WORDS[file]


def _mixtures() -> Iterator[str]:
    index = DATA / "configs" / "index.csv"
    if index.is_file():
        with index.open(encoding="utf-8", newline="") as stream:
            yield from (r["file"] for r in csv.DictReader(stream) if r["is_moe"] == "yes")


@pytest.mark.parametrize("file", [*_mixtures()])
def test_every_real_mixture_has_a_word_for_each_layer_or_none(file: str) -> None:
    config = json.loads((DATA / "configs" / file).read_text(encoding="utf-8"))
    scopes = tuple(scopes_of(config))
    layers = layer_count(scopes)
    assert layers
    kinds = attention_kinds(scopes, layers)
    assert kinds is None or len(kinds) == layers


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"] * 2}, "sfsf"),
        ({"layer_types": ["never_heard_of"] * 4, "full_attention_interval": 2}, "lflf"),
        ({"layer_types": ["full_attention"] * 3, "full_attention_interval": 4}, "lllf"),
        ({"hybrid_override_pattern": "ME*-"}, "lnfn"),
        ({"layers_block_type": ["mamba", "attention", "moe", "mlp"]}, "lfnn"),
        ({"attn_layer_period": 4, "attn_layer_offset": 1}, "lfll"),
        ({"attn_type_list": [0, 1, 1, 0]}, "lffl"),
        ({"linear_attn_config": {"full_attn_layers": [2, 4, "x"]}}, "lflf"),
        ({"sliding_window_pattern": "LLG", "sliding_window": 9}, "ssfs"),
        ({"sliding_window_pattern": 2}, "sfsf"),
        ({"sliding_window_layout": [1, 0, 0, 1]}, "sffs"),
        ({"no_rope_layers": [1, 1, 0, 1]}, "ccfc"),
        ({"attention_chunk_size": 8192}, "cccf"),
        ({"model_type": "llama4_text"}, "cccf"),
        ({"model_type": "llama4_text", "attention_chunk_size": None}, None),
        ({"model_type": "smollm4", "no_rope_layers": [1, 1, 0, 1]}, None),
        ({"sparse_attention_config": {"sparse_attention_freq": [0, 1, 1, 2]}}, "fppp"),
        ({"sparse_attention_config": {"sparse_attention_freq": [False, True] * 2}}, "fpfp"),
        (
            {
                "sparse_attention_config": {
                    "use_sparse_attention": False,
                    "sparse_attention_freq": [0, 1, 1, 1],
                }
            },
            None,
        ),
        ({"sparse_attention_config": {"sparse_attention_freq": [1]}}, None),
        ({"sparse_attention_config": 7}, None),
        ({"layer_types": ["full_attention", "deepseek_sparse_attention"] * 2}, "fpfp"),
        ({"compress_ratios": [0, 4, 128, 4, 0]}, "sppp"),
        ({"index_topk": 2048}, "pppp"),
        ({"sliding_window": 4096, "max_position_embeddings": 32768}, "ssss"),
        ({"sliding_window": 4096, "use_sliding_window": False}, None),
        ({"sliding_window": 4096, "max_position_embeddings": 4096}, None),
        ({"full_attention_interval": 0}, None),
        ({"full_attention_interval": True}, None),
        ({"layer_types": 7, "hybrid_override_pattern": {}, "attn_type_list": "01"}, None),
        ({"layer_types": [[]] * 4, "linear_attn_config": [], "compress_ratios": [{}] * 4}, None),
        ({}, None),
    ],
)
def test_each_way_to_tell_attention(config: dict[str, Any], words: str | None) -> None:
    letters = {"full": "f", "sliding": "s", "linear": "l", "none": "n", "chunked": "c"}
    kinds = attention_kinds((config,), 4)
    assert (kinds and "".join(letters.get(word, "p") for word in kinds)) == words
