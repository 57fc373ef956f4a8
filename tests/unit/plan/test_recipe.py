import re
from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.errors import SettingsError, SourceError
from bot.plan.profiles import BASES, NEED_IMATRIX, Profile, load_profiles
from bot.plan.recipe import (
    NEXT,
    asked_types,
    band,
    band_windows,
    file_type,
    make_recipe,
    make_recipes,
    raised_types,
    without_data,
)
from bot.predict.architecture import architecture_of
from bot.records.model import Architecture, Tensor
from bot.records.recipes import Recipe, Windows
from bot.settings.sections import data_folder
from bot.tensors.roles import allows_quantization, layer_of, role_of, stored_type
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


def test_nine_tiers_in_order(profiles: dict[str, Profile]) -> None:
    assert list(profiles) == [
        *("Quality", "Balanced", "Compact", "I-Quality", "I-Balanced", "I-Compact"),
        *("I-Mini", "I-Nano", "I-Micro"),
    ]


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
    made = types(make_recipe(profiles[tier], model(40), stack(40)))

    def over(part: str) -> list[str]:
        return [made[f"blk.{layer}.{part}.weight"] for layer in range(40)]

    edge, near, middle, shared_edge, shared, attention_edge, attention = PUBLISHED[tier]
    assert over("ffn_up_exps") == 5 * [edge] + 5 * [near] + 20 * [middle] + 5 * [near] + 5 * [edge]
    assert over("ffn_up_shexp") == 5 * [shared_edge] + 30 * [shared] + 5 * [shared_edge]
    assert over("attn_qkv") == 3 * [attention_edge] + 34 * [attention] + 3 * [attention_edge]
    assert over("ssm_out") == over("attn_qkv")
    if f"I-{tier}" in profiles:
        assert types(make_recipe(profiles[f"I-{tier}"], model(40), stack(40))) == made


@pytest.mark.skipif(not PUBLIC, reason="shared data not present")
@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_the_public_recipes(profiles: dict[str, Profile], path: Path) -> None:
    listed = dict(line.split("=") for line in path.read_text().split())
    layers = 1 + max(int(name.split(".")[1]) for name in listed)
    name = next(word for word in re.split("[_-]", path.stem) if f"I-{word.title()}" in profiles)
    made = types(make_recipe(profiles[f"I-{name.title()}"], model(layers), stack(layers)))
    assert {f"{part}.weight": kind.upper() for part, kind in listed.items()} == made


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


# one of each tensor name of LLM_TENSOR_NAMES (src/llama-arch.cpp) that a text decoder can have
ROLES = {
    "routed expert": "ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_up_exps ffn_gate_chexps"
    " ffn_down_chexps ffn_up_chexps",
    "shared expert": "ffn_gate_shexp ffn_up_shexp ffn_down_shexp",
    "router": "ffn_gate_inp ffn_gate_inp_shexp exp_probs_b exp_probs_b_vl ffn_gate_tid2eid",
    "attention": "attn_q attn_k attn_v attn_output attn_qkv attn_gate attn_q_a attn_q_b"
    " attn_kv_a_mqa attn_kv_b attn_kv attn_k_b attn_v_b attn_output_a attn_output_b"
    " attn_compressor_kv attn_compressor_gate indexer.proj indexer.attn_k indexer.attn_q_b"
    " indexer.q_proj indexer.k_proj indexer_compressor_kv indexer_compressor_gate",
    "linear attention": "ssm_ba ssm_alpha ssm_in ssm_out ssm_x ssm_dt ssm_f_a ssm_f_b ssm_beta"
    " ssm_g_a ssm_g ssm_g_b shortconv.in_proj shortconv.out_proj",
    "dense": "ffn_gate ffn_up ffn_down ffn_latent_down ffn_latent_up ffn_routed_down ffn_routed_up",
    "norm": "attn_norm ffn_norm post_attention_norm attn_q_norm attn_k_norm post_ffw_norm"
    " post_ffw_norm_1 post_ffw_norm_2 pre_ffw_norm_2 attn_norm_2 layer_output_norm"
    " attn_output_norm ssm_norm ssm_dt_norm ssm_b_norm ssm_c_norm ffn_routed_norm attn_q_a_norm"
    " attn_kv_a_norm hc_attn_norm hc_ffn_norm ple_norm_key ple_norm_query ple_norm_conv"
    " attn_compressor_norm ffn_norm_exps attn_sub_norm ffn_sub_norm indexer.k_norm"
    " indexer.q_norm indexer_compressor_norm nextn.enorm nextn.hnorm nextn.shared_head_norm"
    " laurel_post_norm altup_router_norm post_norm",
    "MTP": "nextn.eh_proj nextn.embed_tokens nextn.shared_head_head",
    "kept": "ssm_conv1d ssm_conv1d_q ssm_conv1d_k ssm_conv1d_v shortconv.conv attn_sinks"
    " attn_rot_embd rope_freqs rope_factors_long rope_factors_short layer_output_scale"
    " attn_compressor_ape indexer_compressor_ape hc_attn_fn hc_attn_base hc_attn_scale"
    " hc_ffn_fn hc_attn_down hc_ffn_inject attn_res_score ffn_res_score ple_key ple_value"
    " ple_conv1d altup_router altup_predict_coef laurel_l laurel_r inp_gate proj",
}


