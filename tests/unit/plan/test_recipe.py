import re
from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.errors import SourceError
from bot.plan.profiles import NEED_IMATRIX, Profile, load_profiles
from bot.plan.recipe import (
    NEXT,
    asked_types,
    band,
    band_windows,
    make_recipe,
    make_recipes,
    raised_types,
    without_data,
)
from bot.predict.architecture import architecture_of
from bot.records.model import Architecture, Tensor
from bot.records.recipes import Recipe, Windows
from bot.settings.sections import data_folder
from bot.tensors.sizes import BLOCKS, file_bytes, tensor_bytes

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
PUBLIC = [
    *sorted((SHARED / "apex" / "configs").glob("*.txt")),
    *sorted((SHARED / "expected" / "recipes").glob("*.txt")),
]
HASH = "de3628df25d1a1bcbea72a490dfc31e8aeb526554c70f30a31683a33f8ef6406"  # of I-Mini, 8 layers
PARTS = (
    *("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_shexp", "ffn_up_shexp"),
    *("ffn_down_shexp", "attn_q", "attn_k", "attn_v", "attn_output", "attn_gate", "attn_qkv"),
    *("ssm_alpha", "ssm_beta", "ssm_out"),
)


def tensor(name: str, *shape: int, kind: str = "BF16") -> Tensor:
    return Tensor(name=name, shape=shape, type=kind, bytes=tensor_bytes(kind, shape))


def model(layers: int, *, tied: bool = False, family: str = "qwen35moe") -> Architecture:
    return Architecture(
        family=family,
        name="Test",
        layers=layers,
        mtp_layers=0,
        dense_layers=0,
        experts=8,
        experts_active=2,
        shared_expert=True,
        parameters=1,
        parameters_active=1,
        attention=("full",) * layers,
        context_length=1,
        vocabulary=1,
        embedding_length=2048,
        tied_embeddings=tied,
        source_type="BF16",
    )


def stack(layers: int) -> list[Tensor]:
    """Every part that the public recipes name, in every layer."""
    return [
        tensor(f"blk.{layer}.{part}.weight", 2048, 16, *((4,) if part.endswith("_exps") else ()))
        for layer in range(layers)
        for part in PARTS
    ]


@pytest.fixture(scope="module")
def profiles() -> dict[str, Profile]:
    return {profile.tier: profile for profile in load_profiles(data_folder("profiles"))}


def types(recipe: Recipe) -> dict[str, str]:
    return {a.tensor: a.type for a in recipe.assignments}


# the public table of APEX: routed experts at the edge, near and in the middle, shared, attention
PUBLISHED = {
    "Quality": ("Q6_K", "Q5_K", "IQ4_XS", "Q8_0", "Q8_0", "Q6_K", "Q6_K"),
    "Balanced": ("Q6_K", "Q5_K", "Q5_K", "Q8_0", "Q8_0", "Q6_K", "Q6_K"),
    "Compact": ("Q4_K", "Q3_K", "Q3_K", "Q6_K", "Q6_K", "Q4_K", "Q4_K"),
    "I-Mini": ("Q3_K", "Q3_K", "IQ2_S", "Q5_K", "Q4_K", "Q4_K", "Q3_K"),
    "I-Nano": ("Q3_K", "IQ2_S", "IQ2_XXS", "Q5_K", "Q4_K", "Q4_K", "Q3_K"),
    "I-Micro": ("Q3_K", "IQ2_XS", "IQ1_M", "Q5_K", "Q4_K", "Q4_K", "Q3_K"),
}


@pytest.mark.parametrize("tier", PUBLISHED)
def test_published_values_over_40_layers(profiles: dict[str, Profile], tier: str) -> None:
    recipe = types(make_recipe(profiles[tier], model(40), stack(40)))

    def over(part: str) -> list[str]:
        return [recipe[f"blk.{layer}.{part}.weight"] for layer in range(40)]

    edge, near, middle, shared_edge, shared, attention_edge, attention = PUBLISHED[tier]
    assert over("ffn_up_exps") == 5 * [edge] + 5 * [near] + 20 * [middle] + 5 * [near] + 5 * [edge]
    assert over("ffn_up_shexp") == 5 * [shared_edge] + 30 * [shared] + 5 * [shared_edge]
    assert over("attn_qkv") == 3 * [attention_edge] + 34 * [attention] + 3 * [attention_edge]
    assert over("ssm_out") == over("attn_qkv")
    if f"I-{tier}" in profiles:
        assert types(make_recipe(profiles[f"I-{tier}"], model(40), stack(40))) == recipe


