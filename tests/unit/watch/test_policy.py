"""Every rule of the policy, each with the reason that a user reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bot.records import Build, Release, RepoFile, Skip, Wait
from bot.watch.policy import decide, glance, source_file

MOE: dict[str, Any] = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
DENSE: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 4}


def a_release(*paths: str, **changes: Any) -> Release:
    files = tuple(RepoFile(path=path, size=1000 + i) for i, path in enumerate(paths))
    return replace(Release(repo_id="maker/Model", commit="c" * 40, files=files), **changes)


def test_a_mixture_with_a_16_bit_gguf_is_built() -> None:
    release = a_release("config.json", "Model-BF16.gguf", "Model-Q4_K_M.gguf")
    decision = decide(release, MOE)
    assert decision == Build(release=release, reason="8 experts, 2 active; from Model-BF16.gguf")


@pytest.mark.parametrize(
    ("release", "config", "kind", "reason"),
    [
        (a_release("config.json", "model.safetensors"), MOE, Wait, "has no 16-bit GGUF"),
        (a_release("config.json"), MOE, Wait, "no weights yet"),
        (a_release("config.json", "m-BF16-00001-of-00002.gguf"), MOE, Wait, "in shards"),
        (a_release("config.json", "pytorch_model.bin"), MOE, Skip, "pickles"),
        (a_release("config.json", "m-Q4_K_M.gguf", "mmproj-F16.gguf"), MOE, Skip, "only quantized"),
        (a_release("m-BF16.gguf"), None, Wait, "no config.json: whether its GGUF"),
        (a_release("model.safetensors"), None, Wait, "no config.json yet"),
        (a_release("README.md"), None, Wait, "no weights yet"),
        (a_release("config.json", "m-BF16.gguf"), DENSE, Skip, "names no experts"),
        (a_release("adapter_config.json", "a.safetensors"), None, Skip, "an adapter"),
        (a_release("config.json", "m-BF16.gguf", private=True), MOE, Skip, "private"),
        (a_release("config.json", "m-BF16.gguf", gated=True), MOE, Wait, "gated"),
        (a_release("m.gguf", tags=("base_model:quantized:a/b",)), MOE, Skip, "quantization of a/b"),
        (a_release("m.gguf", tags=("base_model:adapter:a/b",)), MOE, Skip, "an adapter"),
        (a_release("m.safetensors", tags=("gptq",)), MOE, Skip, "tagged gptq"),
        (a_release("m.safetensors", repo_id="x/Model-NVFP4"), MOE, Skip, "named NVFP4"),
        (
            a_release("config.json", "hf_quant_config.json", "m.safetensors"),
            MOE,
            Skip,
            "has hf_quant_config.json",
        ),
        (
            a_release("config.json", "model.safetensors"),
            MOE | {"quantization_config": {"quant_method": "awq"}},
            Skip,
            "itself a quantization: awq",
        ),
        (
            a_release("config.json", "model.safetensors"),
            MOE
            | {
                "architectures": ["GptOssForCausalLM"],
                "quantization_config": {"quant_method": "mxfp4"},
            },
            Wait,
            "has no 16-bit GGUF",
        ),
    ],
)
def test_everything_else_is_skipped_or_waits(
    release: Release, config: dict[str, Any] | None, kind: type, reason: str
) -> None:
    decision = decide(release, config)
    assert type(decision) is kind
    assert decision.release is release
    assert reason in decision.reason


def test_owners_limit_what_is_built() -> None:
    release = a_release("config.json", "m-BF16.gguf")
    assert isinstance(decide(release, MOE, owners=("MAKER", "other")), Build)
    decision = decide(release, MOE, owners=("other",))
    assert decision == Skip(release=release, reason="maker is not in watch.owners")


@pytest.mark.parametrize(
    ("listing", "kind"),
    [
        ({"disabled": True}, Skip),
        ({"model_type": "bert"}, Skip),
        ({"model_type": "qwen3", "architectures": ("Qwen3ForCausalLM",)}, Skip),
        ({"model_type": "mixtral", "quant_method": "gptq"}, Skip),
        ({"owners": ("other",)}, Skip),
        ({"model_type": "mixtral"}, None),
        ({"model_type": "gpt_oss", "quant_method": "mxfp4"}, None),
        ({}, None),
    ],
)
def test_a_listing_settles_the_clear_cases_only(listing: dict[str, Any], kind: type | None) -> None:
    settled = glance(a_release(), **listing)
    assert (settled is None) if kind is None else (type(settled) is kind)


def test_a_listing_settles_models_of_other_tasks() -> None:
    assert isinstance(glance(a_release(pipeline_tag="text-to-image")), Skip)
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
        (["m-IQ4_XS-bf16-embeddings.gguf", "m-F32.gguf", "xbf16x.gguf"], None),
        (["m-BF16-00001-of-00003.gguf", "m-BF16-00002-of-00003.gguf"], None),
        ([], None),
    ],
)
def test_the_source_is_the_whole_16_bit_gguf(paths: list[str], chosen: str | None) -> None:
    source = source_file(a_release(*paths))
    assert (source.path if source else None) == chosen


def test_an_empty_file_is_no_source() -> None:
    release = a_release("config.json")
    release = replace(release, files=(*release.files, RepoFile(path="m-BF16.gguf", size=0)))
    assert source_file(release) is None
    assert decide(release, MOE).reason == "no weights yet"