@pytest.mark.parametrize("role", ROLES)
def test_every_name_has_one_role(role: str) -> None:
    for name in ROLES[role].split():
        assert role_of(f"blk.7.{name}.weight") == role, name


def test_names_without_weight_and_outside_the_layers() -> None:
    expected = {
        "token_embd.weight": "embedding",
        "per_layer_token_embd.weight": "embedding",
        "output.weight": "output",
        "output_norm.weight": "norm",
        "output_norm.bias": "norm",
        "token_embd_norm.weight": "norm",
        "rope_freqs.weight": "kept",
        "output.bias": "kept",
        "blk.0.ssm_a": "kept",
        "blk.0.ssm_d": "kept",
        "blk.0.ssm_dt.bias": "kept",
        "blk.0.attn_q.bias": "kept",
        "blk.0.ffn_up_exps.scale": "kept",
        "blk.0.exp_probs_b.bias": "router",
        "blk.0.ffn_gate_inp.bias": "router",
        "blk.0.ffn_gate_inp.scale": "router",  # Gemma 4
        "blk.12345.attn_norm.weight": "norm",
    }
    assert {name: role_of(name) for name in expected} == expected
    assert (layer_of("blk.12.attn_q.weight"), layer_of("output.weight")) == (12, None)


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
    found = architecture_of(header.metadata, header.tensors)
    recipes = make_recipes(list(profiles.values()), found, header.tensors)
    for recipe in recipes:
        assert [a.tensor for a in recipe.assignments] == [t.name for t in header.tensors]
        asked = asked_types(recipe, found, header.tensors)
        assert asked["token_embd.weight"] == ("Q5_K" if recipe.base[:2] == "IQ" else "Q6_K")
        assert set(asked) == {t.name for t in header.tensors if t.type == "BF16"}
        assert recipe.same_as is None
        assert file_bytes((a.bytes for a in recipe.assignments), 0) >= recipe.tensor_bytes


def test_tiers_that_coincide_are_said(profiles: dict[str, Profile]) -> None:
    """Without a middle Quality and Balanced store the same; so do they without experts' middle."""
    chosen = [profiles["Quality"], profiles["Balanced"], profiles["I-Quality"]]
    made = make_recipes(chosen, model(4), stack(4))
    assert [recipe.same_as for recipe in made] == [None, "Quality", None]
    assert made[0].content == made[1].content
    assert made[0].hash != made[1].hash  # their base types differ
    assert made[0].content != made[2].content  # one is made with an importance matrix


