"""What the converter will write and how large every tier will be, before anything is here."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.clients.files import gguf
from bot.clients.files.gguf import tensor_names
from bot.clients.files.shards import local_release, local_safetensors
from bot.errors import SourceError
from bot.plan.profiles import load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipes
from bot.predict.architecture import architecture_of
from bot.predict.conversion import predict
from bot.predict.preview import Preview, preview
from bot.records.model import HeaderTensor
from bot.records.recipes import Recipe
from bot.records.releases import Release, RepoFile
from bot.settings.sections import data_folder
from bot.source.convert import convert_checkpoint
from bot.source.converter_run import Options
from bot.source.staging import ConvertFacts
from bot.tensors.roles import layer_of
from bot.tensors.sizes import file_bytes, tensor_bytes
from bot.tensors.stored import read_content
from bot.toolchain.toolchain import Toolchain
from tests import checkpoints, headers
from tests.checkpoints import FAMILIES
from tests.headers import MODELS, H, Model
from tests.oracle import quantize_recipe
from tests.tensor_names import NAMES, model

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
TINY = DATA / "models" / "tiny-moe"
RELEASE = Release(repo_id="maker/Model", commit="0" * 40)
PROFILES = load_profiles(data_folder("profiles"))
GIB = 2**30

Make = Callable[[], Model]


def foreseen(model: Model) -> Preview:
    return preview(model.config, model.tensors, RELEASE)


def recipes(previewed: Preview) -> tuple[Recipe, ...]:
    return make_recipes(PROFILES, previewed.architecture, previewed.tensors)


def predicted(previewed: Preview, recipe: Recipe) -> int:
    """Bytes of a recipe's file."""
    return file_bytes((assignment.bytes for assignment in recipe.assignments), previewed.header)


def source_bytes(previewed: Preview) -> int:
    """Bytes of the BF16 file that the recipes start from."""
    return file_bytes((tensor.bytes for tensor in previewed.tensors), previewed.header)


# ── tensors ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_every_tensor_gets_a_name_a_shape_and_a_rule(make: Make) -> None:
    model = make()
    previewed = foreseen(model)
    shapes = {tensor.name: tensor.shape for tensor in previewed.tensors}
    assert len(shapes) == len(previewed.tensors)
    assert model.becomes.items() <= shapes.items()
    assert (
        sum(tensor.parameters for tensor in previewed.tensors) == previewed.architecture.parameters
    )
    for recipe in recipes(previewed):
        assert [a.tensor for a in recipe.assignments] == list(shapes)
        assert previewed.header < predicted(previewed, recipe) < source_bytes(previewed)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_no_name_of_a_known_family_is_guessed(make: Make) -> None:
    """Of DeepSeek-V4 the gguf package has no table, and apex-bot has its own."""
    assert foreseen(make()).guessed == ()


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_what_is_foreseen_has_as_many_weights_as_the_checkpoint(make: Make) -> None:
    """Plan, prediction and the check after conversion count with one table."""
    model = make()
    content, weights = read_content(model.config, model.tensors), Counter[int]()
    for tensor in foreseen(model).tensors:
        layer = layer_of(tensor.name)
        weights[-1 if layer is None else layer] += tensor.parameters
    assert content.by_layer("main") in (weights, None)
    assert sum(weights.values()) == content.weights("main")


def test_a_name_that_no_rule_knows_stops_the_plan() -> None:
    with pytest.raises(SourceError, match=r"tensor 'net\.embedding_table\.weight' and 12 more of"):
        foreseen(headers.never_seen())


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        # names without the prefix, with one too many, of another program
        (("layers.0.mlp.gate.weight",), "'layers.0.mlp.gate.weight' of this qwen3moe"),
        (("model.layers.0.self_attn.q_proj.weight.extra", "a"), "and 1 more of this qwen3moe"),
        (("model.layers.0.self_attn.rotary_emb.cos_cached",), "no rule knows"),
        (("value_head.weight",), "no rule knows"),
        (("model.layers.0.self_attn.q_proj.lora_A.default.weight",), "factors of an adapter"),
        (("model.layers.1.mlp.experts.0.up_proj.lora_B.weight",), "factors of an adapter"),
        (("base_model.model.model.norm.weight",), "an adapter's training"),
        (("model.layers.0.self_attn.q_proj.base_layer.weight",), "an adapter's training"),
        (("_orig_mod.model.norm.weight",), "a training run"),
        (("model.layers.0.mlp.switch_mlp.gate_proj.weight",), "MLX's layout"),
        (("model.layers.0.block_sparse_moe.switch_mlp.up_proj.weight",), "MLX's layout"),
        (("model.layers.0.mlp.experts.local_experts.0.linear_fc1.weight",), "Megatron's layout"),
        (("layers.0.attention.wq.weight",), "Meta's and Mistral's own files"),
        (("model.layers.0.self_attn.q_proj.weight.absmax",), "bitsandbytes"),
    ],
)
def test_a_strange_tensor_is_named_with_its_kind(names: tuple[str, ...], reason: str) -> None:
    model = headers.qwen3moe()
    strange = headers.tensors(dict.fromkeys(names, (H, H)))
    with pytest.raises(SourceError, match=reason) as refused:
        foreseen(replace(model, tensors=[*model.tensors, *strange]))
    assert names[0] in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "value_head.weight",
        "v_head.summary.weight",
        "score.weight",
        "reward_model.layers.0.attn.wq_a.weight",
        "model.layers.0.ffn.gate.weight",
        "layers.0.attn.rotary.cos_cached",
        "layers.0.attn.wq_a.weight.exp_avg_sq",
        "layers.0.attn.wq_a.lora_A.default.weight",
        "optimizer.state",
    ],
)
def test_a_strange_tensor_stops_the_plan_where_gguf_has_no_table_too(name: str) -> None:
    model = headers.deepseek_v4()
    newer = headers.tensors({"layers.0.attn.wq_c.weight": (H, H)})
    assert foreseen(replace(model, tensors=[*model.tensors, *newer])).guessed == (newer[0].name,)
    strange = headers.tensors({name: (H, H)})
    with pytest.raises(SourceError, match=re.escape(name)):
        foreseen(replace(model, tensors=[*model.tensors, *strange]))


