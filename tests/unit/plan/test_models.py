"""A model and its plan: paths on other machines, tiers that are built, sizes before they are."""

from __future__ import annotations

from pathlib import Path

from bot.clients.files import gguf
from bot.plan.models import Local, Plan, Sketch
from bot.plan.profiles import load_profiles
from bot.plan.recipe import make_recipes
from bot.predict.architecture import architecture_of
from bot.settings.sections import data_folder
from bot.tensors.sizes import file_bytes


def plan_of(model: Path, *tiers: str) -> Plan[Sketch]:
    header = gguf.read_gguf(model)
    architecture = architecture_of(header.metadata, header.tensors)
    profiles = load_profiles(data_folder("profiles"), tiers)
    sketch = Sketch(
        name="Tiny",
        release=None,
        architecture=architecture,
        tensors=header.tensors,
        header_bytes=header.data_offset,
    )
    return Plan(
        model=sketch,
        profiles=profiles,
        recipes=make_recipes(profiles, architecture, header.tensors),
    )


def test_a_moved_file_takes_its_extras_along() -> None:
    local = Local(path=Path("/a/m.gguf"), extras={"mmproj.gguf": Path("/a/v.gguf")})
    moved = local.moved(lambda path: Path("/b") / path.name)
    assert moved.path == Path("/b/m.gguf")
    assert moved.extras == {"mmproj.gguf": Path("/b/v.gguf")}
    assert Local(path=Path("/a/m.gguf")).moved(Path).extras is None


def test_only_a_tier_with_a_matrix_needs_one(demo_model: Path) -> None:
    assert not plan_of(demo_model, "Compact").needs_imatrix
    assert plan_of(demo_model, "Compact", "I-Compact").needs_imatrix


def test_what_coincides_is_not_built_and_sizes_are_those_of_the_recipe(demo_model: Path) -> None:
    plan = plan_of(demo_model, "Compact", "Quality")
    assert plan.distinct == tuple(r for r in plan.recipes if r.same_as is None)
    assert plan.model.parameters == sum(tensor.parameters for tensor in plan.model.tensors)
    recipe = plan.distinct[0]
    sizes = [assignment.bytes for assignment in recipe.assignments]
    assert plan.predicted(recipe) == file_bytes(sizes, plan.model.header_bytes)
    assert plan.predicted(recipe) < demo_model.stat().st_size