def test_hash_is_stable(profiles: dict[str, Profile]) -> None:
    """A changed hash makes every published file a new one: it must be meant."""
    made = make_recipe(profiles["I-Mini"], model(8), stack(8))
    assert made.hash == HASH


def test_embeddings_and_output_follow_llama_cpp(profiles: dict[str, Profile]) -> None:
    tensors = [tensor("token_embd.weight", 2048, 10), tensor("output.weight", 2048, 10)]
    own = {t: types(make_recipe(p, model(8), tensors)) for t, p in profiles.items()}
    assert own["Quality"] == {"token_embd.weight": "Q6_K", "output.weight": "Q6_K"}
    assert own["I-Mini"] == {"token_embd.weight": "Q3_K", "output.weight": "Q6_K"}
    assert own["I-Nano"] == {"token_embd.weight": "Q2_K", "output.weight": "Q5_K"}
    assert own["I-Micro"] == {"token_embd.weight": "Q2_K", "output.weight": "Q5_K"}
    odd = [tensor("output.weight", 96, 10)]
    assert types(make_recipe(profiles["Quality"], model(8), odd)) == {"output.weight": "Q8_0"}


def test_mtp_and_dense_layers(profiles: dict[str, Profile]) -> None:
    tensors = [
        tensor("blk.20.ffn_up.weight", 256, 4),
        tensor("blk.40.ffn_up_exps.weight", 256, 4, 8),
        tensor("blk.40.nextn.eh_proj.weight", 512, 256),
        tensor("blk.40.attn_q.weight", 256, 256),
        tensor("blk.40.attn_norm.weight", 256, kind="F32"),
    ]
    made = make_recipe(profiles["I-Micro"], model(40), tensors)
    assert [(a.role, a.type) for a in made.assignments] == [
        ("dense", "Q4_K"),
        ("MTP", "Q3_K"),
        ("MTP", "Q4_K"),
        ("MTP", "Q4_K"),
        ("MTP", "F32"),
    ]


@pytest.mark.parametrize(
    ("wanted", "row", "stored"),
    [
        ("Q6_K", 256, "Q6_K"),
        ("Q6_K", 96, "Q8_0"),
        ("Q5_K", 96, "Q5_1"),
        ("Q4_K", 96, "Q5_0"),
        ("Q3_K", 96, "Q4_0"),
        ("IQ4_XS", 96, "IQ4_NL"),
        ("IQ1_M", 96, "IQ4_NL"),
        ("Q8_0", 96, "Q8_0"),
        ("Q8_0", 100, "F16"),
        ("IQ2_S", 100, "F16"),
        ("Q6_K", 100, "F16"),
    ],
)
def test_rows_that_a_block_does_not_divide(wanted: str, row: int, stored: str) -> None:
    assert stored_type(wanted, tensor("blk.0.attn_q.weight", row, 4)) == stored


@pytest.mark.parametrize(
    ("name", "shape", "allowed"),
    [
        ("blk.0.attn_q.weight", (256, 4), True),
        ("blk.0.attn_q.weight", (256, 1), False),
        ("blk.0.ffn_up_exps.weight", (256, 1, 8), True),
        ("blk.0.attn_norm.weight", (256, 4), False),
        ("blk.0.ffn_gate_inp.weight", (256, 8), False),
        ("blk.0.ffn_gate_inp_shexp.weight", (256, 8), True),
        ("blk.0.ssm_conv1d.weight", (4, 512), False),
        ("blk.0.attn_q.bias", (256, 4), False),
        ("token_types.weight", (256, 2), False),
    ],
)
def test_what_llama_cpp_never_quantizes(name: str, shape: tuple[int, ...], allowed: bool) -> None:
    assert allows_quantization(tensor(name, *shape), "llama") is allowed


