from dataclasses import replace

import pytest

from bot.errors import SettingsError
from bot.plan.plain import Baseline, baselines, plain_recipe
from bot.plan.profiles import BASES, FILE_TYPES, load_profiles
from bot.plan.recipe import file_type, make_recipe, stored_hash
from bot.settings.sections import data_folder
from bot.tensors.sizes import tensor_bytes
from tests.unit.plan.test_recipe import model, stack, tensor


def test_names_in_any_case_each_once() -> None:
    parsed = baselines(["q8_0", " I-q4_k_m ", "Q8_0"])
    assert [(b.name, b.base, b.imatrix) for b in parsed] == [
        ("Q8_0", "Q8_0", False),
        ("I-Q4_K_M", "Q4_K_M", True),
    ]


@pytest.mark.parametrize("name", ["Q9_0", "", "I-", "Q4_K", "UD-Q4_K_XL"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(SettingsError, match="Q4_K_M"):
        baselines([name])


def test_tiers_and_baselines_number_their_types_alike() -> None:
    for name in BASES.keys() & FILE_TYPES.keys():
        assert BASES[name][0] == FILE_TYPES[name]
    assert (file_type("Q4_K"), file_type("Q4_K_M"), file_type("Q4_K_S")) == (15, 15, 14)


def test_a_baseline_takes_the_types_it_is_told() -> None:
    norm = tensor("blk.0.attn_norm.weight", 2048, kind="F32")
    tensors = [norm, *stack(8)]
    types = {t.name: "Q8_0" for t in tensors} | {norm.name: "F32"}
    recipe = plain_recipe(Baseline(base="Q8_0", imatrix=False), types, model(8), tensors)
    assert (recipe.tier, recipe.base, recipe.plain, recipe.imatrix) == ("Q8_0", "Q8_0", True, False)
    assert {a.tensor: a.type for a in recipe.assignments} == types
    assert recipe.tensor_bytes == norm.bytes + sum(tensor_bytes("Q8_0", t.shape) for t in stack(8))
    assert {a.band for a in recipe.assignments} == {"edge", "near", "middle"}


def test_a_recipe_is_known_again_by_what_its_file_holds() -> None:
    (profile,) = load_profiles(data_folder("profiles"), ["I-Mini"])
    recipe = make_recipe(profile, model(8), stack(8))
    types = {a.tensor: a.type for a in reversed(recipe.assignments)}  # llama.cpp's order is another
    assert stored_hash(file_type(recipe.base), types, imatrix=True) == recipe.hash
    assert stored_hash(file_type(recipe.base), types, imatrix=False) != recipe.hash
    assert stored_hash(file_type("Q8_0"), types, imatrix=True) != recipe.hash
    first, *_ = types
    assert stored_hash(file_type(recipe.base), {**types, first: "F16"}, imatrix=True) != recipe.hash
    assert stored_hash(None, types, imatrix=True) is None
    assert replace(recipe, same_as="I-Compact").hash == recipe.hash
