"""What shall be made of a model: its recipes, by the profiles and baselines of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from bot.apart.worker import away
from bot.errors import SourceError
from bot.foreign import read_of
from bot.plan.fitted import Freedom, draft, typed_recipe
from bot.plan.models import Model, Plan, Sketch
from bot.plan.plain import Baseline, baselines, plain_recipe
from bot.plan.profiles import BASES, FittedProfile, ListedProfile, Profile, load_profiles
from bot.plan.recipe import Types, file_type, make_recipe, no_smaller, without_twins
from bot.plan.typelists import listed_types
from bot.records.recipes import Recipe
from bot.workplace.children import room_for
from bot.workplace.loaded import chosen_tensor_types
from bot.workplace.workplace import Workplace

S = TypeVar("S", bound=Sketch)


def make_plan(workplace: Workplace, model: S, tiers: Sequence[str] = ()) -> Plan[S]:
    """Recipes of the wanted tiers (all when none is named) and of the settings' baselines.

    A fitted tier's is a draft until it is measured what matters. llama.cpp itself is asked what a
    baseline holds: there is none while the model is not here. Raises SourceError where every tier
    would be as large as the model itself.
    """
    profiles = load_profiles(workplace.settings.profiles, tiers or None)
    with read_of(model.name):
        recipes = without_twins(_recipe(workplace, model, profile) for profile in profiles)
    gone = no_smaller(recipes, model.tensors)
    made = tuple(recipe for recipe in recipes if recipe not in gone)
    if not made:
        raise SourceError(
            f"no tier of {model.name} would be smaller than it is; its own file "
            f"({model.architecture.source_type}) is the one to use"
        )
    plain = _baselines(workplace, model) if isinstance(model, Model) else ()
    return Plan(model=model, profiles=profiles, recipes=(*made, *plain), left_out=gone)


def _recipe(workplace: Workplace, model: Sketch, profile: Profile) -> Recipe:
    facts = model.architecture, model.tensors
    if isinstance(profile, FittedProfile):
        free = Freedom.of(workplace.settings.fit)
        return typed_recipe(profile, *facts, draft(profile, free, *facts, model.header_bytes))
    if isinstance(profile, ListedProfile):
        return make_recipe(profile, *facts, _listed(workplace, model, profile))
    return make_recipe(profile, *facts)


def _listed(workplace: Workplace, model: Sketch, profile: ListedProfile) -> Types:
    """Types by a list of patterns; what none of them names is llama.cpp's choice for the base.

    While the model is not here, that is taken to be the base's own type.
    """
    if isinstance(model, Model):
        baseline = Baseline(base=profile.base, imatrix=profile.imatrix)
        others = _chosen_types(workplace, model, baseline)
    else:
        others = {tensor.name: BASES[profile.base][1] for tensor in model.tensors}
    return listed_types(profile.patterns, others)


def _baselines(workplace: Workplace, model: Model) -> tuple[Recipe, ...]:
    plain = baselines(workplace.settings.quantize.baselines)
    return tuple(_plain(workplace, model, baseline) for baseline in plain)


def _plain(workplace: Workplace, model: Model, baseline: Baseline) -> Recipe:
    types = _chosen_types(workplace, model, baseline)
    return plain_recipe(baseline, types, model.architecture, model.tensors)


def _chosen_types(workplace: Workplace, model: Model, baseline: Baseline) -> Types:
    """The type of each tensor by llama.cpp's own choice."""
    source = Path(model.source.path)
    ask_types = away(chosen_tensor_types, room_for(workplace.settings, source))
    return ask_types(source, file_type=file_type(baseline.base), weighed=baseline.imatrix)