def test_integers_that_route_are_no_weights() -> None:
    previewed = foreseen(headers.deepseek_v4())
    (table,) = (tensor for tensor in previewed.tensors if "tid2eid" in tensor.name)
    assert (table.type, table.parameters, table.bytes) == ("I32", 0, 4 * 2 * 1024)
    assert not any(tensor.name == "blk.0.exp_probs_b.bias" for tensor in previewed.tensors)
    for recipe in recipes(previewed):
        assert {a.type for a in recipe.assignments if a.tensor == table.name} == {"I32"}


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((8, 6, 8), "has 8 experts in most layers and 6 in layer 1"),
        ((4, 8, 8, 8), "has 8 experts in most layers and 4 in layer 0"),
    ],
)
def test_layers_of_different_numbers_of_experts_are_refused(
    counts: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(SourceError, match=reason):
        foreseen(headers.qwen3moe(counts))


def test_experts_are_numbered_without_a_gap_and_of_one_shape() -> None:
    model = headers.qwen3moe()
    without = [t for t in model.tensors if ".layers.1.mlp.experts.3.up_proj" not in t.name]
    with pytest.raises(SourceError, match="lacks expert 3 though there is expert 7"):
        foreseen(replace(model, tensors=without))
    last = [t for t in model.tensors if ".layers.1.mlp.experts.7." not in t.name]
    with pytest.raises(SourceError, match=r"8 experts in most layers and 7 in layer 1|7 in most"):
        foreseen(replace(model, tensors=last))
    changed = [
        replace(t, shape=(8, H)) if ".1.mlp.experts.3.up_proj" in t.name else t
        for t in model.tensors
    ]
    with pytest.raises(SourceError, match="another shape than the layer's other experts"):
        foreseen(replace(model, tensors=changed))


def test_types_are_the_converters() -> None:
    kinds = {tensor.name: tensor.type for tensor in foreseen(headers.kimi_linear()).tensors}
    exact = ("ffn_gate_inp.weight", "_norm.weight", "ssm_a", ".bias", "ssm_conv1d_q.weight")
    assert {kinds[n] for n in kinds if n.endswith(exact)} == {"F32"}
    assert {kinds[n] for n in kinds if n.endswith(("exps.weight", "attn_q.weight"))} == {"BF16"}


def test_a_tied_head_that_is_stored_is_left_out_where_the_converter_does() -> None:
    for make, has_head in ((headers.deepseek_v3, False), (headers.qwen3moe, True)):
        model = make()
        previewed = preview(model.config | {"tie_word_embeddings": True}, model.tensors, RELEASE)
        assert any(tensor.name == "output.weight" for tensor in previewed.tensors) is has_head
        assert previewed.architecture.tied_embeddings is not has_head


def test_vision_and_prediction_layers_are_not_in_the_file() -> None:
    deep, seeing = foreseen(headers.deepseek_v3()), foreseen(headers.gemma4())
    assert not any(tensor.name.startswith("blk.3.") for tensor in deep.tensors)
    assert seeing.architecture.vision
    assert seeing.architecture.parameters_other == 64 * 64 + 64 * H


def test_a_flood_of_unknown_names_is_refused() -> None:
    shapes = {f"net.layers.0.thing{i}": (2, 2) for i in range(20_000)}
    config = headers.config("NobodysForCausalLM", "nobodys", 1, **headers.count())
    with pytest.raises(SourceError, match="no rule knows"):
        preview(config, headers.tensors(shapes), RELEASE)


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_the_converter_writes_what_was_foreseen(
    name: str, toolchain: Toolchain, tmp_path: Path
) -> None:
    family = FAMILIES[name]()
    source = checkpoints.write(family, tmp_path / "source", toolchain)
    previewed = preview(
        family.config, local_safetensors(source, family.config), local_release(source)
    )
    target = tmp_path / "out" / "tiny.gguf"
    facts = ConvertFacts(name="Tiny", repo_id="org/Tiny", commit="0" * 40)
    convert_checkpoint(
        source,
        target,
        toolchain=toolchain,
        facts=facts,
        options=Options(threads=1),
        report=lambda _done, _total: None,
    )
    header = gguf.read_gguf(target)
    assert set(previewed.tensors) == set(header.tensors)
    assert previewed.architecture.family == header.metadata["general.architecture"]
    # gpt-oss's file does not say which layers slide: llama.cpp knows it by the family
    attention = architecture_of(header.metadata, header.tensors).attention
    assert name == "gptoss" or previewed.architecture.attention == attention


# ── sizes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.road
@pytest.mark.skipif(not TINY.is_dir(), reason="the miniature is not beside the checkout")
def test_all_tiers_of_the_miniature_within_half_a_percent(tmp_path: Path) -> None:
    """Against the real file's tensors behind its header; those without an imatrix are made."""
    folder = TINY / "hf"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    previewed = preview(config, local_safetensors(folder, config), local_release(folder))
    source = TINY / "tiny-moe-BF16.gguf"
    header = gguf.read_gguf(source)
    assert set(previewed.tensors) == set(header.tensors)
    assert abs(source_bytes(previewed) / source.stat().st_size - 1) < 0.005
    model = architecture_of(header.metadata, header.tensors)
    real = make_recipes(PROFILES, model, header.tensors)
    assert len(real) == 9
    for ours, recipe in zip(recipes(previewed), real, strict=True):
        true = file_bytes((a.bytes for a in recipe.assignments), header.data_offset)
        assert {(a.tensor, a.type) for a in ours.assignments} == {
            (a.tensor, a.type) for a in recipe.assignments
        }
        assert abs(predicted(previewed, ours) / true - 1) < 0.005
    for ours, recipe in zip(recipes(previewed), real, strict=True):
        if not recipe.imatrix:
            target = tmp_path / f"{recipe.tier}.gguf"
            types = asked_types(recipe, model, header.tensors)
            kind = file_type(recipe.base)
            quantize_recipe(source, target, types=types, file_type=kind, imatrix=None, threads=2)
            assert abs(predicted(previewed, ours) / target.stat().st_size - 1) < 0.005


def qwen3moe(config: dict[str, Any]) -> list[HeaderTensor]:
    """Every tensor of a Qwen3-MoE of these sizes."""
    width, hidden = config["moe_intermediate_size"], config["hidden_size"]
    query, key = (config[f"num_{n}_heads"] * config["head_dim"] for n in ("attention", "key_value"))
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    shapes |= {"lm_head.weight": (config["vocab_size"], hidden)}
    vectors: dict[str, tuple[int, ...]] = {"model.norm.weight": (hidden,)}
    for layer in (f"model.layers.{i}" for i in range(config["num_hidden_layers"])):
        vectors |= {f"{layer}.{n}_layernorm.weight": (hidden,) for n in ("input", "post_attention")}
        vectors |= {f"{layer}.self_attn.{n}_norm.weight": (config["head_dim"],) for n in "qk"}
        rows = {"q_proj": query, "k_proj": key, "v_proj": key}
        shapes |= {f"{layer}.self_attn.{name}.weight": (n, hidden) for name, n in rows.items()}
        shapes[f"{layer}.self_attn.o_proj.weight"] = (hidden, query)
        shapes[f"{layer}.mlp.gate.weight"] = (config["num_experts"], hidden)
        for expert in (f"{layer}.mlp.experts.{e}" for e in range(config["num_experts"])):
            shapes |= {f"{expert}.{n}_proj.weight": (width, hidden) for n in ("gate", "up")}
            shapes[f"{expert}.down_proj.weight"] = (hidden, width)
    return headers.tensors({**shapes, **vectors})


def qwen35moe(config: dict[str, Any]) -> list[HeaderTensor]:
    """Every tensor of a Qwen3.5-MoE's text decoder of these sizes."""
    text = config["text_config"]
    hidden, width, experts = (
        text[n] for n in ("hidden_size", "moe_intermediate_size", "num_experts")
    )
    query, key = (text[f"num_{n}_heads"] * text["head_dim"] for n in ("attention", "key_value"))
    heads = text["linear_num_value_heads"]
    keys = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    values = heads * text["linear_value_head_dim"]
    prefix = "model.language_model"
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}.embed_tokens.weight": (text["vocab_size"], hidden),
        "lm_head.weight": (text["vocab_size"], hidden),
        f"{prefix}.norm.weight": (hidden,),
    }
    for i, kind in enumerate(text["layer_types"]):
        layer = f"{prefix}.layers.{i}"
        shapes |= {f"{layer}.{n}_layernorm.weight": (hidden,) for n in ("input", "post_attention")}
        shapes[f"{layer}.mlp.gate.weight"] = (experts, hidden)
        shapes[f"{layer}.mlp.experts.gate_up_proj"] = (experts, 2 * width, hidden)
        shapes[f"{layer}.mlp.experts.down_proj"] = (experts, hidden, width)
        shared = f"{layer}.mlp.shared_expert"
        shapes |= {f"{shared}.{n}_proj.weight": (width, hidden) for n in ("gate", "up")}
        shapes |= {
            f"{shared}.down_proj.weight": (hidden, width),
            f"{shared}_gate.weight": (1, hidden),
        }
        own = f"{layer}.linear_attn"
        if kind == "full_attention":
            own = f"{layer}.self_attn"
            rows = {"q_proj": 2 * query, "k_proj": key, "v_proj": key}
            shapes |= {f"{own}.{n}_norm.weight": (text["head_dim"],) for n in "qk"}
            shapes[f"{own}.o_proj.weight"] = (hidden, query)
        else:
            rows = {"in_proj_qkv": 2 * keys + values, "in_proj_z": values}
            rows |= {"in_proj_a": heads, "in_proj_b": heads}
            shapes |= {f"{own}.A_log": (heads,), f"{own}.dt_bias": (heads,)}
            shapes[f"{own}.conv1d.weight"] = (2 * keys + values, 1, 4)
            shapes[f"{own}.norm.weight"] = (text["linear_value_head_dim"],)
            shapes[f"{own}.out_proj.weight"] = (hidden, values)
        shapes |= {f"{own}.{name}.weight": (n, hidden) for name, n in rows.items()}
    return headers.tensors(shapes)


