"""llama.cpp's architecture for each model class: data from ModelBase.register of its converter.

Only classes that can have experts. A class that is not here is planned by its tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.tensors.configs import converter_name, scopes_of, text_config

CLASSES: dict[str, tuple[str, ...]] = {
    "afmoe": ("AfmoeForCausalLM",),
    "arctic": ("ArcticForCausalLM",),
    "bailingmoe": ("BailingMoeForCausalLM",),
    "bailingmoe2": ("BailingMoeV2ForCausalLM", "SarvamMoEForCausalLM"),
    "bailingmoe3": ("BailingMoeV3ForCausalLM", "BailingMoeV3VLForConditionalGeneration"),
    "cohere2moe": ("Cohere2MoeForCausalLM",),
    "dbrx": ("DbrxForCausalLM",),
    "deepseek": ("DeepseekForCausalLM",),
    "deepseek2": (
        *("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekOCRForCausalLM"),
        *("UnlimitedOCRForCausalLM", "KimiVLForConditionalGeneration"),
        *("KimiK25ForConditionalGeneration", "YoutuForCausalLM"),
        *("YoutuVLForConditionalGeneration", "Glm4MoeLiteForCausalLM"),
    ),
    "deepseek32": ("DeepseekV32ForCausalLM",),
    "deepseek4": ("DeepseekV4ForCausalLM",),
    "dots1": ("Dots1ForCausalLM",),
    "dots3note": (
        *("Dots3NoteForCausalLM", "Dots3NoteForConditionalGeneration"),
        "Dots3NoteTextForCausalLM",
    ),
    "ernie4_5-moe": ("Ernie4_5_MoeForCausalLM",),
    "exaone-moe": ("ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM"),
    "gemma4": (
        *("Gemma4ForConditionalGeneration", "Gemma4ForCausalLM"),
        "Gemma4UnifiedForConditionalGeneration",
    ),
    "glm-dsa": ("GlmMoeDsaForCausalLM",),
    "glm4moe": ("Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration", "SolarOpenForCausalLM"),
    "glm5-next": ("Glm5NextForConditionalGeneration",),
    "gpt-oss": ("GptOssForCausalLM",),
    "granite_swa": ("GraniteMoeSWAForCausalLM",),
    "granitehybrid": ("GraniteMoeHybridForCausalLM",),
    "granitemoe": ("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    "grok": ("GrokForCausalLM", "Grok1ForCausalLM"),
    "grovemoe": ("GroveMoeForCausalLM",),
    "hunyuan-moe": ("HunYuanMoEV1ForCausalLM",),
    "hy_v3": ("HYV3ForCausalLM",),
    "hy_v4": ("HYV4ForCausalLM",),
    "jamba": ("JambaForCausalLM",),
    "kimi-k3": ("KimiK3ForConditionalGeneration",),
    "kimi-linear": ("KimiLinearModel", "KimiLinearForCausalLM"),
    "laguna": ("LagunaForCausalLM",),
    "lfm2moe": ("Lfm2MoeForCausalLM",),
    "llada-moe": ("LLaDAMoEModel", "LLaDAMoEModelLM"),
    "llama": ("MixtralForCausalLM",),
    "llama4": ("Llama4ForConditionalGeneration", "Llama4ForCausalLM"),
    "maple": ("MapleForCausalLM",),
    "mellum": ("MellumForCausalLM",),
    "mimo2": ("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"),
    "minicpm": ("MiniCPMForCausalLM",),
    "minimax-01": ("MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM"),
    "minimax-m2": ("MiniMaxM2ForCausalLM",),
    "minimax-m3": ("MiniMaxM3SparseForCausalLM", "MiniMaxM3SparseForConditionalGeneration"),
    "mistral3": ("Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"),
    "nemotron_h_moe": ("NemotronHForCausalLM", "NemotronHPuzzleForCausalLM"),
    "olmoe": ("OlmoeForCausalLM",),
    "phimoe": ("PhiMoEForCausalLM",),
    "qwen2moe": ("Qwen2MoeForCausalLM",),
    "qwen35moe": ("Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"),
    "qwen3moe": ("Qwen3MoeForCausalLM",),
    "qwen3next": ("Qwen3NextForCausalLM",),
    "qwen3vlmoe": (
        *("Qwen3VLMoeForConditionalGeneration", "Qwen3OmniMoeForConditionalGeneration"),
    ),
    "qwen4exp": ("Qwen4ExpForConditionalGeneration", "Qwen4ExpForCausalLM"),
    "rnd1": ("RND1",),
    "smallthinker": ("SmallThinkerForCausalLM",),
    "step35": ("Step3p5ForCausalLM", "Step3p7ForConditionalGeneration"),
}
_FAMILY = {name: family for family, classes in CLASSES.items() for name in classes}

# one class, several architectures, told apart by the decoder's model_type
BY_TYPE = {("mistral3", "mistral4"): "mistral4"}

# whose converter writes stacked gate and up projections as one tensor
FUSED = frozenset({"gemma4", "granite_swa", "mistral4", "cohere2moe"})

# whose converter leaves every matrix in 16 bits, routers too (tensor_force_quant)
ALL_MATRICES_BF16 = frozenset({"dbrx"})

# whose converter leaves matrices in BF16 or F32 as they are stored (tensor_force_quant)
AS_STORED = frozenset({"deepseek4"})

# whose converter leaves out an output head that is stored though it is tied to the embedding
DROPS_TIED_HEAD = frozenset(
    {
        *("deepseek2", "deepseek32", "dots3note", "glm-dsa", "glm5-next", "hunyuan-moe", "hy_v4"),
        *("mistral4",),
    }
)


def family_of(config: Mapping[str, Any]) -> str:
    """llama.cpp's architecture for a config; the model_type where the class is unknown."""
    kinds = (text_config(scope.get("model_type")) for scope in scopes_of(config))
    kind = next((kind for kind in kinds if kind), "unknown")
    family = _FAMILY.get(converter_name(config) or "", kind)
    return BY_TYPE.get((family, kind), family)
