"""A model and the settings' profiles and baselines → recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.clients.llama.quantization import chosen_types
from bot.errors import SettingsError
from bot.plan.models import Model, Plan, Sketch
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
    with pytest.raises(SettingsError, match=r"there is no tier .enormous."):
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
