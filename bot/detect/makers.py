"""Model families by name alone: refusals, dense ones, precisions of originals. Data, no logic.

Names are `model_type` and `architectures` of config.json as transformers 5.23, remote code on
the Hub and llama.cpp's converter spell them.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class MakerRule(NamedTuple):
    """Names, of model types or architectures, that are no text decoders."""

    names: re.Pattern[str]
    reason: str


def _exactly(*names: str) -> re.Pattern[str]:
    return re.compile("^(?:" + "|".join(map(re.escape, names)) + ")$", re.IGNORECASE)


FAMILY_REFUSALS = (
    MakerRule(
        re.compile(r"eagle|medusa|speculat|dflash|draft|^gemma4_?assistant", re.IGNORECASE),
        "a draft model for speculative decoding",
    ),
    MakerRule(
        re.compile(r"time_?moe|timesfm|moirai|chronos|^hunyuan_?image|^bagel", re.IGNORECASE),
        "a forecaster or image generator, not a text decoder",
    ),
    MakerRule(
        _exactly(
            *(
                "switch_transformers",
                "nllb-moe",
                "t5",
                "mt5",
                "umt5",
                "t5gemma",
                "t5gemma2",
                "bart",
            ),
            *("mbart", "m2m_100", "marian", "pegasus", "whisper", "moonshine", "speecht5"),
        ),
        "an encoder-decoder, not a text decoder",
    ),
    MakerRule(
        _exactly(
            *("bert", "roberta", "xlm-roberta", "distilbert", "albert", "electra", "deberta"),
            *("deberta-v2", "modernbert", "mpnet", "camembert", "nomic_bert", "new", "gte", "esm"),
            *("longformer", "splinter", "openai_privacy_filter"),
        ),
        "an encoder, not a text decoder",
    ),
    MakerRule(
        _exactly(
            *(
                "vit",
                "vitpose",
                "vitpose_backbone",
                "clip",
                "siglip",
                "siglip2",
                "dinov2",
                "dinov3",
            ),
            *("swin", "swinv2", "beit", "deit", "convnext", "convnextv2", "resnet", "segformer"),
            *("detr", "rt_detr", "sam", "sam2", "sam3", "yolos", "mask2former", "depth_anything"),
            "dots3_note_vision_encoder",
        ),
        "a vision model, not a text decoder",
    ),
    MakerRule(
        _exactly(
            *("wav2vec2", "wav2vec2-bert", "hubert", "wavlm", "unispeech", "encodec", "mimi"),
            *("audio-spectrogram-transformer", "vits", "clap", "qwen3_omni_moe_talker"),
            "qwen3_omni_moe_talker_text",
        ),
        "an audio model, not a text decoder",
    ),
    MakerRule(
        re.compile(
            r"^diffusion_?gemma|^llada|^dream$|^DreamModel|^sdar|^rnd1|^fast_?dllm|BlockDiffusion",
            re.IGNORECASE,
        ),
        "a diffusion language model, for which perplexity has no meaning",
    ),
    MakerRule(
        re.compile(
            r"For(?:Token|Sequence|Image|Audio|Video)?Classification$|ForMaskedLM$|ForPreTraining$"
            r"|RewardModel$|ForQuestionAnswering$|ForMultipleChoice$|ForCTC$"
        ),
        "a classifier or encoder, not a text decoder",
    ),
)

# Families without any mixture of experts under the same model_type. Those with dense and sparse
# members under one name (gemma4, jamba, nemotron_h, granitemoehybrid, doge, …) and wrappers of any
# text decoder (mistral3, llava, …) must not be here.
CLEARLY_DENSE = frozenset(
    {
        *("llama", "mistral", "ministral", "mllama", "gpt2", "gptj"),
        *("gpt_neo", "gpt_neox", "gpt_bigcode", "opt", "bloom", "falcon", "codegen", "mpt", "phi"),
        *(
            "phi3",
            "phi3_v",
            "gemma",
            "gemma2",
            "gemma3",
            "gemma3_text",
            "gemma3n",
            "qwen2",
            "qwen3",
        ),
        *(
            "qwen2_vl",
            "qwen2_5_vl",
            "qwen3_vl",
            "qwen3_5",
            "qwen3_5_text",
            "qwen2_audio",
            "stablelm",
        ),
        *("starcoder2", "cohere", "cohere2", "olmo", "olmo2", "olmo3", "granite", "smollm3"),
        *("smolvlm", "paligemma", "mamba", "mamba2", "rwkv"),
        *("glm4", "chatglm", "internlm2", "lfm2", "exaone4", "ernie4_5", "hunyuan_v1_dense"),
        *("seed_oss", "apertus", "nemotron", "nemotron-nas", "xglm", "persimmon"),
    }
)

# Families with dense and sparse members that tell themselves apart in config.json only, or in one
# suffix of the model type. A config without experts here is a sibling of a mixture.
WITH_SPARSE_MEMBERS = frozenset(
    {
        *("qwen3_vl", "qwen3_vl_text", "qwen3_5", "qwen3_5_text", "qwen4_exp", "gemma4"),
        *("gemma4_text", "gemma4_unified", "nemotron_h", "jamba", "granitemoe", "granitemoeshared"),
        *("granitemoehybrid", "granitemoe_swa", "hunyuan_v1_moe", "hunyuan_v1_dense", "ernie4_5"),
        *("lfm2", "doge", "dots1", "cohere2_moe", "deepseek", "deepseek_v2", "bailing_moe"),
        *("minicpm", "glm4v", "glm4v_text", "arctic"),
    }
)


class Native(NamedTuple):
    """A precision that makers themselves publish their originals in."""

    precision: str
    types: tuple[str, ...] = ()  # model types of which it is true; empty: all


_FP8 = {"fp8": Native("fp8")}
_INT4 = {"compressed-tensors": Native("int4")}

# originals below 16 bits: by architecture, by the method that their config declares
NATIVE_PRECISION: dict[str, dict[str, Native]] = {
    "DeepseekV3ForCausalLM": _FP8 | {"compressed-tensors": Native("int4", ("kimi_k2",))},
    "DeepseekV32ForCausalLM": _FP8,
    "DeepseekV4ForCausalLM": _FP8,
    "MiniMaxM2ForCausalLM": _FP8,
    "MiniMaxM3SparseForConditionalGeneration": _FP8,
    "MiMoV2FlashForCausalLM": _FP8,
    "MiMoV2ForCausalLM": _FP8,
    "Mistral3ForConditionalGeneration": _FP8,  # Mistral-Small-4
    "Mistral4ForCausalLM": _FP8,
    "GptOssForCausalLM": {"mxfp4": Native("mxfp4")},
    "KimiK3ForConditionalGeneration": {"compressed-tensors": Native("mxfp4")},
    "Kimi_K25ForConditionalGeneration": _INT4,
    "KimiK25ForConditionalGeneration": _INT4,
}
