"""Words of config.json: counts, names and declarations, wherever a family puts them."""

from __future__ import annotations

from typing import Any

import pytest

from bot.tensors.configs import (
    ACTIVE_KEYS,
    EXPERT_KEYS,
    LONGEST_NAME,
    MOST_EXPERTS,
    can_route,
    config_names,
    converter_name,
    differing_experts,
    integer,
    layer_count,
    number,
    quant_method,
    scopes_of,
    shared_experts,
    text_config,
)


def scopes(config: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(scopes_of(config))


def test_the_innermost_part_speaks_first() -> None:
    decoder = {"num_experts": 4, "moe": {"num_experts": 2}}
    config = {"num_experts": 16, "text_config": decoder, "vision_config": {"num_experts": 99}}
    assert scopes(config) == (decoder["moe"], decoder, config)
    thinker = {"thinker_config": {"text_config": {"num_experts": 8}}}
    assert number(scopes(thinker), EXPERT_KEYS) == 8
    assert scopes({"text_config": 7}) == ({"text_config": 7},)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (8, 8),
        (0, 0),
        (-1, None),
        (True, None),
        (8.0, None),
        ("8", None),
        (MOST_EXPERTS + 1, None),
        ([64, 32], 64),  # ERNIE-VL: text, vision
        ([1, 8, 4], 8),  # Hunyuan: an entry for each of 3 layers
        ([None, "x", 4], 4),
        ([], None),
        ([[8]], None),
    ],
)
def test_a_count_is_a_number_within_bounds(value: object, count: int | None) -> None:
    assert integer(value, MOST_EXPERTS, per_layer=3) == count


def test_a_positive_count_goes_before_zero_and_zero_before_none() -> None:
    assert number([{"num_experts": 0, "n_routed_experts": 8}], EXPERT_KEYS) == 8
    assert number([{"num_experts": 0}], EXPERT_KEYS) == 0
    assert number([{"num_experts": None}], EXPERT_KEYS) is None
    assert number([{"num_experts_per_tok": 2}], ACTIVE_KEYS) == 2


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_hidden_layers": 12}, 12),
        ({"n_layer": 6, "layer_types": ["x"] * 7}, 6),
        ({"layers_block_type": ["mamba", "moe"]}, 2),
        ({"hybrid_override_pattern": "ME*-"}, 4),
        ({"num_hidden_layers": 10_001}, None),
        ({"layer_types": 7}, None),
        ({}, None),
    ],
)
def test_layers_are_counted_or_listed(config: dict[str, Any], layers: int | None) -> None:
    assert layer_count(scopes(config)) == layers


@pytest.mark.parametrize(
    ("config", "shared"),
    [
        ({"n_shared_experts": 2}, 2),
        ({"shared_expert_intermediate_size": 512}, 1),
        ({"shared_expert_intermediate_size": 0}, 0),
        ({"text_config": {"model_type": "gemma4_text"}}, 1),  # which no key mentions
        ({"model_type": "mixtral"}, 0),
    ],
)
def test_shared_experts_by_count_size_or_family(config: dict[str, Any], shared: int) -> None:
    assert shared_experts(scopes(config)) == shared


@pytest.mark.parametrize(
    ("config", "counts"),
    [
        ({"num_experts": [8, 8, 6]}, (6, 8)),
        ({"num_experts": [8, 0, 1, 8]}, None),  # dense layers between
        ({"num_experts": [64, 32]}, None),  # text and vision
        ({"blocks": [{"num_experts": 4}, {"num_experts": 8}, {}]}, (4, 8)),
        ({"num_experts": 8}, None),
    ],
)
def test_layers_of_different_numbers_of_experts(
    config: dict[str, Any], counts: tuple[int, int] | None
) -> None:
    assert differing_experts(scopes(config)) == counts


def test_all_experts_may_be_active_and_none_may_not() -> None:
    assert can_route(8, 8)
    assert not can_route(8, 0)
    assert not can_route(8, 9)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM"),
        ({"architectures": ["Outer"], "text_config": {"architectures": ["Inner"]}}, "Inner"),
        (
            {
                "architectures": ["KimiK3ForConditionalGeneration"],
                "text_config": {"architectures": ["Inner"]},
            },
            "KimiK3ForConditionalGeneration",
        ),
        ({"architectures": ["PhimoeForCausalLM"]}, "PhiMoEForCausalLM"),  # another spelling
        ({"architectures": []}, None),
        ({}, None),
    ],
)
def test_the_name_that_the_converter_looks_up(config: dict[str, Any], name: str | None) -> None:
    assert converter_name(config) == name


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8"),
        ({"text_config": {"quantization_config": {"bits": 4}}}, "unnamed"),
        ({"compression_config": {"format": "pack-quantized"}}, "compressed-tensors"),
        ({"quantization": {"group_size": 64}}, "mlx"),
        ({"quantization_config": {}}, None),
        ({"quantization_config": "fp8"}, None),
        ({}, None),
    ],
)
def test_quantizations_are_declared_in_three_places(
    config: dict[str, Any], method: str | None
) -> None:
    assert quant_method(config) == method


def test_names_are_short_printable_strings() -> None:
    assert text_config("x" * LONGEST_NAME) is not None
    assert text_config("x" * (LONGEST_NAME + 1)) is None
    assert text_config("a\nb") is None
    assert text_config("") is None
    assert config_names(["A", 3, "", "B"]) == ("A", "B")
    assert config_names("A") == ("A",)
    assert config_names(None) == ()
