"""Every family's own words for its experts are understood, each spelling alone.

The table is typed from transformers 5.23's configuration classes and llama.cpp's converter; the
second test makes its configs from a survey of both beside the checkout, row by row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bot.detect.moe import MoeFacts, NotMoe, moe_facts

SURVEY = Path(__file__).resolve().parents[3].parent / "shared" / "facts" / "moe_config_keys.csv"

EXPERTS, ACTIVE, SHARED, LAYERS = 24, 3, 2, 12
WIDTH = 512  # of a shared expert that only its size tells of


class Family(NamedTuple):
    """A model type, where its text decoder's config sits, and its words; several are spellings."""

    model_type: str
    experts: str
    active: str = "num_experts_per_tok"
    shared: str = ""
    layers: str = "num_hidden_layers"
    inside: str = ""
    architecture: str = ""


DECODERS = (
    Family("afmoe", "num_experts", shared="num_shared_experts", architecture="AfmoeForCausalLM"),
    Family(
        "aria_text",
        "moe_num_experts",
        active="moe_topk",
        shared="moe_num_shared_experts",
        inside="text_config",
        architecture="AriaTextForCausalLM",
    ),
    Family(
        "axk1",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="AXK1ForCausalLM",
    ),
    Family(
        "axk2",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="AXK2ForCausalLM",
    ),
    Family(
        "bailing_hybrid",
        "num_local_experts",
        shared="n_shared_experts",
        architecture="BailingHybridForCausalLM",
    ),
    Family("beam", "num_experts", architecture="BeamForCausalLM"),
    Family(
        "cohere2_moe",
        "num_experts",
        shared="num_shared_experts",
        architecture="Cohere2MoeForCausalLM",
    ),
    Family(
        "dbrx",
        "moe_num_experts",
        active="moe_top_k",
        layers="n_layers",
        inside="ffn_config",
        architecture="DbrxForCausalLM",
    ),
    Family(
        "deepseek_ocr2_text",
        "num_experts n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="DeepseekOcr2ForConditionalGeneration",
    ),
    Family(
        "deepseek_v2",
        "num_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="DeepseekV2ForCausalLM",
    ),
    Family(
        "deepseek_v3",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="DeepseekV3ForCausalLM",
    ),
    Family(
        "deepseek_v32",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="DeepseekV32ForCausalLM",
    ),
    Family(
        "deepseek_v4",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="DeepseekV4ForCausalLM",
    ),
    Family("doge", "num_experts", architecture="DogeForCausalLM"),
    Family(
        "dots1",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="Dots1ForCausalLM",
    ),
    Family(
        "dots3_note_text",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts moe_shared_expert_intermediate_size "
        "shared_experts_intermediate_size",
        inside="text_config",
        architecture="Dots3NoteForCausalLM",
    ),
    Family(
        "ernie4_5_moe",
        "num_experts moe_num_experts",
        active="num_experts_per_tok moe_k",
        shared="moe_num_shared_experts",
        architecture="Ernie4_5_MoeForCausalLM",
    ),
    Family(
        "ernie4_5_vl_moe_text",
        "num_experts moe_num_experts",
        active="num_experts_per_tok moe_k",
        shared="moe_num_shared_experts",
        inside="text_config",
        architecture="Ernie4_5_VLMoeForConditionalGeneration",
    ),
    Family(
        "exaone_moe",
        "num_experts",
        shared="num_shared_experts",
        architecture="ExaoneMoeForCausalLM",
    ),
    Family("flex_olmo", "num_experts num_local_experts", architecture="FlexOlmoForCausalLM"),
    Family(
        "flint",
        "num_experts",
        shared="shared_expert_intermediate_size",
        architecture="FlintForCausalLM",
    ),
    Family(
        "gemma4_text",
        "num_experts",
        active="top_k_experts",
        inside="text_config",
        architecture="Gemma4ForCausalLM",
    ),
    Family(
        "glm4_moe",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="Glm4MoeForCausalLM",
    ),
    Family(
        "glm4_moe_lite",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="Glm4MoeLiteForCausalLM",
    ),
    Family(
        "glm4v_moe_text",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="Glm4vMoeTextModel",
    ),
    Family(
        "glm5_next_text",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="Glm5NextTextModel",
    ),
    Family(
        "glm_moe_dsa",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="GlmMoeDsaForCausalLM",
    ),
    Family("gpt_oss", "num_experts num_local_experts", architecture="GptOssForCausalLM"),
    Family("granitemoe", "num_local_experts", architecture="GraniteMoeForCausalLM"),
    Family(
        "granitemoe_swa",
        "num_local_experts",
        shared="shared_intermediate_size",
        architecture="GraniteMoeSWAForCausalLM",
    ),
    Family(
        "granitemoehybrid",
        "num_local_experts",
        shared="shared_intermediate_size",
        architecture="GraniteMoeHybridForCausalLM",
    ),
    Family(
        "granitemoeshared",
        "num_local_experts",
        shared="shared_intermediate_size",
        architecture="GraniteMoeSharedForCausalLM",
    ),
    Family(
        "hunyuan_v1_moe",
        "num_experts num_local_experts",
        active="num_experts_per_tok moe_topk",
        architecture="HunYuanMoEV1ForCausalLM",
    ),
    Family(
        "hy_v3",
        "num_experts num_local_experts",
        shared="num_shared_experts",
        architecture="HYV3ForCausalLM",
    ),
    Family(
        "hy_v4",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="HYV4ForCausalLM",
    ),
    Family(
        "inkling2_text",
        "num_local_experts n_routed_experts",
        inside="text_config",
        architecture="Inkling2ForCausalLM",
    ),
    Family(
        "inkling_text",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="InklingForCausalLM",
    ),
    Family("jamba", "num_experts num_local_experts", architecture="JambaForCausalLM"),
    Family("jetmoe", "num_local_experts", architecture="JetMoeForCausalLM"),
    Family(
        "kimi_linear",
        "num_local_experts",
        shared="n_shared_experts",
        architecture="KimiLinearForCausalLM",
    ),
    Family(
        "kolibri1",
        "num_experts",
        shared="shared_expert_intermediate_size",
        architecture="Kolibri1ForCausalLM",
    ),
    Family(
        "laguna",
        "num_experts",
        shared="shared_expert_intermediate_size",
        architecture="LagunaForCausalLM",
    ),
    Family("lfm2_moe", "num_experts", architecture="Lfm2MoeForCausalLM"),
    Family(
        "llama4_text", "num_local_experts", inside="text_config", architecture="Llama4ForCausalLM"
    ),
    Family(
        "longcat_flash",
        "num_local_experts n_routed_experts",
        active="num_experts_per_tok moe_topk",
        layers="num_layers",
        architecture="LongcatFlashForCausalLM",
    ),
    Family("mellum", "num_experts", architecture="MellumForCausalLM"),
    Family(
        "mimo_v2_flash", "num_local_experts n_routed_experts", architecture="MiMoV2FlashForCausalLM"
    ),
    Family("minimax", "num_experts num_local_experts", architecture="MiniMaxForCausalLM"),
    Family("minimax_m2", "num_experts num_local_experts", architecture="MiniMaxM2ForCausalLM"),
    Family(
        "minimax_m3_vl_text",
        "num_experts num_local_experts",
        shared="shared_intermediate_size",
        inside="text_config",
        architecture="MiniMaxM3VLForCausalLM",
    ),
    Family(
        "mistral4",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="Mistral4ForCausalLM",
    ),
    Family(
        "mistral_large4_text",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="MistralLarge4TextModel",
    ),
    Family("mixtral", "num_experts num_local_experts", architecture="MixtralForCausalLM"),
    Family(
        "muse_spark_text",
        "num_local_experts",
        inside="text_config",
        architecture="MuseSparkTextModel",
    ),
    Family(
        "nemotron_h",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts moe_shared_expert_intermediate_size",
        layers="layers_block_type",
        inside="text_config",
        architecture="NemotronHForCausalLM",
    ),
    Family("olmoe", "num_experts num_local_experts", architecture="OlmoeForCausalLM"),
    Family("phimoe", "num_local_experts", architecture="PhimoeForCausalLM"),
    Family(
        "qwen2_moe",
        "num_experts",
        shared="shared_expert_intermediate_size",
        architecture="Qwen2MoeForCausalLM",
    ),
    Family(
        "qwen3_5_moe_text",
        "num_experts",
        shared="shared_expert_intermediate_size",
        inside="text_config",
        architecture="Qwen3_5MoeForCausalLM",
    ),
    Family("qwen3_moe", "num_experts", architecture="Qwen3MoeForCausalLM"),
    Family(
        "qwen3_next",
        "num_experts",
        shared="shared_expert_intermediate_size",
        architecture="Qwen3NextForCausalLM",
    ),
    Family(
        "qwen3_omni_moe_text",
        "num_experts",
        inside="thinker_config.text_config",
        architecture="Qwen3OmniMoeThinkerForConditionalGeneration",
    ),
    Family(
        "qwen3_vl_moe_text", "num_experts", inside="text_config", architecture="Qwen3VLMoeTextModel"
    ),
    Family(
        "qwen4_exp_text",
        "num_experts",
        shared="shared_expert_intermediate_size",
        inside="text_config",
        architecture="Qwen4ExpForCausalLM",
    ),
    Family(
        "solar_open",
        "num_local_experts n_routed_experts",
        shared="n_shared_experts",
        architecture="SolarOpenForCausalLM",
    ),
    Family(
        "step3p5",
        "num_local_experts n_routed_experts moe_num_experts",
        active="num_experts_per_tok moe_top_k",
        shared="share_expert_dim",
        inside="text_config",
        architecture="Step3p7ForConditionalGeneration",
    ),
    Family(
        "unlimited_ocr_text",
        "num_experts n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="UnlimitedOcrForConditionalGeneration",
    ),
    Family("zaya", "num_experts", architecture="ZayaForCausalLM"),
    Family("arctic", "num_local_experts", architecture="ArcticForCausalLM"),
    Family(
        "bailing_moe",
        "num_experts",
        shared="num_shared_experts",
        architecture="BailingMoeForCausalLM",
    ),
    Family(
        "bailing_moe_v2",
        "num_experts",
        shared="num_shared_experts moe_shared_expert_intermediate_size",
        architecture="BailingMoeV2ForCausalLM",
    ),
    Family(
        "bailing_moe_v3",
        "num_experts",
        shared="num_shared_experts moe_shared_expert_intermediate_size",
        architecture="BailingMoeV3ForCausalLM",
    ),
    Family(
        "deepseek",
        "n_routed_experts",
        shared="n_shared_experts",
        architecture="DeepseekForCausalLM",
    ),
    Family("grok-1", "num_local_experts", architecture="GrokForCausalLM"),
    Family("grove_moe", "num_experts", architecture="GroveMoeForCausalLM"),
    Family(
        "kimi_k2",
        "n_routed_experts",
        shared="n_shared_experts",
        architecture="DeepseekV3ForCausalLM",
    ),
    Family(
        "kimi_k3",
        "num_experts",
        active="num_experts_per_token",
        shared="num_shared_experts",
        inside="text_config",
        architecture="KimiK3ForConditionalGeneration",
    ),
    Family(
        "kimi_vl",
        "n_routed_experts",
        shared="n_shared_experts",
        inside="text_config",
        architecture="KimiVLForConditionalGeneration",
    ),
    Family(
        "minimax_text_01",
        "num_local_experts",
        shared="shared_intermediate_size",
        architecture="MiniMaxText01ForCausalLM",
    ),
    Family(
        "sarvam_moe",
        "num_experts",
        shared="num_shared_experts",
        architecture="SarvamMoEForCausalLM",
    ),
    Family(
        "smallthinker",
        "moe_num_primary_experts",
        active="moe_num_active_primary_experts",
        architecture="SmallThinkerForCausalLM",
    ),
    Family(
        "step3p5",
        "moe_num_experts",
        active="moe_top_k",
        shared="share_expert_dim",
        architecture="Step3p5ForCausalLM",
    ),
)
NO_DECODERS = (
    Family(
        "diffusion_gemma_text",
        "num_experts",
        active="top_k_experts",
        inside="text_config",
        architecture="DiffusionGemmaForBlockDiffusion",
    ),
    Family(
        "dots3_note_vision_encoder",
        "num_local_experts",
        inside="vision_config",
        architecture="Dots3NoteForCausalLM",
    ),
    Family("llada_moe", "num_experts", architecture="LLaDAMoEModelLM"),
    Family(
        "nllb-moe",
        "num_experts",
        active="",
        layers="num_hidden_layers encoder_layers decoder_layers",
        architecture="NllbMoeForConditionalGeneration",
    ),
    Family(
        "openai_privacy_filter",
        "num_experts num_local_experts",
        architecture="OpenAIPrivacyFilterForTokenClassification",
    ),
    Family("qwen3_omni_moe_talker_text", "num_experts"),
    Family(
        "switch_transformers",
        "num_experts",
        active="",
        layers="num_hidden_layers num_layers",
        architecture="SwitchTransformersForConditionalGeneration",
    ),
    Family(
        "vitpose_backbone",
        "num_experts",
        active="",
        inside="backbone_config",
        architecture="VitPoseBackbone",
    ),
)

