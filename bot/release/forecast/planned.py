"""The tasks of a release that run side by side, before any of them has begun.

What has to be done, in which order a lane prefers it, and what each task needs; `lanes.py` does it,
`foretold.py` says how long it will take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bot.clients.llama.library import Device
from bot.plan.models import Plan
from bot.records.recipes import Recipe
from bot.release.graph import Resource

Kind = Literal["matrix", "reference", "make", "measure", "send", "rest"]
NAMES: Mapping[Kind, str] = {
    "matrix": "importance matrix",
    "reference": "reference",
    "rest": "rest of the reference",
}


@dataclass(frozen=True, kw_only=True)
class PlannedTask:
    """A task to come; `tiers` are those that it is about."""

    kind: Kind
    name: str
    resource: Resource
    tiers: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def lanes_of(devices: Iterable[Device]) -> Mapping[Resource, str]:
    """Which lanes a machine has: without a GPU, decoding takes the processor's turn."""
    gpu = "gpu" if any(device.kind != "cpu" for device in devices) else "cpu"
    return {"cpu": "cpu", "gpu": gpu, "network": "network"}


def planned_tasks(
    plan: Plan[Any],
    passes: Sequence[tuple[str, ...]],
    *,
    one_lane: bool,
    one_by_one: bool,
    sends: bool,
) -> list[PlannedTask]:
    """Those of every tier, and what they need.

    Where calibrating takes the processor, too (`one_lane`), what can do without comes before it:
    the network begins early. With a GPU it comes first: the next pass waits for it. `one_by_one`:
    a pass waits until all of the one before is sent, whose room it needs.
    """
    recipes = {recipe.tier: recipe for recipe in plan.distinct}
    plain: list[PlannedTask] = []
    calibrated: list[PlannedTask] = []
    before: tuple[str, ...] = ()
    for tiers in passes:
        chosen = [recipes[tier] for tier in tiers]
        tasks = [*_of_pass(chosen, before, sends=sends)]
        (calibrated if any(recipe.imatrix for recipe in chosen) else plain).extend(tasks)
        if one_by_one:
            before = tuple(task.name for task in tasks)
    reference, matrix, rest = (_of_all(kind) for kind in ("reference", "matrix", "rest"))
    if not calibrated:
        return [reference, *plain, rest]
    if one_lane:
        return [reference, *plain, matrix, *calibrated, rest]
    return [matrix, reference, *plain, *calibrated, rest]


def _of_all(kind: Literal["matrix", "reference", "rest"]) -> PlannedTask:
    return PlannedTask(kind=kind, name=NAMES[kind], resource="gpu")


def _of_pass(
    recipes: Sequence[Recipe], after: tuple[str, ...], *, sends: bool
) -> Iterator[PlannedTask]:
    """Making some tiers, measuring and sending each."""
    tiers = tuple(recipe.tier for recipe in recipes)
    weighed = any(recipe.imatrix for recipe in recipes)
    made = f"make {', '.join(tiers)}"
    needs = (NAMES["matrix"], *after) if weighed else after
    yield PlannedTask(kind="make", name=made, resource="cpu", tiers=tiers, needs=needs)
    for recipe in recipes:
        measured = f"measure {recipe.tier}"
        tier = (recipe.tier,)
        yield PlannedTask(
            kind="measure", name=measured, resource="gpu", tiers=tier,
            needs=(made, NAMES["reference"]),
        )  # fmt: skip
        if sends and not recipe.plain:
            yield PlannedTask(
                kind="send", name=f"send {recipe.tier}", resource="network", tiers=tier,
                needs=(measured,),
            )  # fmt: skip