@pytest.mark.skipif(not PUBLIC, reason="shared data not present")
@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_the_public_recipes(profiles: dict[str, Profile], path: Path) -> None:
    listed = dict(line.split("=") for line in path.read_text().split())
    layers = 1 + max(int(name.split(".")[1]) for name in listed)
    name = next(word for word in re.split("[_-]", path.stem) if f"I-{word.title()}" in profiles)
    recipe = types(make_recipe(profiles[f"I-{name.title()}"], model(layers), stack(layers)))
    assert {f"{part}.weight": kind.upper() for part, kind in listed.items()} == recipe


def test_windows() -> None:
    assert band_windows(8) == Windows(edge=1, near=1, attention_edge=1)
    before = band_windows(1)
    for layers in range(1, 201):
        now = band_windows(layers)
        assert now.edge >= before.edge
        assert now.near >= before.near
        assert now.attention_edge >= before.attention_edge
        bands = [band(i, layers, now.edge, now.near) for i in range(layers)]
        assert bands == bands[::-1]
        assert bands[0] == "edge"
        assert layers < 5 or "middle" in bands
        if layers >= 30:
            assert now == Windows(edge=5, near=5, attention_edge=3)
        before = now


@pytest.mark.parametrize(
    "name",
    [
        *("blk.0.mystery.weight", "blk.x.attn_q.weight", "v.patch", ""),
        *("ffn_up_exps.weight", "ffn_up_shexp.weight", "ffn_up.weight", "attn_q.weight"),
        *("ssm_out.weight", "ffn_gate_inp.weight"),  # parts of a layer, outside the layers
        *("blk.0.token_embd.weight", "blk.0.output.weight"),
    ],
)
def test_an_unknown_tensor_is_named(profiles: dict[str, Profile], name: str) -> None:
    with pytest.raises(SourceError, match=re.escape(repr(name))):
        make_recipe(profiles["Quality"], model(8), [tensor(name, 256, 4)])


def test_every_tensor_of_the_demo_model(demo_model: Path, profiles: dict[str, Profile]) -> None:
    header = gguf.read_gguf(demo_model)
    architecture = architecture_of(header.metadata, header.tensors)
    recipes = make_recipes(list(profiles.values()), architecture, header.tensors)
    for recipe in recipes:
        assert [a.tensor for a in recipe.assignments] == [t.name for t in header.tensors]
        llama_types = asked_types(recipe, architecture, header.tensors)
        assert llama_types["token_embd.weight"] == ("Q5_K" if recipe.base[:2] == "IQ" else "Q6_K")
        assert set(llama_types) == {t.name for t in header.tensors if t.type == "BF16"}
        assert recipe.same_as is None
        assert file_bytes((a.bytes for a in recipe.assignments), 0) >= recipe.tensor_bytes


def test_tiers_that_coincide_are_said(profiles: dict[str, Profile]) -> None:
    """Without a middle Quality and Balanced store the same; so do they without experts' middle."""
    chosen = [profiles["Quality"], profiles["Balanced"], profiles["I-Quality"]]
    recipes = make_recipes(chosen, model(4), stack(4))
    assert [recipe.same_as for recipe in recipes] == [None, "Quality", None]
    assert recipes[0].content == recipes[1].content
    assert recipes[0].hash != recipes[1].hash  # their base types differ
    assert recipes[0].content != recipes[2].content  # one is made with an importance matrix


def test_hash_is_stable(profiles: dict[str, Profile]) -> None:
    """A changed hash makes every published file a new one: it must be meant."""
    recipe = make_recipe(profiles["I-Mini"], model(8), stack(8))
    assert recipe.hash == HASH


def test_embeddings_and_output_follow_llama_cpp(profiles: dict[str, Profile]) -> None:
    tensors = [tensor("token_embd.weight", 2048, 10), tensor("output.weight", 2048, 10)]
    own = {t: types(make_recipe(p, model(8), tensors)) for t, p in profiles.items()}
    assert own["Quality"] == {"token_embd.weight": "Q6_K", "output.weight": "Q6_K"}
    assert own["I-Mini"] == {"token_embd.weight": "Q3_K", "output.weight": "Q6_K"}
    assert own["I-Nano"] == {"token_embd.weight": "Q2_K", "output.weight": "Q5_K"}
    assert own["I-Micro"] == {"token_embd.weight": "Q2_K", "output.weight": "Q5_K"}
    odd = [tensor("output.weight", 96, 10)]
    assert types(make_recipe(profiles["Quality"], model(8), odd)) == {"output.weight": "Q5_1"}