def test_what_must_stay_is_asked_to_stay(profiles: dict[str, Profile]) -> None:
    """A router gate that llama.cpp would quantize is named with its own type."""
    kept = tensor("blk.0.ffn_gate_inp_shexp.weight", 256, 8, kind="F32")
    made = make_recipe(profiles["I-Micro"], model(8), [kept])
    assert asked_types(made, model(8), [kept]) == {kept.name: "F32"}


def test_a_table_of_integers_stays(profiles: dict[str, Profile]) -> None:
    """DeepSeek-V4 looks the experts of its first layers up by token; ggml cannot quantize I32."""
    table = Tensor(name="blk.0.ffn_gate_tid2eid.weight", shape=(6, 100), type="I32", bytes=2400)
    made = make_recipe(profiles["I-Micro"], model(8), [table])
    assert [(a.role, a.type, a.bytes) for a in made.assignments] == [("router", "I32", 2400)]
    assert asked_types(made, model(8), [table]) == {}


def test_block_sizes_are_ggmls() -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: TID251 - the other opinion

    for name, sizes in BLOCKS.items():
        assert GGML_QUANT_SIZES[GGMLQuantizationType[name]] == sizes
    assert set(BLOCKS) >= NEED_IMATRIX


def test_base_types_are_llama_cpps() -> None:
    import llama_cpp  # noqa: TID251 - the other opinion

    spelled = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}
    for base in BASES:
        name = f"LLAMA_FTYPE_MOSTLY_{spelled.get(base, base)}"
        assert file_type(base) == getattr(llama_cpp, name)


def test_sizes() -> None:
    assert tensor_bytes("Q6_K", (256, 3, 2)) == 6 * 210
    assert tensor_bytes("F32", (5,)) == 20
    assert file_bytes([33, 32, 1], 100) == 100 + 64 + 32 + 32
    with pytest.raises(ValueError, match="blocks of 256"):
        tensor_bytes("Q6_K", (100, 2))


PROFILE = """
tier: Own
order: 1
about: Mine
base: Q6_K
imatrix: true
experts: {edge: q6_k, near: Q5_K, middle: iq2_s}
shared: Q8_0
attention: Q6_K
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tier: [", r":\d+ is not YAML"),
        ("just words", "profile: Input should be"),
        ("", "profile: Input should be"),
        (PROFILE.replace("base: Q6_K", "base: Q6_K\ncolour: red"), "colour: Extra inputs"),
        (PROFILE.replace("base: Q6_K", "base: Q9_K"), "base: "),
        (PROFILE.replace("Q8_0", "Q8_9"), "shared.edge: .*not a type of ggml"),
        (PROFILE.replace("imatrix: true", "imatrix: false"), "IQ2_S needs"),
        (PROFILE.replace("tier: Own", "tier: ../x"), "tier: "),
        ("\0", "is not YAML"),
        ("- " * 5000 + "x", "is not YAML|profile"),
        ("a: &a [*a]", "profile|is not YAML|Field required|Extra"),
    ],
)
def test_a_broken_profile_is_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SettingsError, match=said) as refused:
        load_profiles(tmp_path)
    assert "own.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_profiles_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no profiles"):
        load_profiles(tmp_path)
    (tmp_path / "own.yaml").write_text(PROFILE)
    (own,) = load_profiles(tmp_path, ["OWN"])
    assert (own.experts.middle, own.shared.near, own.attention.edge) == ("IQ2_S", "Q8_0", "Q6_K")
    with pytest.raises(SettingsError, match="no tier 'mine'; choose from Own"):
        load_profiles(tmp_path, ["mine"])
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SettingsError, match=r"folder\.yaml cannot be read"):
        load_profiles(tmp_path)
    (tmp_path / "folder.yaml").rmdir()
    (tmp_path / "twin.yaml").write_text((tmp_path / "own.yaml").read_text())
    with pytest.raises(SettingsError, match="two profiles of the tier own"):
        load_profiles(tmp_path)


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
