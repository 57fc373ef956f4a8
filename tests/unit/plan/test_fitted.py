"""Tiers that name a size: what they may get, and a draft that is never above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.plan.fitted import Freedom, asked_bytes, draft, fitted_names, typed_recipe
from bot.plan.profiles import FittedProfile, load_profiles
from bot.records.model import Tensor
from bot.settings.making import FitSettings
from bot.settings.sections import data_folder
from bot.tensors.sizes import file_bytes
from tests.unit.plan.test_recipe import model, stack

HEADER = 6_000


def named(*tiers: str) -> list[FittedProfile]:
    profiles = load_profiles(data_folder("profiles"), tiers)
    return [profile for profile in profiles if isinstance(profile, FittedProfile)]


def test_sizes_are_read_from_names() -> None:
    size, bits, like = named("Fit-15.5GB", "fit-3.2BITS", "FIT-i-mini")
    assert (size.tier, size.fit.gb, bits.tier, bits.fit.bits) == (
        "Fit-15.5GB",
        15.5,
        "Fit-3.2bits",
        3.2,
    )
    assert (like.tier, like.fit.like, like.fit.pattern and like.fit.pattern.tier) == (
        *("Fit-I-Mini", "I-Mini", "I-Mini"),
    )


@pytest.mark.parametrize(
    "name", ["Fit-0GB", "Fit-99bits", "Fit-Huge", "Fit-", "Fit-1.GB", "Fat-1GB"]
)
def test_what_is_no_size_is_said(name: str) -> None:
    with pytest.raises(SettingsError, match=r"no size|no tier"):
        named(name)


@pytest.mark.parametrize(
    ("fit", "why"),
    [
        ("{gb: 1, bits: 3}", "one of gb, bits and like"),
        ("{}", "one of gb, bits and like"),
        ("{gb: -1}", "greater than 0"),
        ("{like: Nothing}", "no tier 'Nothing' has types to be like"),
    ],
)
def test_a_size_in_a_profile_is_one(tmp_path: Path, fit: str, why: str) -> None:
    (tmp_path / "own.yaml").write_text(f"tier: Own\norder: 1\nabout: x\nfit: {fit}\n")
    with pytest.raises(SettingsError, match=why):
        load_profiles(tmp_path)


@pytest.mark.parametrize("bits", [2.4, 3.1, 4.4, 5.9, 8.2, 12.0])
@pytest.mark.parametrize("layers", [4, pytest.param(40, marks=pytest.mark.road)])
def test_a_draft_fills_its_size_and_no_more(bits: float, layers: int) -> None:
    architecture, tensors = model(layers), stack(layers)
    (profile,) = named(f"Fit-{bits}bits")
    types = draft(profile, Freedom(), architecture, tensors, HEADER)
    recipe = typed_recipe(profile, architecture, tensors, types)
    size = file_bytes((each.bytes for each in recipe.assignments), HEADER)
    asked = asked_bytes(profile.fit, architecture, tensors, HEADER)
    spare = 0.001 if layers > 4 else 0.005  # a few tensors fill no size exactly
    assert asked * (1 - spare) <= size <= asked
    assert types.keys() == {*fitted_names(architecture, tensors)}


def test_a_size_below_the_smallest_types_is_refused() -> None:
    (profile,) = named("Fit-1bits")
    with pytest.raises(SettingsError, match="the smallest types take"):
        draft(profile, Freedom(), model(8), stack(8), HEADER)


def tensor(name: str, row: int = 2048) -> Tensor:
    return Tensor(name=name, shape=(row, 64), type="BF16", bytes=row * 128)


def test_types_follow_settings_shape_and_data() -> None:
    down = tensor("blk.3.ffn_down_exps.weight")
    every = Freedom().types_of(down)
    assert {"BF16", "Q8_0", "Q2_K", "IQ1_M", "IQ2_XXS"} <= {*every}
    assert not {"Q4_0", "IQ4_NL"} & {*every}
    lacking = Freedom().types_of(down, has_data=False)
    assert not {"IQ1_M", "IQ2_S", "IQ3_XXS"} & {*lacking}
    assert Freedom().types_of(tensor("blk.3.ffn_down_exps.weight", 2880)) == (
        *("BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "IQ4_NL", "Q4_0", "MXFP4"),
    )
    only = Freedom.of(FitSettings(types=("K",)))
    assert only.types_of(down) == ("BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K")
    floors = {"output": "Q6_K", "blk.3.*": "q4_k"}
    floored = Freedom.of(FitSettings(floors=floors))
    assert floored.types_of(tensor("output.weight"))[-1] == "Q6_K"
    assert floored.types_of(down)[-1] == "Q4_K"
    assert floored.types_of(tensor("blk.4.ffn_down_exps.weight")) == every
    with pytest.raises(SettingsError, match="'Q7_X' is no type"):
        Freedom.of(FitSettings(types=("Q7_X",)))


def test_what_predicts_ahead_is_not_chosen_and_counts() -> None:
    architecture = model(8)
    ahead = [tensor("blk.8.attn_q.weight"), tensor("blk.8.nextn.eh_proj.weight")]
    tensors = [*stack(8), *ahead]
    assert not {each.name for each in ahead} & {*fitted_names(architecture, tensors)}
    (profile,) = named("Fit-4bits")
    types = draft(profile, Freedom(), architecture, tensors, HEADER)
    recipe = typed_recipe(profile, architecture, tensors, types)
    assert {a.type for a in recipe.assignments if a.tensor.startswith("blk.8.")} == {"Q4_K"}
    asked = asked_bytes(profile.fit, architecture, tensors, HEADER)
    assert file_bytes((each.bytes for each in recipe.assignments), HEADER) <= asked
