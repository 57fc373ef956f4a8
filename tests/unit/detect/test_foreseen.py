"""What building a checkpoint would take and save, by its headers and by its config alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bot.detect.buildable import decide
from bot.detect.foreseen import (
    EXPANSION,
    FOUR_BIT_EXPERTS,
    KEPT_EXPANSION,
    KEPT_TIERS,
    TIERS,
    Foreseen,
    foresee,
    guessed_room,
    keeps_its_bits,
    sketch_of,
)
from bot.plan.profiles import load_profiles
from bot.predict.preview import preview
from bot.records.model import HeaderTensor
from bot.records.releases import Build, Decision, Release, RepoFile, Skip
from bot.settings.sections import data_folder
from bot.tensors.stored import read_content
from bot.wording.columns import table
from tests import headers
from tests.evaluation import SHARED
from tests.published_shapes import PUBLISHED, headers_of

CONFIGS = SHARED / "configs"
PROFILES = load_profiles(data_folder("profiles"))
LARGE = ("DeepSeek-V4", "Kimi-K3", "MiniMax", "NVFP4")  # tens of thousands of tensors
# bytes of weights as they are published: by an index (metadata.total_size), or as others found them
TOTAL_SIZE = {
    "openai__gpt-oss-120b": 65_248_815_744,
    "deepseek-ai__DeepSeek-V4-Flash": 148.66 * 2**30,  # vLLM's log: vllm-project/vllm#40802
    "deepseek-ai__DeepSeek-V4-Pro": 865e9,  # vllm-project/recipes#779
    "moonshotai__Kimi-K3": 1.56e12,  # lyogavin/airllm#316
}


def seen(
    name: str, config: dict[str, Any], tensors: list[HeaderTensor], share: float
) -> tuple[Foreseen, Decision, int]:
    """Sizes, the decision and the source's bytes of a checkpoint that somebody published."""
    size = read_content(config, tensors).bytes
    names = ["config.json", *(["hf_quant_config.json"] if "NVFP4" in name else [])]
    files = tuple(RepoFile(path=path, size=1) for path in names)
    files += (RepoFile(path="model.safetensors", size=size),)
    release = Release(repo_id=name.replace("__", "/"), commit="0" * 40, files=files)
    foreseen = foresee(sketch_of(release, preview(config, tensors, release)), PROFILES)
    decision = decide(release, config, foreseen=foreseen, least_saving=share)
    return foreseen, decision, size


def row(name: str, foreseen: Foreseen, decision: Decision, source: int) -> tuple[str, ...]:
    sizes = [size for _, size in foreseen.tiers]
    would_be = "none; else " if isinstance(decision, Skip) else ""
    return (
        name.partition("__")[2],
        *(f"{size / 1e9:,.1f}" for size in (source, foreseen.converted)),
        f"{would_be}{len(sizes)}: {min(sizes) / 1e9:,.1f} to {max(sizes) / 1e9:,.1f}",
        f"{foreseen.room(source) / 1e9:,.0f}",
        decision.outcome,
    )


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="real configs are not beside the checkout")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.long if any(w in n for w in LARGE) else ())
        for n in PUBLISHED
    ],
)
def test_published_originals_at_their_full_size(name: str) -> None:
    """The table: `pytest -s` prints a row for each, GB of source, GGUF and tiers, and disk."""
    config = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    tensors = headers_of(PUBLISHED[name](config))
    foreseen, decision, source = seen(name, config, tensors, 0.1)
    columns = ("model", "source", "GGUF", "tiers", "disk", "outcome")
    print("\n" + table(columns, [row(name, foreseen, decision, source)]))  # noqa: T201 - the table
    assert abs(source / TOTAL_SIZE.get(name, source) - 1) < 0.01
    assert all(size < foreseen.converted for _, size in foreseen.tiers)
    grows = 1 if keeps_its_bits(config) or "NVFP4" in name else 2  # what is FP8 beside, to BF16
    own = source - sum(tensor.bytes for tensor in tensors if tensor.name.startswith("mtp."))
    assert -0.02 < foreseen.converted / own - grows < (0.02 if keeps_its_bits(config) else 0.07)
    wanted = "already_quantized" if "NVFP4" in name else "eligible"
    assert decision.outcome == ("no_gain" if "gpt-oss" in name else wanted)


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="real configs are not beside the checkout")
def test_what_no_tier_makes_smaller_is_skipped_with_that_reason() -> None:
    name = "openai__gpt-oss-120b"
    config = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    tensors = headers_of(PUBLISHED[name](config))
    _, decision, _ = seen(name, config, tensors, 0.1)
    assert isinstance(decision, Skip)
    assert decision.reason == (
        "128 experts, 4 active; its weights have few bits already: of 65.4 GB the smallest tier "
        "would take 62.4, which saves less than the 10% of quantize.least_saving"
    )
    assert isinstance(seen(name, config, tensors, 0.04)[1], Build)
    assert isinstance(seen(name, config, tensors, 0.0)[1], Build)


def test_fours_expand_four_times_and_not_at_all_where_they_are_kept() -> None:
    """By config alone: FP8 twice, FP4 experts of a family that keeps none of them four times."""
    model = headers.deepseek_v4().config
    kept = 100 * (1 + KEPT_EXPANSION * (1 + KEPT_TIERS))
    assert keeps_its_bits(model)
    assert guessed_room(model, 100) == kept
    eight = headers.deepseek_v3().config
    assert guessed_room(eight, 100) == 100 * (1 + EXPANSION["fp8"] * (1 + TIERS))
    four = {**eight, "expert_dtype": "fp4"}
    assert guessed_room(four, 100) == 100 * (1 + FOUR_BIT_EXPERTS * (1 + TIERS))
    plain = {key: value for key, value in eight.items() if key != "quantization_config"}
    assert guessed_room(plain, 100) == 100 * (2 + TIERS)


def test_headers_go_before_what_a_config_lets_guess() -> None:
    model = headers.deepseek_v4()
    foreseen, _, size = seen("o__Tiny", dict(model.config), list(model.tensors), 0.0)
    release = Release(
        repo_id="o/Tiny",
        commit="0" * 40,
        files=(
            RepoFile(path="config.json", size=1),
            RepoFile(path="model.safetensors", size=size),
        ),
    )
    enough = foreseen.room(size)
    assert size + foreseen.converted < enough < guessed_room(model.config, size)

    def outcome(free: int, foreseen: Foreseen | None) -> str:
        return decide(release, model.config, foreseen=foreseen, free_disk=free).outcome

    assert outcome(enough, foreseen) == "eligible"
    assert outcome(enough - 1, foreseen) == "too_large"
    assert outcome(enough, None) == "too_large"


def test_without_a_tier_nothing_is_saved() -> None:
    none = Foreseen(converted=100, tiers=(), left_out=("I-Mini",))
    assert not none.saves(0.01)
    assert replace(none, tiers=(("I-Mini", 90),)).saves(0.1)
    assert none.room(50) == 150
