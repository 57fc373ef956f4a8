"""What a checkpoint is, from its config and headers alone: families by hand, configs as found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from bot.clients.files import gguf
from bot.clients.files.shards import local_release, local_safetensors
from bot.errors import SourceError
from bot.predict.architecture import architecture_of
from bot.predict.preview import preview
from bot.records.coding import from_json, to_json
from bot.records.model import Architecture, HeaderTensor
from bot.records.releases import Release
from tests import headers
from tests.checkpoints import EXPERTS, FAMILIES, Family
from tests.headers import MODELS, H, Model

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
TINY = DATA / "models" / "tiny-moe"
RELEASE = Release(repo_id="maker/Model-8x1B", commit="0" * 40)

Make = Callable[[], Model]


def described(model: Model, release: Release = RELEASE) -> Architecture:
    return preview(model.config, model.tensors, release).architecture


# ── families ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_family_is_described_from_its_headers(make: Make) -> None:
    model = make()
    architecture = described(model)
    assert (architecture.name, architecture.family) == ("Model-8x1B", model.family)
    assert (
        architecture.experts,
        architecture.experts_active,
        architecture.shared_experts,
    ) == model.experts
    assert (architecture.layers, architecture.dense_layers, architecture.mtp_layers) == model.layers
    assert architecture.attention_pattern == model.attention
    assert architecture.source_precision == model.precision
    assert (architecture.vocabulary, architecture.embedding_length) == (1024, H)
    assert architecture.context_length == 4096


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_parameters_are_counted_from_shapes(make: Make) -> None:
    model = make()
    architecture = described(model)
    words = [
        "vision",
        "scale_inv",
        "activation_scale",
        ".scale",
        *(["layers.3."] if model.layers[2] else []),
    ]
    words = ["vision"] if model.family == "gemma4" else words
    plain = sum(prod(t.shape) for t in model.tensors if not any(w in t.name for w in words))
    assert architecture.parameters == plain + model.packed
    routed = [t for t in model.tensors if "expert" in t.name and "shared" not in t.name]
    assert routed
    idle = architecture.parameters - architecture.parameters_active
    experts, active, _ = model.experts
    sparse = model.layers[0] - model.layers[1]
    matrices = 2 if model.family == "nemotron_h_moe" else 3
    assert idle == sparse * (experts - active) * matrices * headers.FF * H


# experts active, shared, dense layers, MTP layers, attention, precision
CONVERTED = {
    "mixtral": (2, 0, 0, 0, "full attention in every layer", "BF16"),
    "granite": (2, 1, 0, 0, "full attention in every layer", "BF16"),
    "deepseek2": (2, 2, 1, 0, "full attention in every layer", "BF16"),
    "qwen3moe": (2, 0, 0, 0, "full attention in every layer", "BF16"),
    "qwen3moe-fp8": (2, 0, 0, 0, "full attention in every layer", "BF16"),  # a large vocabulary
    "qwen35moe": (2, 1, 0, 1, "linear attention in 3 layers, full attention in 1 layer", "BF16"),
    "olmoe": (2, 0, 0, 0, "full attention in every layer", "BF16"),
    "gptoss": (2, 0, 0, 0, "sliding attention in 1 layer, full attention in 1 layer", "BF16"),
    "deepseek4": (2, 1, 0, 0, "sparse attention in 2 layers, sliding attention in 1 layer", "BF16"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_that_the_converter_is_tried_on(name: str) -> None:
    family = FAMILIES[name]()
    tensors = stored(family)
    architecture = preview(family.config, tensors, RELEASE).architecture
    assert (
        architecture.experts_active,
        architecture.shared_experts,
        architecture.dense_layers,
        architecture.mtp_layers,
        architecture.attention_pattern,
        architecture.source_precision,
    ) == CONVERTED[name]
    assert architecture.experts == EXPERTS
    assert architecture.dense_leading_layers == architecture.dense_layers
    assert architecture.vision is (name == "qwen35moe")
    assert architecture.parameters_other == sum(
        prod(t.shape) for t in tensors if t.name.startswith("model.visual.")
    )
    assert architecture.tied_embeddings is bool(family.config.get("tie_word_embeddings"))


def stored(family: Family) -> list[HeaderTensor]:
    eight = family.fp8
    shapes = {n: s for n, s in family.shapes.items() if not (eight and n.endswith("_proj.weight"))}
    low = {n: s for n, s in family.shapes.items() if n not in shapes}
    scales = {
        f"{name}_scale_inv": tuple(-(-n // 128) for n in shape) for name, shape in low.items()
    }
    return [
        *headers.tensors(shapes),
        *headers.tensors(low, "F8_E4M3"),
        *headers.tensors(scales, "F32"),
        *headers.tensors(family.packed, "U8"),
        *(t for n, (dtype, s) in family.typed.items() for t in headers.tensors({n: s}, dtype)),
    ]


def test_packed_weights_are_told_by_their_scales() -> None:
    """The four-bit formats and what an element of theirs holds."""
    model = headers.deepseek_v3()
    plain = [t for t in model.tensors if ".experts." not in t.name]
    experts = [t for t in model.tensors if ".experts." in t.name and t.dtype == "F8_E4M3"]
    sixteen = described(model)

    def repacked(dtype: str, scale: str, named: str) -> Architecture:
        halves = {t.name: (t.shape[0], t.shape[1] // 2) for t in experts}
        scales = {f"{t.name.removesuffix('.weight')}{named}": (t.shape[0], 16) for t in experts}
        low = [*headers.tensors(halves, dtype), *headers.tensors(scales, scale)]
        return described(replace(model, tensors=[*plain, *low]))

    # ModelOpt's NVFP4, MXFP4 as in DeepSeek-V4
    by_precision = {
        "NVFP4": repacked("U8", "F8_E4M3", ".weight_scale"),
        "MXFP4": repacked("I8", "F8_E8M0", ".scale"),
    }
    for precision, architecture in by_precision.items():
        assert architecture.source_precision == precision
        assert architecture.parameters == sixteen.parameters
        assert architecture.parameters_active == sixteen.parameters_active


def test_a_finetune_that_lost_its_prediction_layer_has_none() -> None:
    model = headers.deepseek_v3()
    tensors = [t for t in model.tensors if not t.name.startswith("model.layers.3.")]
    assert described(replace(model, tensors=tensors)).mtp_layers == 0
    assert model.config["num_nextn_predict_layers"] == 1


@pytest.mark.parametrize(
    ("tags", "base"),
    [
        ((), (None, None)),
        (("base_model:org/Base",), (None, "org/Base")),
        (("moe", "base_model:org/Base", "base_model:finetune:org/Base"), ("finetune", "org/Base")),
        (("base_model:evil:org/Base", "base_model:a b/c", "base_model:"), (None, None)),
    ],
)
def test_the_base_model_is_what_the_hub_says(
    tags: tuple[str, ...], base: tuple[str | None, str | None]
) -> None:
    architecture = described(headers.dbrx(), replace(RELEASE, tags=tags))
    assert (architecture.base_relation, architecture.base_model) == base


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_hidden_layers": 3}, "has weights for 2 layers, its config.json says 3"),
        ({"num_experts": 16}, "has 8 experts, its config.json says 16"),
        ({"num_experts_per_tok": 9}, "its config.json says that 9 are active"),
        ({"num_experts_per_tok": None}, "its config.json says that 0 are active"),
    ],
)
def test_a_config_of_another_model_is_refused(change: dict[str, Any], reason: str) -> None:
    model = headers.qwen3moe()
    with pytest.raises(SourceError, match=reason):
        preview(model.config | change, model.tensors, RELEASE)


def test_a_dense_model_is_refused() -> None:
    shapes = headers.around() | headers.norms("model.layers.0") | headers.mlp("model.layers.0.mlp")
    shapes |= headers.attention("model.layers.0")
    config = headers.config("Qwen3ForCausalLM", "qwen3", 1)
    with pytest.raises(SourceError, match="no tensors of experts"):
        preview(config, headers.tensors(shapes), RELEASE)
    with pytest.raises(SourceError, match="weights for 0 layers"):
        preview(config, [], RELEASE)


def test_a_description_goes_into_json_and_back() -> None:
    architecture = described(headers.gemma4())
    assert from_json(Architecture, to_json(architecture)) == architecture


@pytest.mark.skipif(not TINY.is_dir(), reason="the miniature is not beside the checkout")
def test_the_miniature_is_described_as_its_gguf_is() -> None:
    folder = TINY / "hf"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = preview(
        config, local_safetensors(folder, config), local_release(folder)
    ).architecture
    header = gguf.read_gguf(TINY / "tiny-moe-BF16.gguf")
    real = architecture_of(header.metadata, header.tensors)
    fields = ("cache_values", "cache_window_values", "cache_window")
    cache = {name: getattr(real, name) for name in fields}
    own = {"name": real.name, "shared_experts": 0, "source_precision": "", **cache}
    assert architecture.source_bytes == sum(2 * prod(t.shape) for t in header.tensors)
    assert replace(architecture, source_shares=(), **own) == real
    assert architecture.attention_pattern == "full attention every 4th layer, linear otherwise"


# ── hostile ─────────────────────────────────────────────────────────────────────────────────

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**63, 10**400, float("nan"), 1e308, "", "8", "x" * 10_000),
    *([], {}, [None], [[[8]]], [8] * 10_000, {"text_config": 1}, [{"num_experts": 8}], "MEME*"),
)


@pytest.mark.parametrize("count", [200, pytest.param(1_000, marks=pytest.mark.long)])
def test_mutated_configs_describe_or_are_refused(count: int) -> None:
    dice = random.Random(20261123)  # noqa: S311 - a seed, so that a failure repeats
    models = [make() for make in MODELS]
    outcomes = [outcome(dice.choice(models), dice) for _ in range(count)]
    assert {type(description) for description in outcomes} == {Architecture, str}
    for description in outcomes:
        assert isinstance(description, Architecture) or (
            description.isprintable() and len(description) < 400
        )


def outcome(model: Model, dice: random.Random) -> Architecture | str:
    config, tensors = deepcopy(model.config), list(model.tensors)
    for _ in range(dice.randint(1, 3)):
        part = config
        while (inner := [v for v in part.values() if isinstance(v, dict)]) and dice.random() < 0.6:
            part = dice.choice(inner)
        if part:
            part[dice.choice(list(part))] = deepcopy(dice.choice(HOSTILE))
        place = dice.randrange(len(tensors))
        shape = tuple(dice.choice((0, 1, 2, 3, 512)) for _ in range(dice.randint(0, 4)))
        tensors[place] = replace(tensors[place], shape=shape)
    try:
        return preview(config, tensors, RELEASE).architecture
    except SourceError as error:
        return str(error)
