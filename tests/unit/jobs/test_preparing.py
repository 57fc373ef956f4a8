"""Tiers divided into jobs, and the matrix of a workflow."""

from __future__ import annotations

from bot.jobs.preparing import groups, workflow_matrix
from bot.plan.profiles import load_profiles
from bot.plan.recipe import make_recipes
from bot.records.recipes import Recipe
from bot.settings.sections import data_folder
from tests.unit.jobs.test_orders import prepared
from tests.unit.plan.test_recipe import model, stack


def recipes() -> tuple[Recipe, ...]:
    profiles = load_profiles(data_folder("profiles"), None)
    return make_recipes(profiles, model(4), stack(4))


def test_every_tier_is_in_one_job_and_with_the_file_that_it_shares() -> None:
    all_recipes = recipes()
    tier_groups = groups(all_recipes, 2)
    assert sorted(tier for group in tier_groups for tier in group) == sorted(
        r.tier for r in all_recipes
    )
    home = {tier: number for number, group in enumerate(tier_groups) for tier in group}
    assert all(home[r.tier] == home[r.same_as] for r in all_recipes if r.same_as)
    shared = {r.tier for r in all_recipes if r.same_as}
    assert shared
    assert all(len([tier for tier in group if tier not in shared]) <= 2 for group in tier_groups)


def test_an_order_of_nothing_has_no_jobs() -> None:
    assert groups((), 3) == ()
    seals = {1: "0" * 32, 2: "1" * 32}
    assert workflow_matrix(prepared(), seals) == {
        "include": [
            {"group": 1, "tiers": "I-Mini,Mini", "seal": "1:" + "0" * 32},
            {"group": 2, "tiers": "Quality", "seal": "2:" + "1" * 32},
        ]
    }