# GiB as apex-quant published them, of the tiers that its recipes make as ours do
PUBLISHED = (
    ("Qwen__Qwen3-30B-A3B-FP8.json", qwen3moe, 30_532_122_624, "coder30b/apex_quality", "Quality"),
    (
        "Qwen__Qwen3-30B-A3B-FP8.json",
        qwen3moe,
        30_532_122_624,
        "coder30b/apex_balanced",
        "Balanced",
    ),
    ("Qwen__Qwen3-30B-A3B-FP8.json", qwen3moe, 30_532_122_624, "coder30b/q8_0", None),
    (
        *("nvidia__Qwen3.6-35B-A3B-NVFP4.json", qwen35moe, 34_660_610_688),
        *("qwen36_35b/apex_quality", "Quality"),
    ),
)


@pytest.mark.skipif(not DATA.is_dir(), reason="published sizes are not beside the checkout")
@pytest.mark.parametrize(("file", "make", "parameters", "result", "tier"), PUBLISHED)
def test_published_sizes_within_half_a_percent(
    file: str,
    make: Callable[[dict[str, Any]], list[HeaderTensor]],
    parameters: int,
    result: str,
    tier: str | None,
) -> None:
    config = json.loads((DATA / "configs" / file).read_text(encoding="utf-8"))
    release = replace(RELEASE, files=(RepoFile(path="tokenizer.json", size=11_422_654),))
    previewed = preview(config, make(config), release)
    assert previewed.architecture.parameters == parameters
    assert previewed.guessed == ()
    size = next((predicted(previewed, r) for r in recipes(previewed) if r.tier == tier), None)
    if size is None:
        kinds = {"BF16": "Q8_0", "F32": "F32"}
        size = file_bytes(
            (tensor_bytes(kinds[t.type], t.shape) for t in previewed.tensors), previewed.header
        )
    path = DATA / "apex" / "results" / f"{result}.json"
    published = json.loads(path.read_text(encoding="utf-8"))["size_gb"]
    assert abs(size / GIB / published - 1) < 0.005


# ── names ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", NAMES)
def test_every_name_of_a_family_is_known(family: str) -> None:
    config, tensors = model(family)
    content = read_content(config, tensors)
    predicted_model = predict(config, content)
    assert (predicted_model.family, predicted_model.guessed) == (family, ())
    assert sum(tensor.parameters for tensor in predicted_model.tensors) == content.weights("main")


def test_looking_at_one_family_changes_no_other() -> None:
    """The gguf package writes Arctic's names into the table that all families share."""
    name = "model.layers.0.post_attention_layernorm.weight"
    tensor_names("arctic")
    assert tensor_names("qwen2moe")(name) == "blk.0.ffn_norm.weight"