# what must stand beside the counts for a layer to have experts at all
SWITCHED_ON: dict[str, dict[str, Any]] = {
    "doge": {"is_moe": True},
    "gemma4_text": {"enable_moe_block": True},
}
# one feed-forward beside the experts without a key of its own
ALWAYS_SHARED = {"llama4_text", "gemma4_text"}


def configs(family: Family) -> Iterator[dict[str, Any]]:
    """A config for each spelling; the words of one config are as old as each other."""
    words = (family.experts, family.active, family.shared, family.layers)
    spellings = [word.split() or [""] for word in words]
    for count, active, shared, layers in zip_longest(*spellings):
        yield _config(
            family,
            count or spellings[0][0],
            active or spellings[1][0],
            spellings[2][0] if shared is None else shared,
            layers or spellings[3][0],
        )


def _config(family: Family, count: str, active: str, shared: str, layers: str) -> dict[str, Any]:
    part: dict[str, Any] = {count: EXPERTS, **SWITCHED_ON.get(family.model_type, {})}
    if active:
        part[active] = ACTIVE
    if shared:
        part[shared] = SHARED if re.search(r"shared_experts?$", shared) else WIDTH
    outer: dict[str, Any] = {"architectures": [family.architecture]}
    if layers == "layers_block_type":
        part[layers] = ["mamba", "moe", "attention"] * (LAYERS // 3)
    elif layers:
        (outer if family.inside == "ffn_config" else part)[layers] = LAYERS
    if not family.inside:
        return outer | {"model_type": family.model_type} | part
    if family.inside != "ffn_config":
        part["model_type"] = family.model_type
    for name in reversed(family.inside.split(".")):
        part = {name: part}
    return outer | {"model_type": family.model_type.removesuffix("_text")} | part


def _shared_of(config: dict[str, Any], family: Family) -> int:
    text = str(config)
    if re.search(r"'\w*shared_experts?': ", text):
        return SHARED
    return 1 if f": {WIDTH}" in text or family.model_type in ALWAYS_SHARED else 0


def understood(family: Family, config: dict[str, Any]) -> bool:
    """Whether all four counts are read out of a config of the family."""
    facts = moe_facts(config)
    return isinstance(facts, MoeFacts) and (
        facts.experts,
        facts.experts_active,
        facts.shared,
        facts.layers,
    ) == (EXPERTS, ACTIVE, _shared_of(config, family), LAYERS)


@pytest.mark.parametrize("family", DECODERS, ids=lambda family: family.model_type)
def test_every_spelling_of_every_decoder_is_understood(family: Family) -> None:
    tried = list(configs(family))
    assert [config for config in tried if not understood(family, config)] == []


@pytest.mark.parametrize("family", NO_DECODERS, ids=lambda family: family.model_type)
def test_mixtures_that_are_no_text_decoders_are_refused(family: Family) -> None:
    for config in configs(family):
        answer = moe_facts(config)
        assert isinstance(answer, NotMoe)
        assert answer.outcome == "not_a_text_decoder"


# ── the survey itself ───────────────────────────────────────────────────────────────────────

REFUSED = {"llada_moe"}  # a decoder to the survey, a diffusion model to us
KEYS = re.compile(r"^(\w+)(?:\((\w+)\))?(?:->(\w+))?(?:=\S+)?$")
# where no architecture of the survey's row stands in a wrapper's config
INSIDE = {"kimi_k3": "text_config", "kimi_vl": "text_config"}


def _words(cell: str) -> str:
    """The keys of a cell: `a->b; b=8; c(legacy)` gives a, b, c; computed properties are none."""
    words = []
    for item in filter(None, re.split(r";\s*", cell)):
        match = KEYS.match(item.strip())
        if match and match[2] not in ("property", "computed") and match[1] != "shared_expert_sink":
            words += [match[1], *([match[3]] if match[3] else [])]
    return " ".join(dict.fromkeys(words))


def surveyed(row: dict[str, str]) -> Family:
    """A row of the survey as a family."""
    model_type = row["model_type"].split(" / ")[0]
    nested = re.split(r"[ ;]", row["nested_under"])[0]
    inside = nested.partition(".")[2] or INSIDE.get(model_type, "")
    if "thinker" in nested:
        inside = "thinker_config." + inside
    layers = _words(row["layer_count_keys"].replace("inherits parent (dbrx n_layers)", "n_layers"))
    return Family(
        model_type,
        _words(row["expert_count_keys"]),
        active=_words(row["active_expert_keys"]),
        shared=_words(row["shared_expert_keys"]),
        layers=layers or "layers_block_type",
        inside=inside,
        architecture=(row["architectures"].split() or [""])[0],
    )


def survey() -> list[dict[str, str]]:
    """All rows; none where the survey is not beside the checkout."""
    if not SURVEY.is_file():
        return []
    with SURVEY.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.skipif(not SURVEY.is_file(), reason="the survey is not beside the checkout")
def test_every_row_of_the_survey_is_in_the_table_and_understood() -> None:
    rows = survey()
    assert len(rows) == 90
    typed = set(DECODERS) | set(NO_DECODERS)
    for row in rows:
        family = surveyed(row)
        assert family in typed, family
        decoder = row["role"].startswith("text decoder") and family.model_type not in REFUSED
        for config in configs(family):
            assert (
                understood(family, config) if decoder else isinstance(moe_facts(config), NotMoe)
            ), family
