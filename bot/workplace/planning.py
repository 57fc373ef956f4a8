"""What shall be made of a model: its recipes, by the profiles and baselines of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from bot.apart.worker import away
from bot.errors import SourceError
from bot.foreign import read_of
from bot.plan.models import Model, Plan, Sketch
from bot.plan.plain import Baseline, baselines, plain_recipe
from bot.plan.profiles import load_profiles
from bot.plan.recipe import file_type, make_recipes, no_smaller
from bot.records.recipes import Recipe
from bot.workplace.children import room_for
from bot.workplace.loaded import chosen_tensor_types
from bot.workplace.workplace import Workplace

S = TypeVar("S", bound=Sketch)


def make_plan(workplace: Workplace, model: S, tiers: Sequence[str] = ()) -> Plan[S]:
    """Recipes of the wanted tiers (all when none is named) and of the settings' baselines.

    llama.cpp itself is asked what a baseline holds: there is none while the model is not here.
    Raises SourceError where every tier would be as large as the model itself.
    """
    profiles = load_profiles(workplace.settings.profiles, tiers or None)
    with read_of(model.name):
        recipes = make_recipes(profiles, model.architecture, model.tensors)
    gone = no_smaller(recipes, model.tensors)
    made = tuple(recipe for recipe in recipes if recipe not in gone)
    if not made:
        raise SourceError(
            f"no tier of {model.name} would be smaller than it is; its own file "
            f"({model.architecture.source_type}) is the one to use"
        )
    plain = _baselines(workplace, model) if isinstance(model, Model) else ()
    return Plan(model=model, profiles=profiles, recipes=(*made, *plain), left_out=gone)


def _baselines(workplace: Workplace, model: Model) -> tuple[Recipe, ...]:
    plain = baselines(workplace.settings.quantize.baselines)
    return tuple(_plain(workplace, model, baseline) for baseline in plain)


def _plain(workplace: Workplace, model: Model, baseline: Baseline) -> Recipe:
    source = Path(model.source.path)
    ask_types = away(chosen_tensor_types, room_for(workplace.settings, source))
    types = ask_types(source, file_type=file_type(baseline.base), weighed=baseline.imatrix)
    return plain_recipe(baseline, types, model.architecture, model.tensors)