def test_what_a_tier_would_not_make_smaller_passes_through(profiles: dict[str, Profile]) -> None:
    """Experts in four bits stay as they are unless the tier asks for fewer; the rest follows it."""
    four = tensor("blk.20.ffn_up_exps.weight", 256, 4, 8, kind="MXFP4")
    odd = tensor("blk.20.ffn_down_exps.weight", 288, 4, 8, kind="MXFP4")
    eight = tensor("blk.20.attn_q.weight", 256, 4, kind="Q8_0")
    shapes = [four, odd, eight, tensor("blk.20.attn_k.weight", 288, 4)]
    stored = {name: types(make_recipe(p, model(40), shapes)) for name, p in profiles.items()}
    for tier, kinds in stored.items():
        whole = dict(zip(shapes, kinds.values(), strict=True))
        assert all(tensor_bytes(k, t.shape) <= t.bytes for t, k in whole.items()), tier
        assert kinds[odd.name] == "MXFP4"  # no smaller type has blocks that fit
    assert [kinds[four.name] for kinds in stored.values()].count("MXFP4") == 4
    assert stored["I-Mini"][four.name] == "IQ2_S"
    assert (stored["Quality"][eight.name], stored["I-Mini"][eight.name]) == ("Q6_K", "Q3_K")
    assert stored["I-Mini"]["blk.20.attn_k.weight"] == "IQ4_NL"
    quality = make_recipe(profiles["Quality"], model(40), shapes)
    fell = {a.tensor: a.asked for a in quality.assignments if a.asked is not None}
    assert fell == {"blk.20.attn_k.weight": "Q6_K"}  # what passes through did not fall back


def test_mtp_and_dense_layers(profiles: dict[str, Profile]) -> None:
    tensors = [
        tensor("blk.20.ffn_up.weight", 256, 4),
        tensor("blk.40.ffn_up_exps.weight", 256, 4, 8),
        tensor("blk.40.nextn.eh_proj.weight", 512, 256),
        tensor("blk.40.attn_q.weight", 256, 256),
        tensor("blk.40.attn_norm.weight", 256, kind="F32"),
    ]
    recipe = make_recipe(profiles["I-Micro"], model(40), tensors)
    assert [(a.role, a.type) for a in recipe.assignments] == [
        ("dense", "Q4_K"),
        ("MTP", "Q3_K"),
        ("MTP", "Q4_K"),
        ("MTP", "Q4_K"),
        ("MTP", "F32"),
    ]


def test_what_must_stay_is_asked_to_stay(profiles: dict[str, Profile]) -> None:
    """A router gate that llama.cpp would quantize is named with its own type."""
    gate = tensor("blk.0.ffn_gate_inp_shexp.weight", 256, 8, kind="F32")
    recipe = make_recipe(profiles["I-Micro"], model(8), [gate])
    assert asked_types(recipe, model(8), [gate]) == {gate.name: "F32"}


def test_a_table_of_integers_stays(profiles: dict[str, Profile]) -> None:
    """DeepSeek-V4 looks the experts of its first layers up by token; ggml cannot quantize I32."""
    table = Tensor(name="blk.0.ffn_gate_tid2eid.weight", shape=(6, 100), type="I32", bytes=2400)
    recipe = make_recipe(profiles["I-Micro"], model(8), [table])
    assert [(a.role, a.type, a.bytes) for a in recipe.assignments] == [("router", "I32", 2400)]
    assert asked_types(recipe, model(8), [table]) == {}


def test_the_next_type_is_larger_and_needs_no_data() -> None:
    assert set(NEXT) == NEED_IMATRIX
    for low, high in NEXT.items():
        assert high not in NEED_IMATRIX
        assert BLOCKS[high][0] == BLOCKS[low][0]
        assert BLOCKS[high][1] > BLOCKS[low][1]


def test_only_tensors_without_data_get_another_type() -> None:
    tensors = [tensor(f"blk.{n}.ffn_up_exps.weight", 256, 64, 8) for n in range(8)]
    (profile,) = load_profiles(data_folder("profiles"), ["I-Micro"])
    recipe = make_recipe(profile, model(8), tensors)
    assert {a.type for a in recipe.assignments} == {"Q3_K", "IQ2_XS", "IQ1_M"}
    lacking = tensors[3].name
    raised = without_data(recipe, {lacking}, tensors)
    assert raised_types(recipe, raised) == (f"{lacking} IQ1_M Q2_K",)
    assert raised.tensor_bytes - recipe.tensor_bytes == 256 * 64 * 8 // 256 * (84 - 56)
    assert raised.hash != recipe.hash
    assert without_data(recipe, (), tensors) == recipe
