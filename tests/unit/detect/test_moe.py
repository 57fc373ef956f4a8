"""Configs of mixtures and of what only looks like one, written by hand, real and mutated."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from bot.detect.buildable import decide
from bot.detect.moe import MoeFacts, NotMoe, clearly_dense, moe_facts
from bot.errors import SourceError
from bot.foreign import strict_object
from bot.records.releases import Release, RepoFile

CONFIGS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "configs"

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 32,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
QWEN = {
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "model_type": "qwen3_5_moe",
    "text_config": {
        "model_type": "qwen3_5_moe_text",
        "num_hidden_layers": 40,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "shared_expert_intermediate_size": 512,
    },
    "vision_config": {"num_hidden_layers": 27, "num_local_experts": 3},
}
DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "quantization_config": {"quant_method": "fp8"},
}
OMNI = {
    "model_type": "qwen3_omni_moe",
    "thinker_config": {
        "text_config": {"num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48}
    },
    "talker_config": {"text_config": {"num_experts": 64, "num_experts_per_tok": 6}},
}
DBRX = {
    "model_type": "dbrx",
    "n_layers": 40,
    "ffn_config": {"moe_num_experts": 16, "moe_top_k": 4},
}
ERNIE_VL = {
    "model_type": "ernie4_5_moe_vl",
    "num_hidden_layers": 28,
    "moe_num_experts": [64, 48],
    "moe_k": 6,
    "moe_num_shared_experts": 2,
}
HUNYUAN = {
    "model_type": "hunyuan_v1_moe",
    "num_hidden_layers": 3,
    "num_experts": [1, 16, 16],
    "moe_topk": [1, 2, 2],
}
LLAMA4 = {
    "model_type": "llama4",
    "text_config": {
        "model_type": "llama4_text",
        "num_hidden_layers": 48,
        "num_local_experts": 16,
        "num_experts_per_tok": 1,
    },
}
GEMMA4 = {
    "model_type": "gemma4",
    "text_config": {
        "model_type": "gemma4_text",
        "num_hidden_layers": 30,
        "enable_moe_block": True,
        "num_experts": 128,
        "top_k_experts": 8,
    },
}
NEMOTRON_H = {
    "model_type": "nemotron_h",
    "num_hidden_layers": 4,
    "hybrid_override_pattern": "ME*E",
    "n_routed_experts": 128,
    "num_experts_per_tok": 6,
    "n_shared_experts": 1,
}
SMALL_THINKER = {
    "model_type": "smallthinker",
    "num_hidden_layers": 32,
    "moe_num_primary_experts": 32,
    "moe_num_active_primary_experts": 4,
}


@pytest.mark.parametrize(
    ("config", "counts"),
    [
        (MIXTRAL, (32, 8, 2, 0)),
        (QWEN, (40, 256, 8, 1)),
        (DEEPSEEK, (61, 256, 8, 1)),
        (OMNI, (48, 128, 8, 0)),
        (DBRX, (40, 16, 4, 0)),
        (ERNIE_VL, (28, 64, 6, 2)),
        (HUNYUAN, (3, 16, 2, 0)),
        (LLAMA4, (48, 16, 1, 1)),
        (GEMMA4, (30, 128, 8, 1)),
        (NEMOTRON_H, (4, 128, 6, 1)),
        (SMALL_THINKER, (32, 32, 4, 0)),
        ({"num_experts": 4, "num_experts_per_tok": 2}, (None, 4, 2, 0)),
        # re-saved under the other alias, the first name left behind as null
        (MIXTRAL | {"num_experts": None}, (32, 8, 2, 0)),
        (MIXTRAL | {"shared_intermediate_size": 0}, (32, 8, 2, 0)),
        (MIXTRAL | {"shared_intermediate_size": 1024}, (32, 8, 2, 1)),
        (MIXTRAL | {"mlp_layer_types": ["dense", "sparse"]}, (32, 8, 2, 0)),
    ],
)
def test_mixtures(config: dict[str, Any], counts: tuple[int | None, int, int, int]) -> None:
    facts = moe_facts(config)
    assert isinstance(facts, MoeFacts)
    assert (facts.layers, facts.experts, facts.experts_active, facts.shared) == counts


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "config.json names no experts"),
        ({"model_type": "llama", "num_hidden_layers": 32}, "config.json names no experts"),
        (DEEPSEEK | {"n_routed_experts": None}, "dense: n_routed_experts is null"),
        (MIXTRAL | {"num_local_experts": 0}, "dense: num_local_experts is 0"),
        (MIXTRAL | {"num_local_experts": 1}, "dense: num_local_experts is 1"),
        (MIXTRAL | {"num_local_experts": True}, "dense: num_local_experts is true"),
        (MIXTRAL | {"num_local_experts": "8"}, "dense: num_local_experts is not a number"),
        (MIXTRAL | {"num_local_experts": -8}, "dense: num_local_experts is out of range"),
        (MIXTRAL | {"num_local_experts": 10**5000}, "dense: num_local_experts is out of range"),
        (MIXTRAL | {"num_experts_per_tok": None}, "gives 8 experts but not how many are active"),
        (MIXTRAL | {"num_experts_per_tok": 9}, "says that 9 of 8 experts are active"),
        (MIXTRAL | {"mlp_layer_types": ["dense"] * 32}, "mlp_layer_types has no layer"),
        (MIXTRAL | {"first_k_dense_replace": 32}, "all 32 layers are leading dense layers"),
        (NEMOTRON_H | {"hybrid_override_pattern": "M-*-"}, "hybrid_override_pattern has no layer"),
        (
            GEMMA4 | {"text_config": GEMMA4["text_config"] | {"enable_moe_block": False}},  # type: ignore[operator]  # a dict in a dict
            "enable_moe_block is false",
        ),
        (
            {
                "model_type": "doge",
                "num_experts": 16384,
                "num_experts_per_tok": 64,
                "is_moe": False,
            },
            "is_moe is false",
        ),
        ({"peft_type": "LORA", "base_model_name_or_path": "x"}, "an adapter"),
        ({"_class_name": "FluxPipeline"}, "diffusion pipeline"),
        (MIXTRAL | {"is_encoder_decoder": True}, "an encoder-decoder"),
        (MIXTRAL | {"model_type": "switch_transformers"}, "an encoder-decoder"),
        (MIXTRAL | {"architectures": ["LlamaForCausalLMEagle3"]}, "a draft model"),
        (MIXTRAL | {"model_type": "openai_privacy_filter"}, "an encoder"),
        (MIXTRAL | {"architectures": ["MixtralForTokenClassification"]}, "a classifier"),
        (MIXTRAL | {"model_type": "vitpose_backbone"}, "a vision model"),
        (
            {"vision_config": {"num_local_experts": 64, "num_experts_per_tok": 2}},
            "names no experts",
        ),
    ],
)
def test_everything_else_says_why(config: dict[str, Any], reason: str) -> None:
    answer = moe_facts(config)
    assert isinstance(answer, NotMoe)
    assert reason in answer.reason


def test_all_experts_may_be_active() -> None:
    answer = moe_facts(MIXTRAL | {"num_local_experts": 2})
    assert isinstance(answer, MoeFacts)
    assert (answer.experts, answer.experts_active) == (2, 2)


def test_an_original_at_low_precision_is_told_from_a_quantization_of_it() -> None:
    original = moe_facts(DEEPSEEK)
    requantized = moe_facts(DEEPSEEK | {"quantization_config": {"quant_method": "awq"}})
    unnamed = moe_facts(DEEPSEEK | {"quantization_config": {"bits": 4}})
    sixteen = moe_facts(MIXTRAL)
    assert isinstance(original, MoeFacts)
    assert original.native_precision
    assert isinstance(requantized, MoeFacts)
    assert (requantized.quant_method, requantized.native_precision) == ("awq", False)
    assert isinstance(unnamed, MoeFacts)
    assert (unnamed.quant_method, unnamed.native_precision) == ("unnamed", False)
    assert isinstance(sixteen, MoeFacts)
    assert sixteen.quant_method is None


KIMI = DEEPSEEK | {"model_type": "kimi_k2"}
INT4 = {"num_bits": 4, "type": "int", "group_size": 32}


def packed(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    groups = {"group_0": {"weights": weights, "input_activations": None, "targets": ["Linear"]}}
    return {"quant_method": "compressed-tensors", "config_groups": groups} | more


@pytest.mark.parametrize(
    ("key", "declared", "method"),
    [
        ("quantization", {"group_size": 64, "bits": 4}, "mlx"),
        ("quantization", {"group_size": 32, "bits": 4, "mode": "mxfp4"}, "mlx"),
        ("compression_config", packed(INT4), "compressed-tensors"),
        ("compression_config", {"format": "pack-quantized"}, "compressed-tensors"),
        ("quantization", {}, None),
        ("quantization", "none", None),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_quantization_is_declared_in_many_places(
    key: str, declared: Any, method: str | None, inside: bool
) -> None:
    config: dict[str, Any] = deepcopy(QWEN)
    (config["text_config"] if inside else config)[key] = declared
    answer = moe_facts(config)
    assert isinstance(answer, MoeFacts)
    assert (answer.quant_method, answer.native_precision) == (method, False)


@pytest.mark.parametrize(
    ("model_type", "architectures", "ruled_out"),
    [
        ("qwen3", ("Qwen3ForCausalLM",), True),
        ("bert", (), True),
        ("llama", ("LlamaMoEForCausalLM",), False),
        ("mixtral", ("MixtralForCausalLM",), False),
        ("gemma4", (), False),
        ("never-seen-before", ("NewForCausalLM",), False),
        (None, (), False),
    ],
)
def test_a_listing_rules_out_known_dense_families_only(
    model_type: str | None, architectures: tuple[str, ...], ruled_out: bool
) -> None:
    assert (clearly_dense(model_type, architectures) is not None) is ruled_out


# ── real configs ────────────────────────────────────────────────────────────────────────────


def _index() -> list[dict[str, str]]:
    if not CONFIGS.is_dir():
        return []
    with (CONFIGS / "index.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="the real configs are not beside the checkout")
def test_real_configs_are_all_told_rightly() -> None:
    wrong = [row["file"] for row in _index() if not _told_rightly(row)]
    assert len(_index()) == 65
    assert wrong == []


def _told_rightly(row: dict[str, str]) -> bool:
    config = json.loads((CONFIGS / row["file"]).read_text(encoding="utf-8"))
    answer = moe_facts(config)
    if isinstance(answer, NotMoe):
        return row["is_moe"] == "no" and bool(answer.reason)
    keys = ("n_layers", "n_routed_experts", "n_active_experts", "n_shared_experts")
    counts = (answer.layers, answer.experts, answer.experts_active, answer.shared)
    native = row["kind"] in ("decoder_moe_native_quant", "decoder_moe_renamed")
    return (
        row["is_moe"] == "yes"
        and counts == tuple(int(row[key]) for key in keys)
        and answer.native_precision is native
        and clearly_dense(answer.model_type, answer.architectures) is None
    )


# ── hostile configs ─────────────────────────────────────────────────────────────────────────

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**63, 10**5000, float("nan"), float("inf"), 1e308, "", "8"),
    *("x" * 1_000_000, "\x00\x1b[31m\n", "(a+)+$" * 50, [], {}, [None], [[[8]]], [8] * 100_000),
    *({"text_config": 1}, {"model_type": ["a", {}]}, [{"num_experts": 8}]),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from _paths(inner, (*path, key))


def _deep(levels: int, key: str) -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for _ in range(levels):
        deep = {key: deep}
    return deep


DEEP = (_deep(10_000, "text_config"), _deep(10_000, "quantization_config"), _deep(500, "x"))


def _mutated(config: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    config = deepcopy(config)
    for _ in range(dice.randint(1, 4)):
        paths = list(_paths(config))
        if not paths:
            break
        *way, last = dice.choice(paths)
        part = config
        for step in way:
            part = part[step]
        chance = dice.random()
        if chance < 0.2:
            del part[last]
        elif chance < 0.3:
            part[dice.choice(("text_config", "num_experts", "x" * 100_000, "\x00"))] = part[last]
        else:
            part[last] = deepcopy(dice.choice(HOSTILE))
    if dice.random() < 0.1:
        config[dice.choice(list(config) or ["a"])] = dice.choice(DEEP)
    return config


def _damaged(config: dict[str, Any], dice: random.Random) -> dict[str, Any] | None:
    """The config as its file would come with bytes changed; None where that is no config."""
    content = bytearray(json.dumps(config)[:20_000].encode())
    for _ in range(dice.randint(1, 3)):
        content[dice.randrange(len(content))] = dice.choice(b'{}[]",:0eE-\\\xff\x00')
    try:
        return strict_object(bytes(content), "config.json")
    except SourceError:
        return None


FAMILIES = (MIXTRAL, QWEN, DEEPSEEK, OMNI, DBRX, ERNIE_VL, HUNYUAN, LLAMA4, GEMMA4, NEMOTRON_H)


def _configs(count: int, dice: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(count):
        family = dice.choice(FAMILIES)
        config = _damaged(family, dice) if number % 5 == 0 else _mutated(family, dice)
        if config is not None:
            yield config


def _check(config: dict[str, Any]) -> tuple[type, str]:
    """Ask for facts and for a decision; whatever the config, both are well-formed."""
    answer = moe_facts(config)
    if isinstance(answer, NotMoe):
        assert answer.reason.isprintable()
        assert len(answer.reason) < 200
    else:
        assert 1 <= answer.experts_active <= answer.experts <= 65_536
        assert 0 <= answer.shared <= 65_536
        assert all(name.isprintable() for name in answer.architectures)
    files = (RepoFile(path="config.json", size=1), RepoFile(path="model.safetensors", size=1))
    release = Release(repo_id="maker/Model", commit="c" * 40, files=files)
    decision = decide(release, config, supported=frozenset({"MixtralForCausalLM"}))
    assert decision.reason.isprintable()
    assert len(decision.reason) < 400
    if decision.outcome != "already_quantized":  # said of what is no mixture, too
        eligible = decision.outcome in ("eligible", "unsupported_converter")
        assert isinstance(answer, MoeFacts) == eligible
    return type(answer), decision.outcome


def test_mutated_configs_give_a_decision() -> None:
    dice = random.Random(20261123)  # noqa: S311 - a seed, so that a failure repeats
    outcomes = {_check(config) for config in _configs(300, dice)}
    assert {kind for kind, _ in outcomes} == {NotMoe, MoeFacts}
    assert {outcome for _, outcome in outcomes} >= {"eligible", "not_moe", "dense_sibling"}


@pytest.mark.long
def test_ten_thousand_mutated_configs_give_a_decision() -> None:
    dice = random.Random(42)  # noqa: S311 - a seed, so that a failure repeats
    assert sum(bool(_check(config)) for config in _configs(10_000, dice)) > 8_000


def test_deep_nesting_is_no_trouble() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"text_config": deep}
    assert isinstance(moe_facts(deep), NotMoe)


@pytest.mark.parametrize(
    ("changes", "extremes"),
    [
        ({"num_local_experts": [8, 8, 6, 8]}, (6, 8)),
        ({"num_local_experts": 8, "num_experts": [64, 32, 64]}, (32, 64)),
        ({"num_local_experts": [8, 0, 8, 1]}, None),  # dense layers between
        ({"num_local_experts": [8, 6]}, None),  # text and vision
        ({"block_configs": [{"n_routed_experts": n} for n in (8, 8, 4)]}, (4, 8)),
        ({"block_configs": [{"n_routed_experts": 8}, {"block_type": "mamba"}, {}]}, None),
        ({"num_local_experts": [8, [6], "6", None, True]}, None),
    ],
)
def test_layers_with_other_numbers_of_experts(
    changes: dict[str, Any], extremes: tuple[int, int] | None
) -> None:
    config = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2} | changes
    facts = moe_facts(config)
    if extremes is None:
        assert isinstance(facts, MoeFacts)
    else:
        assert isinstance(facts, NotMoe)
        assert f"have {extremes[0]} to {extremes[1]} experts" in facts.reason
        assert facts.outcome == "unsupported_converter"
