"""A model and the settings' profiles and baselines → recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.cli.text import model_text
from bot.clients.llama.quantization import chosen_types
from bot.errors import SettingsError, SourceError
from bot.plan.models import Model, Plan, Sketch
from bot.records.model import Tensor
from bot.tensors.sizes import tensor_bytes
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.models import model_of, workplace_in

Q4_K_M = 15  # llama.h: LLAMA_FTYPE_MOSTLY_Q4_K_M


def at_work(folder: Path, *baselines: str) -> Workplace:
    return workplace_in(folder, quantize={"baselines": list(baselines)})


def plan_of(workplace: Workplace, model: Path, *tiers: str) -> Plan[Model]:
    return make_plan(workplace, model_of(workplace, str(model)), tiers)


def test_all_tiers_where_none_is_named(tmp_path: Path, demo_model: Path) -> None:
    plan = plan_of(at_work(tmp_path), demo_model)
    tiers = [recipe.tier for recipe in plan.recipes]
    assert tiers == [profile.tier for profile in plan.profiles]
    assert {"Balanced", "Compact", "I-Mini"} <= set(tiers)
    assert plan.needs_imatrix


def test_a_recipe_names_every_tensor_of_the_model(tmp_path: Path, demo_model: Path) -> None:
    plan = plan_of(at_work(tmp_path), demo_model, "Compact")
    (recipe,) = plan.recipes
    assert (recipe.tier, recipe.plain, recipe.imatrix) == ("Compact", False, False)
    assert [each.tensor for each in recipe.assignments] == [t.name for t in plan.model.tensors]
    assert not plan.needs_imatrix


def test_a_tier_that_is_none_is_said(tmp_path: Path, demo_model: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no tier .Enormous."):
        plan_of(at_work(tmp_path), demo_model, "Enormous")


def test_a_baseline_is_what_llama_itself_chooses(tmp_path: Path, demo_model: Path) -> None:
    plan = plan_of(at_work(tmp_path, "q4_k_m"), demo_model, "Compact")
    tier, baseline = plan.recipes
    assert (tier.plain, baseline.plain, baseline.tier) == (False, True, "Q4_K_M")
    types = chosen_types(demo_model, Q4_K_M, imatrix=False)
    assigned = {each.tensor: each.type for each in baseline.assignments}
    assert {name: assigned[name] for name in types} == types


def test_of_a_sketch_there_are_no_baselines(tmp_path: Path, demo_model: Path) -> None:
    """llama.cpp cannot be asked about a model that is not here."""
    workplace = at_work(tmp_path, "Q4_K_M")
    model = model_of(workplace, str(demo_model))
    fields: dict[str, Any] = {name: getattr(model, name) for name in Sketch.__dataclass_fields__}
    sketch = replace(Sketch(**fields), name="Sketched")
    plan = make_plan(workplace, sketch, ("Compact",))
    assert [recipe.tier for recipe in plan.recipes] == ["Compact"]


def fours(demo_model: Path, workplace: Workplace, row: int) -> Sketch:
    """The demo model as if all its matrices had four bits and rows of so many weights."""
    model = model_of(workplace, str(demo_model))
    matrices = [t for t in model.tensors if t.type == "BF16"]
    shapes = {t.name: (row, *t.shape[1:]) for t in matrices}
    tensors = tuple(
        Tensor(name=name, shape=shape, type="MXFP4", bytes=tensor_bytes("MXFP4", shape))
        for name, shape in shapes.items()
    )
    return Sketch(
        name="Four",
        release=None,
        architecture=replace(model.architecture, source_type="MXFP4"),
        tensors=tensors,
        header_bytes=1000,
    )


def test_tiers_as_large_as_the_source_are_not_made_and_the_plan_says_so(
    tmp_path: Path, demo_model: Path
) -> None:
    workplace = at_work(tmp_path)
    plan = make_plan(workplace, fours(demo_model, workplace, 256))
    source = sum(tensor.bytes for tensor in plan.model.tensors)
    assert {"Quality", "Balanced"} <= {recipe.tier for recipe in plan.left_out}
    assert all(recipe.tensor_bytes == source for recipe in plan.left_out)
    assert plan.recipes
    assert all(recipe.tensor_bytes < source for recipe in plan.recipes)
    text = model_text.plan_table(plan, 0)
    assert "passes through in every tier: MXFP4 " in text
    for recipe in plan.left_out:
        assert f"not made, as large as the original: {recipe.tier}" in text
    values = model_text.plan_values(plan)
    assert {v["tier"] for v in values if "left_out" in v} == {r.tier for r in plan.left_out}
    assert len(values) == len(plan.profiles)


def test_a_model_that_no_tier_makes_smaller_has_no_plan(tmp_path: Path, demo_model: Path) -> None:
    workplace = at_work(tmp_path)
    with pytest.raises(SourceError, match=r"no tier of Four would be smaller.*MXFP4"):
        make_plan(workplace, fours(demo_model, workplace, 288))


def test_the_plan_shows_what_falls_back(tmp_path: Path, demo_model: Path) -> None:
    workplace = at_work(tmp_path)
    sketch = fours(demo_model, workplace, 288)
    wide = tuple(
        replace(t, type="BF16", bytes=tensor_bytes("BF16", t.shape)) for t in sketch.tensors
    )
    text = model_text.plan_table(make_plan(workplace, replace(sketch, tensors=wide)), 0)
    assert "fallback: Q6_K → Q5_1 where rows are of 288 weights" in text
    assert "fallback: IQ2_S → IQ4_NL where rows are of 288 weights" in text
    plain = model_text.plan_table(plan_of(workplace, demo_model), 0)
    assert "fallback" not in plain
