"""Quantizations by names and declarations, and originals that are stored below 16 bits."""

from __future__ import annotations

from typing import Any

import pytest

from bot.detect.moe import MoeFacts, moe_facts
from bot.detect.quantized import hinted

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 32,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
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
KIMI = DEEPSEEK | {"model_type": "kimi_k2"}


INT4 = {"num_bits": 4, "type": "int", "group_size": 32}


NVFP4 = {"num_bits": 4, "type": "float", "group_size": 16}


def packed(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    groups = {"group_0": {"weights": weights, "input_activations": None, "targets": ["Linear"]}}
    return {"quant_method": "compressed-tensors", "config_groups": groups} | more


@pytest.mark.parametrize(
    ("config", "declared", "native"),
    [
        (DEEPSEEK, {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0"}, True),
        (DEEPSEEK, {"quant_method": "fp8", "kv_cache_quant_algo": "NVFP4"}, True),
        (DEEPSEEK, {"quant_method": "fp8", "modules_to_not_convert": ["x.int4"]}, True),
        (DEEPSEEK, {"quant_method": "fp8", "moe_quant_algo": "NVFP4"}, False),
        (DEEPSEEK, {"quant_method": "fp8", "expert_quant_algo": "W4A8_NVFP4_FP8"}, False),
        (DEEPSEEK, {"quant_method": "fp8", "layers": {"mlp": {"quant_algo": "MXFP4"}}}, False),
        (DEEPSEEK, {"quant_method": "fp8", "layers": [{"dtype": "int4"}]}, False),
        (DEEPSEEK, {"quant_method": "fp8", "bits": 4}, False),
        (KIMI, packed(INT4, format="pack-quantized"), True),
        (KIMI, packed(INT4 | {"scale_dtype": "torch.uint8"}, kv_cache_scheme={"bits": 8}), True),
        (KIMI, packed(NVFP4), False),
        (KIMI, packed(INT4, format="nvfp4-pack-quantized"), False),
        (KIMI, packed({"num_bits": 8, "type": "float"}), False),
        (DEEPSEEK, packed(INT4), False),  # somebody's, of DeepSeek-V3
        (MIXTRAL, {"quant_method": "fp8"}, False),
        (DEEPSEEK, {"quant_method": ["fp8"], "bits": [8], "group_size": [[]]}, False),
    ],
)
def test_every_word_of_a_declaration_counts(
    config: dict[str, Any], declared: dict[str, Any], native: bool
) -> None:
    answer = moe_facts(config | {"quantization_config": declared})
    assert isinstance(answer, MoeFacts)
    assert answer.native_precision is native


@pytest.mark.parametrize(
    "name",
    [
        *("M-NF4", "M-4bit-DWQ", "M-oQ4", "M-exl3-3.0bpw", "M-NVFP4A16", "M-Q4", "M-Q4_K_M"),
        *("M-IQ2_XXS", "M-UD-Q3_K_XL", "M-W4A16-G128", "M-4-bit", "M_8bits", "M.int8", "M-W4AFP8"),
        *(
            "M-AutoRound",
            "M-quantized.w8a8",
            "M-MXFP4-mlx",
            "M-FP8-dynamic",
            "M-SpinQuant",
            "M-qx86",
        ),
    ],
)
def test_a_name_may_hint_at_a_quantization(name: str) -> None:
    assert hinted(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Qwen3.6-35B-A3B",
            "M-BF16",
            "M-fp16",
            "M-16bit",
            "Quant-7B",
            "gpt-oss-120b",
            "M-Q",
            "M-4B",
        ),
        *("GLM-5.2", "M-1.5", "Kimi-K2-Thinking", "M-Int", "M-8x7B", "Quantum-MoE", "M-F32"),
    ],
)
def test_most_names_hint_at_nothing(name: str) -> None:
    assert hinted(name) is None
