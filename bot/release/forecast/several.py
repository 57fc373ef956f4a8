"""A release on several machines alike: one prepares, each makes and measures groups of tiers.

As the jobs of a workflow have it (bot/jobs): the one that prepares fetches, converts, calibrates,
measures the 16-bit model and hands it on; groups of `jobs.tiers` tiers go to the machines in turn,
of which each gets the 16-bit model once; the one that publishes waits for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from bot.release.forecast.foretold import Forecast, Foreteller, ForetoldTask, SourceAhead
from bot.release.forecast.planned import NAMES, PlannedTask
from bot.release.graph import Resource
from bot.store.paces import FETCH, SEND

HAND_ON, GROUP = "hand on", "group"


def forecast_of_several(
    foreteller: Foreteller, source: SourceAhead, disk_bytes: int, *, machines: int, handed: int
) -> Forecast:
    """The whole on so many machines; `handed` bytes go from the one that prepares to each other."""
    first = replace(foreteller, sends=True)
    prepared = [*_preparing(first, source)]
    hands = first.task(HAND_ON, "network", first.rates.of(SEND, handed), (prepared[-1].name,))
    groups = [*_groups(first, machines, handed, hands.name)]
    own = [task.name for task in groups]
    tasks = [*prepared, hands, *groups, *first.after(tuple(own))]
    return first.whole(tasks, source, disk_bytes)


def _preparing(foreteller: Foreteller, source: SourceAhead) -> Iterator[ForetoldTask]:
    """All up to what the groups need, one after another."""
    needs: tuple[str, ...] = ()
    for task in foreteller.before(source):
        yield task
        needs = (task.name,)
    kinds: tuple[Literal["matrix", "reference", "rest"], ...] = ("matrix", "reference", "rest")
    for kind in kinds:
        planned = PlannedTask(kind=kind, name=NAMES[kind], resource="gpu")
        yield foreteller.task(planned.name, "gpu", foreteller.pace_of(planned), needs)
        needs = (planned.name,)


def _groups(
    foreteller: Foreteller, machines: int, handed: int, after: str
) -> Iterator[ForetoldTask]:
    tiers = [recipe.tier for recipe in foreteller.plan.distinct]
    size = foreteller.settings.jobs.tiers
    parts = [tiers[start : start + size] for start in range(0, len(tiers), size)]
    before = dict.fromkeys(range(machines), after)
    for number, part in enumerate(parts):
        machine = number % machines
        if number == machine and machine:  # its first: the one that prepared has the model
            got = _on(foreteller, machine, f"{GROUP} {number + 1}: get", "network", before[machine])
            yield replace(got, pace=foreteller.rates.of(FETCH, handed))
            before[machine] = got.name
        last = before[machine]
        work: list[tuple[Literal["make", "measure"], list[str]]] = [("make", part)]
        work += [("measure", [tier]) for tier in part]
        for kind, chosen in work:
            name = f"{GROUP} {number + 1}: {kind} {', '.join(chosen)}"
            planned = PlannedTask(kind=kind, name=name, resource="cpu", tiers=tuple(chosen))
            task = _on(foreteller, machine, name, "gpu", last)
            yield replace(task, pace=foreteller.pace_of(planned))
            last = name
            if kind == "measure":
                sent = f"{GROUP} {number + 1}: send {chosen[0]}"
                planned = replace(planned, kind="send", name=sent)
                task = _on(foreteller, machine, sent, "network", name)
                yield replace(task, pace=foreteller.pace_of(planned))
        before[machine] = last


def _on(
    foreteller: Foreteller, machine: int, name: str, resource: Resource, needs: str
) -> ForetoldTask:
    task = foreteller.task(name, resource, None, (needs,))
    return replace(task, lane=f"{task.lane} of {machine + 1}")
