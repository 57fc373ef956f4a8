"""Every rule of the policy, each with the reason that a user reads."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.detect.buildable import decide, glance
from bot.detect.foreseen import EXPANSION, TIERS
from bot.detect.moe import MoeFacts, moe_facts
from bot.records.releases import Build, Release, RepoFile, Skip, Wait
from bot.tensors import weights

CONFIGS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "configs"

MOE: dict[str, Any] = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
DENSE: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 4}


CONVERTIBLE = frozenset({"MixtralForCausalLM", "GptOssForCausalLM", "Qwen3MoeForCausalLM"})


def a_release(*paths: str, **changes: Any) -> Release:
    files = tuple(RepoFile(path=path, size=1000 + i) for i, path in enumerate(paths))
    return replace(Release(repo_id="maker/Model", commit="c" * 40, files=files), **changes)


def test_a_mixture_with_a_16_bit_gguf_is_built() -> None:
    release = a_release("config.json", "Model-BF16.gguf", "Model-Q4_K_M.gguf")
    decision = decide(release, MOE, supported=frozenset())  # a GGUF needs no converter
    assert decision == Build(
        release=release, reason="8 experts, 2 active; from Model-BF16.gguf", outcome="eligible"
    )


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (("model.safetensors",), "8 experts, 2 active; from 1 safetensors file"),
        (
            ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
            "8 experts, 2 active; from 2 safetensors files",
        ),
        (("model.safetensors", "BF16/m-BF16.gguf"), "8 experts, 2 active; from BF16/m-BF16.gguf"),
        (
            ("model.safetensors", *(f"m-F16-0000{n}-of-00003.gguf" for n in (1, 2, 3))),
            "8 experts, 2 active; from m-F16-00001-of-00003.gguf and 2 more",
        ),
        (
            ("model.safetensors", "m-F16-00002-of-00003.gguf"),
            "8 experts, 2 active; from 1 safetensors file",
        ),
    ],
)
def test_a_checkpoint_is_eligible_and_a_whole_16_bit_gguf_goes_before_it(
    paths: tuple[str, ...], reason: str
) -> None:
    release = a_release("config.json", *paths)
    decision = decide(release, MOE, supported=CONVERTIBLE, free_disk=10**9)
    assert decision == Build(release=release, reason=reason, outcome="eligible")


def test_an_unknown_converter_and_disk_are_not_held_against_a_release() -> None:
    decision = decide(a_release("config.json", "model.safetensors"), MOE)
    assert isinstance(decision, Build)
    assert decision.reason.endswith("; whether llama.cpp can convert it was not checked")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "eligible"),
        ({"architectures": ["ZayaForCausalLM"]}, "unsupported_converter"),
        ({"architectures": None}, "unsupported_converter"),
        ({"architectures": [], "model_type": None}, "unsupported_converter"),
        # the decoder's own name goes before the wrapper's
        (
            {
                "architectures": ["WrapperForConditionalGeneration"],
                "text_config": {"architectures": ["Qwen3MoeForCausalLM"]},
            },
            "eligible",
        ),
        (
            {
                "architectures": ["MixtralForCausalLM"],
                "text_config": {"architectures": ["ZayaForCausalLM"]},
            },
            "unsupported_converter",
        ),
    ],
)
def test_the_converter_must_know_the_architecture(changes: dict[str, Any], outcome: str) -> None:
    release = a_release("config.json", "model.safetensors")
    decision = decide(release, MOE | changes, supported=CONVERTIBLE)
    assert decision.outcome == outcome
    assert isinstance(decision, Wait if outcome == "unsupported_converter" else Build)


def test_another_spelling_of_the_converter_is_found() -> None:
    release = a_release("config.json", "model.safetensors")
    config = MOE | {"architectures": ["PhimoeForCausalLM"]}
    decision = decide(release, config, supported=frozenset({"PhiMoEForCausalLM"}))
    assert decision.outcome == "eligible"


@pytest.mark.parametrize(
    ("path", "changes", "need"),
    [
        ("m-BF16.gguf", {}, 1001 * (1 + TIERS)),
        ("model.safetensors", {}, 1001 * (2 + TIERS)),
        (
            "model.safetensors",
            {
                "architectures": ["DeepseekV3ForCausalLM"],
                "quantization_config": {"quant_method": "fp8"},
            },
            1001 * (1 + EXPANSION["fp8"] * (1 + TIERS)),
        ),
    ],
)
def test_what_does_not_fit_the_disk_is_too_large(
    path: str, changes: dict[str, Any], need: float
) -> None:
    release = a_release("config.json", path)
    enough, short = int(need) + 1, int(need) - 1
    assert decide(release, MOE | changes, free_disk=enough).outcome == "eligible"
    decision = decide(release, MOE | changes, free_disk=short)
    assert isinstance(decision, Skip)
    assert decision.outcome == "too_large"
    assert "GB are free" in decision.reason


GATED = a_release("config.json", "m-BF16.gguf", gated=True)


@pytest.mark.parametrize(
    ("release", "config", "kind", "outcome", "reason"),
    [
        (a_release("config.json"), MOE, Wait, "no_weights_yet", "no weights yet"),
        (
            a_release("config.json", "m-BF16-00001-of-00002.gguf"),
            MOE,
            Wait,
            "no_weights_yet",
            "lacks shards",
        ),
        (
            a_release("config.json", "model-00002-of-00003.safetensors"),
            MOE,
            Wait,
            "no_weights_yet",
            "2 of its safetensors files",
        ),
        (a_release("config.json", "pytorch_model.bin"), MOE, Wait, "no_weights_yet", "pickles"),
        (
            a_release("config.json", "m-Q4_K_M.gguf", "mmproj-F16.gguf"),
            MOE,
            Skip,
            "already_quantized",
            "only quantized",
        ),
        (a_release("m-BF16.gguf"), None, Wait, "no_weights_yet", "no config.json: whether its"),
        (a_release("model.safetensors"), None, Wait, "no_weights_yet", "no config.json yet"),
        (a_release("README.md"), None, Wait, "no_weights_yet", "no weights yet"),
        (a_release("config.json", "m-BF16.gguf"), DENSE, Skip, "not_moe", "names no experts"),
        (
            a_release("config.json", "m-BF16.gguf"),
            MOE | {"num_local_experts": 0},
            Skip,
            "dense_sibling",
            "num_local_experts is 0",
        ),
        (
            a_release("config.json", "model.safetensors"),
            MOE | {"architectures": ["LLaDAMoEModelLM"], "model_type": "llada_moe"},
            Skip,
            "not_a_text_decoder",
            "a diffusion language model",
        ),
        (
            a_release("config.json", "model.safetensors"),
            MOE | {"architectures": ["LlamaForCausalLMEagle3"]},
            Skip,
            "not_a_text_decoder",
            "a draft model",
        ),
        (
            a_release("config.json", "model.safetensors"),
            {"peft_type": "LORA"},
            Skip,
            "adapter",
            "an adapter",
        ),
        (a_release("adapter_config.json", "a.safetensors"), None, Skip, "adapter", "an adapter"),
        (
            a_release("config.json", "adapter_config.json", "adapter_model.safetensors"),
            MOE,
            Skip,
            "adapter",
            "an adapter",
        ),
        (a_release("m.gguf", private=True), MOE, Skip, "not_watched", "private"),
        (GATED, None, Wait, "gated_no_access", "gated: its maker has to grant access"),
        (GATED, MOE, Build, "eligible", "from m-BF16.gguf"),  # config.json could be read
        (
            a_release("m.gguf", tags=("base_model:quantized:a/b",)),
            MOE,
            Skip,
            "already_quantized",
            "quantization of a/b",
        ),
        (a_release("m", tags=("base_model:adapter:a/b",)), MOE, Skip, "adapter", "an adapter"),
        (a_release("m", tags=("gptq",)), MOE, Skip, "already_quantized", "tagged gptq"),
        (a_release("m", repo_id="x/M-NVFP4"), MOE, Skip, "already_quantized", "named NVFP4"),
        (
            a_release("config.json", "hf_quant_config.json", "m.safetensors"),
            MOE,
            Skip,
            "already_quantized",
            "has hf_quant_config.json",
        ),
        (
            a_release("config.json", "model.safetensors"),
            MOE | {"quantization_config": {"quant_method": "awq"}},
            Skip,
            "already_quantized",
            "itself a quantization: awq",
        ),
        (
            a_release("config.json", "model.safetensors"),
            MOE
            | {
                "architectures": ["GptOssForCausalLM"],
                "quantization_config": {"quant_method": "mxfp4"},
            },
            Build,
            "eligible",
            "from 1 safetensors file",
        ),
        # another owner's copy that does not say so is a release like any other
        (
            a_release("config.json", "model.safetensors", repo_id="somebody/Mixtral-8x7B"),
            MOE,
            Build,
            "eligible",
            "8 experts",
        ),
    ],
)
def test_each_rule_has_its_outcome_and_reason(
    release: Release, config: dict[str, Any] | None, kind: type, outcome: str, reason: str
) -> None:
    decision = decide(release, config, supported=CONVERTIBLE)
    assert type(decision) is kind
    assert decision.outcome == outcome
    assert decision.release is release
    assert reason in decision.reason


def test_owners_limit_what_is_built() -> None:
    release = a_release("config.json", "m-BF16.gguf")
    assert isinstance(decide(release, MOE, owners=("MAKER", "other")), Build)
    decision = decide(release, MOE, owners=("other",))
    assert decision == Skip(release=release, reason="maker is not in watch.owners")


@pytest.mark.parametrize(
    ("listing", "outcome"),
    [
        ({"disabled": True}, "not_watched"),
        ({"model_type": "bert"}, "not_a_text_decoder"),
        ({"model_type": "qwen3", "architectures": ("Qwen3ForCausalLM",)}, "not_moe"),
        ({"model_type": "qwen3_5"}, "dense_sibling"),
        ({"model_type": "mixtral", "quant_method": "gptq"}, "already_quantized"),
        ({"owners": ("other",)}, "not_watched"),
        ({"model_type": "mixtral"}, None),
        ({"model_type": "gpt_oss", "quant_method": "mxfp4"}, None),
        ({}, None),
    ],
)
def test_a_listing_settles_the_clear_cases_only(
    listing: dict[str, Any], outcome: str | None
) -> None:
    settled = glance(a_release(), **listing)
    assert (settled and settled.outcome) == outcome


def test_a_gate_is_not_held_against_a_listed_model() -> None:
    assert glance(a_release(gated=True), model_type="mixtral") is None


@pytest.mark.parametrize("tags", [("lora",), ("base_model:quantized:a/b",), ("awq",)])
def test_a_listing_believes_tags_where_no_model_s_config_is_there(tags: tuple[str, ...]) -> None:
    assert glance(a_release(tags=tags)) is not None
    assert glance(a_release(tags=tags), model_type="mixtral") is None
    assert glance(a_release(repo_id="x/M-AWQ"), architectures=("MixtralForCausalLM",)) is None


def test_a_listing_settles_models_of_other_tasks() -> None:
    settled = glance(a_release(pipeline_tag="text-to-image"))
    assert settled is not None
    assert settled.outcome == "not_a_text_decoder"
    assert glance(a_release(pipeline_tag="text-generation")) is None
    assert glance(a_release(pipeline_tag="a-task-of-tomorrow")) is None


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (["tiny-moe-BF16.gguf"], "tiny-moe-BF16.gguf"),
        (["m-f16.gguf", "m-bf16.gguf"], "m-bf16.gguf"),
        (["m.fp16.gguf"], "m.fp16.gguf"),
        (["BF16/m.gguf"], "BF16/m.gguf"),
        (["m-BF16-00001-of-00001.gguf"], "m-BF16-00001-of-00001.gguf"),
        (["a-BF16.gguf", "b-BF16.gguf"], "b-BF16.gguf"),  # the larger one
        (["mmproj-BF16.gguf", "m-Q8_0.gguf", "m-BF16.txt", "bf16.safetensors"], None),
        (["m-IQ4_XS-bf16-embeddings.gguf", "m-Q2_K.gguf", "Q4_K_M/m.gguf"], None),
        (["m-IQ4_XS-bf16-embeddings.gguf", "m-F32.gguf", "xbf16x.gguf"], "m-F32.gguf"),
        (["m.gguf", "m-F16.gguf"], "m-F16.gguf"),
        (["m.gguf", "m-Q8_0.gguf"], "m.gguf"),  # its header will tell
        (["m.gguf", "model.safetensors"], None),
        (["m-F32.gguf", "model.safetensors"], "m-F32.gguf"),
        (["Model-MXFP4-BF16.gguf"], None),
        (["m-BF16-00001-of-00003.gguf", "m-BF16-00002-of-00003.gguf"], None),
        (
            ["m-BF16-00002-of-00002.gguf", "m-BF16-00001-of-00002.gguf"],
            "m-BF16-00001-of-00002.gguf",
        ),
        (
            ["m-F16.gguf", *(f"m-BF16-0000{n}-of-00002.gguf" for n in (1, 2))],
            "m-BF16-00001-of-00002.gguf",
        ),
        ([], None),
    ],
)
def test_the_source_is_the_whole_16_bit_gguf(paths: list[str], chosen: str | None) -> None:
    source = next(iter(weights.gguf(a_release(*paths))), None)
    assert (source.path if source else None) == chosen


def test_a_model_s_own_name_tells_no_type() -> None:
    release = a_release("Foo-MXFP4-BF16.gguf", "Foo-MXFP4-Q8_0.gguf", repo_id="org/Foo-MXFP4-GGUF")
    assert [file.path for file in weights.gguf(release)] == ["Foo-MXFP4-BF16.gguf"]
    release = a_release("foo-q4.gguf", repo_id="org/Foo-Q4-GGUF")
    assert [file.path for file in weights.gguf(release)] == ["foo-q4.gguf"]


@pytest.mark.parametrize(
    ("paths", "stored_types", "outcome"),
    [
        (["m.gguf"], {}, "eligible"),
        (["m.gguf"], {"m.gguf": "F32"}, "eligible"),
        (["m.gguf"], {"m.gguf": "Q4_K"}, "already_quantized"),
        (["m-BF16.gguf"], {"m-BF16.gguf": "Q8_0"}, "already_quantized"),  # its name lies
        (["m-Q8_0.gguf"], {"m-Q8_0.gguf": "BF16"}, "eligible"),
        (["m-BF16.gguf", "m-F16.gguf"], {"m-BF16.gguf": "Q8_0"}, "eligible"),
        (["m-BF16.gguf", "model.safetensors"], {"m-BF16.gguf": "Q8_0"}, "eligible"),
    ],
)
def test_a_gguf_is_judged_by_its_header(
    paths: list[str], stored_types: dict[str, str], outcome: str
) -> None:
    release = a_release("config.json", *paths)
    for file in release.files:
        if file.path in stored_types:
            release = weights.with_storage(release, file, stored_types[file.path])
    assert decide(release, MOE).outcome == outcome


def test_a_header_speaks_for_all_shards() -> None:
    release = a_release(*(f"m-{n:05d}-of-00002.gguf" for n in (1, 2)))
    release_read = weights.with_storage(release, release.files[0], "BF16")
    assert [file.stored for file in release_read.files] == ["BF16", "BF16"]


WHOLE = ("config.json", "model.safetensors")
NATIVE = {"quantization_config": {"quant_method": "mxfp4"}, "architectures": ["GptOssForCausalLM"]}


@pytest.mark.parametrize(
    ("paths", "tags", "name", "config", "outcome"),
    [
        ((*WHOLE, "m-Q4_K_M.gguf"), ("base_model:quantized:a/b",), "Model", {}, "eligible"),
        ((*WHOLE, "m.gguf"), ("base_model:quantized:a/b",), "Model", {}, "eligible"),
        (WHOLE, ("lora", "peft", "base_model:adapter:a/b"), "Model", {}, "eligible"),
        ((*WHOLE, "adapter_config.json"), ("lora",), "Model", {}, "eligible"),
        (WHOLE, ("gptq",), "Model", {}, "eligible"),
        (WHOLE, (), "Model-NF4", {}, "already_quantized"),
        (WHOLE, (), "Model-oQ4", {}, "already_quantized"),
        # a GGUF was made of something else by somebody
        (
            ("config.json", "m-BF16.gguf"),
            ("base_model:quantized:a/b",),
            "M",
            {},
            "already_quantized",
        ),
        (("adapter_config.json", "adapter_model.safetensors"), ("lora",), "M", {}, "adapter"),
        (("README.md",), ("lora",), "Model", {}, "adapter"),
        (("README.md",), ("awq",), "Model", {}, "already_quantized"),
        # what is declared agrees with the tag, though originals of the family have it too
        (WHOLE, ("base_model:quantized:a/b",), "Model", NATIVE, "already_quantized"),
        (WHOLE, ("mxfp4", "8-bit"), "Model", NATIVE, "eligible"),
    ],
)
def test_tags_and_names_are_hints_and_files_decide(
    paths: tuple[str, ...],
    tags: tuple[str, ...],
    name: str,
    config: dict[str, Any],
    outcome: str,
) -> None:
    release = a_release(*paths, tags=tags, repo_id=f"maker/{name}")
    assert decide(release, MOE | config).outcome == outcome


@pytest.mark.parametrize(
    ("stored", "outcome"),
    [
        ("BF16", "eligible"),
        ("F32", "eligible"),
        ("I32", "already_quantized"),
        ("MLX", "already_quantized"),
    ],
)
def test_a_header_confirms_a_name_or_refutes_it(stored: str, outcome: str) -> None:
    release = a_release(*WHOLE, repo_id="google/gemma-qat-q4_0-unquantized", tags=("awq",))
    assert decide(release, MOE).outcome == "already_quantized"
    release_read = weights.with_storage(release, release.files[1], stored)
    assert decide(release_read, MOE).outcome == outcome


@pytest.mark.parametrize(
    ("paths", "config", "outcome"),
    [
        (WHOLE, {}, "eligible"),
        (("config.json", "m-BF16.gguf"), {}, "eligible"),
        ((*WHOLE, "quantize_config.json"), {}, "already_quantized"),
        (WHOLE, {"quantization": {"bits": 4, "group_size": 64}}, "already_quantized"),
        (("adapter_config.json", "adapter_model.safetensors"), {}, "adapter"),
        (("m-Q4_K_M.gguf",), {}, "already_quantized"),
    ],
)
def test_a_model_that_a_person_named_is_built_unless_its_files_forbid_it(
    paths: tuple[str, ...], config: dict[str, Any], outcome: str
) -> None:
    tags = ("base_model:quantized:a/b", "lora", "awq")
    release = a_release(*paths, repo_id="somebody/Model-4bit", tags=tags)
    assert decide(release, MOE | config, named=True).outcome == outcome


def test_an_empty_file_is_no_source() -> None:
    release = a_release("config.json")
    release = replace(release, files=(*release.files, RepoFile(path="m-BF16.gguf", size=0)))
    assert weights.gguf(release) == ()
    assert decide(release, MOE).reason.endswith("no weights yet")


# ── real configs ────────────────────────────────────────────────────────────────────────────

# kind of the index → the outcomes that are right for it, from config.json and the name alone
OUTCOMES = {
    "decoder_moe": {"eligible"},
    "decoder_moe_native_quant": {"eligible"},
    "decoder_moe_renamed": {"eligible"},
    "not_hf_config": {"eligible"},  # counts under an inference script's own names
    "quantized_moe": {"already_quantized"},
    "quantized_dense": {"already_quantized"},
    "dense": {"not_moe"},
    "dense_sibling": {"dense_sibling"},
    "lora_adapter": {"adapter"},
    "draft": {"not_a_text_decoder"},
    "embedding": {"not_a_text_decoder"},
    "encoder": {"not_a_text_decoder"},
    "encoder_decoder": {"not_a_text_decoder"},
    "vision": {"not_a_text_decoder"},
    "audio": {"not_a_text_decoder"},
    "diffusion": {"not_a_text_decoder"},
}


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="the real configs are not beside the checkout")
def test_every_real_config_has_the_outcome_and_counts_of_the_index() -> None:
    with (CONFIGS / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 65
    assert {row["kind"] for row in rows} == set(OUTCOMES)
    wrong = {row["file"]: reason for row in rows if (reason := _misjudged(row))}
    assert wrong == {}


def _misjudged(row: dict[str, str]) -> str | None:
    config = json.loads((CONFIGS / row["file"]).read_text(encoding="utf-8"))
    release = a_release("config.json", "model.safetensors", repo_id=row["hf_repo"])
    decision = decide(release, config)
    if decision.outcome not in OUTCOMES[row["kind"]]:
        return f"{decision.outcome}: {decision.reason}"
    facts = moe_facts(config)
    if isinstance(facts, MoeFacts) != (row["is_moe"] == "yes"):
        return str(facts)
    keys = ("n_layers", "n_routed_experts", "n_active_experts", "n_shared_experts")
    counts = tuple(int(row[key] or 0) for key in keys)
    if isinstance(facts, MoeFacts):
        facts_counts = (facts.layers, facts.experts, facts.experts_active, facts.shared)
        return None if facts_counts == counts else f"{facts_counts} for {counts}"
    return None
