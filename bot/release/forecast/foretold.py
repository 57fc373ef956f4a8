"""What a release will take: each of its tasks, when it ends, disk, memory, bytes on the line.

The tasks are those of `planned.py`, before them the source's, after them what needs all tiers; each
has the name that the timeline of the release gives it, so that both can be held side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from typing import Any

from bot.evaluate.costing.measure_costs import MeasureCost, When
from bot.measures.reference import Need, need
from bot.measures.windows import TOGETHER
from bot.plan.models import Plan, Sketch
from bot.plan.profiles import FittedProfile
from bot.quantize.fitted_tiers import fit_passes
from bot.quantize.passes.rounding_units import rounding_units
from bot.quantize.tier_files import passes
from bot.records.recipes import Recipe
from bot.release.forecast.planned import PlannedTask, planned_tasks
from bot.release.forecast.rates import Rates
from bot.release.forecast.scheduling import scheduled
from bot.release.graph import Resource
from bot.settings.settings import Settings
from bot.store.paces import (
    CALIBRATE,
    COMMIT,
    COMPARE,
    CONVERT,
    DESCRIBE,
    FETCH,
    FIT,
    HASH,
    LOOK,
    QUANTIZE,
    SEND,
    Pace,
)

NOTHING = Pace(seconds=0.0, deviation=None, samples=0, origin="measured")
Lanes = Mapping[Resource, str]


@dataclass(frozen=True, kw_only=True)
class SourceAhead:
    """What of a model's source is still to be had: bytes to fetch, to convert, to hash."""

    fetched: int = 0
    converted: int = 0
    hashed: int = 0


@dataclass(frozen=True, kw_only=True)
class ForetoldTask:
    """A task, how long it will take, and why that is thought."""

    name: str
    lane: str
    pace: Pace | None  # of the whole task; None: nobody knows
    needs: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """As far as it is known."""
        return 0.0 if self.pace is None else self.pace.seconds


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """All of a release."""

    tasks: tuple[ForetoldTask, ...]
    times: Mapping[str, tuple[float, float]]  # begin and end of each, from the first's begin
    fetched_bytes: int
    sent_bytes: int
    disk_bytes: int  # at most, of what is not here yet
    memory: Need  # at most

    @property
    def seconds(self) -> float:
        """From the first task's begin to the last one's end."""
        return max((end for _, end in self.times.values()), default=0.0)

    @property
    def deviation(self) -> float | None:
        """Of `seconds`, as if all tasks were one after another and none knew of the others."""
        known = [task.pace.deviation for task in self.tasks if task.pace is not None]
        squares = [spread * spread for spread in known if spread is not None]
        return sqrt(sum(squares)) if squares else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Tasks of which nobody knows how long they take: they are not in `seconds`."""
        return tuple(task.name for task in self.tasks if task.pace is None)


@dataclass(frozen=True, kw_only=True)
class Foreteller:
    """Foretells releases of one plan by rates and by what measuring costs."""

    settings: Settings
    plan: Plan[Sketch]
    rates: Rates
    costs: Sequence[MeasureCost]
    calibration: tuple[str, int]  # the digest of what decides the matrix, and its chunks
    lanes: Lanes
    sends: bool = True
    one_by_one: bool = False  # the disk holds one pass at a time

    def forecast(self, source: SourceAhead, disk_bytes: int) -> Forecast:
        """The whole; `disk_bytes` are what it takes at most."""
        settings, overlaps = self.settings, self.sends and self.settings.publish.overlap
        planned = planned_tasks(
            self.plan,
            passes(self.plan, settings.quantize.together if overlaps else None),
            one_lane=self.lanes["gpu"] == self.lanes["cpu"],
            one_by_one=self.one_by_one,
            sends=self.sends,
        )
        tasks = [*self.before(source)]
        after_source = (tasks[-1].name,) if tasks else ()
        side_by_side = [
            self.task(task.name, task.resource, self.pace_of(task), task.needs or after_source)
            for task in planned
        ]
        tasks += side_by_side
        tasks += self.after(tuple(task.name for task in side_by_side))
        return self.whole(tasks, source, disk_bytes)

    def whole(
        self, tasks: Sequence[ForetoldTask], source: SourceAhead, disk_bytes: int
    ) -> Forecast:
        """These tasks, and what else a release needs."""
        return Forecast(
            tasks=tuple(tasks),
            times=scheduled(tasks),
            fetched_bytes=source.fetched,
            sent_bytes=sum(self._size(recipe) for recipe in self._sent) if self.sends else 0,
            disk_bytes=disk_bytes,
            memory=self._memory(),
        )

    def task(
        self, name: str, resource: Resource, pace: Pace | None, needs: tuple[str, ...] = ()
    ) -> ForetoldTask:
        """A task on the lane of what it takes; all on one where nothing runs side by side."""
        side_by_side = self.sends and self.settings.publish.overlap
        lane = self.lanes[resource] if side_by_side else "one"
        return ForetoldTask(name=name, lane=lane, pace=pace, needs=needs)

    # ── before and after the lanes ──────────────────────────────────────────────────────────

    def before(self, source: SourceAhead) -> list[ForetoldTask]:
        """What makes the 16-bit model."""
        rates, tasks = self.rates, list[ForetoldTask]()
        if source.fetched or source.converted:
            parts = [rates.of(FETCH, source.fetched) if source.fetched else NOTHING]
            parts += [rates.of(CONVERT, source.converted)] if source.converted else []
            tasks.append(self.task("local", "network", _together(parts)))
        if source.hashed:
            pace, needs = rates.of(HASH, source.hashed), tuple(task.name for task in tasks)
            tasks.append(self.task("model", "cpu", pace, needs))
        return tasks

    def after(self, needs: tuple[str, ...]) -> list[ForetoldTask]:
        """What waits for all tiers: speeds and benchmarks, other people's files, card, commit."""
        files, tasks = [*map(self._size, self._tiers), self._sixteen], list[ForetoldTask]()
        pairs = comb(len(self._tiers) + len(self.settings.evaluation.others), 2)
        compared = self.rates.of(COMPARE, max(pairs, 1))
        pace = _together([self._measured("end", files), self._others(), compared])
        tasks.append(self.task("results", "gpu", pace, needs))
        tasks.append(self.task("files", "cpu", self.rates.of(DESCRIBE, 1), ("results",)))
        if self.sends:
            tasks.append(self.task("published", "network", self.rates.of(COMMIT, 1), ("files",)))
        return tasks

    # ── on the lanes ────────────────────────────────────────────────────────────────────────

    def pace_of(self, task: PlannedTask) -> Pace | None:
        """How long a task on the lanes takes."""
        recipes = [recipe for recipe in self._tiers if recipe.tier in task.tiers]
        match task.kind:
            case "matrix":
                return _together([self._calibrating(), self._fitting()])
            case "reference":
                return self._measured("first", [self._sixteen])
            case "rest":
                parts = (self._measured("rest", [self._sixteen]), self._sixteens_own())
                return _together(parts)
            case "make":
                units = rounding_units(self.plan.model.tensors, recipes)
                return self.rates.of(QUANTIZE, units)
            case "measure":
                sizes = [*map(self._size, recipes)]
                looked = [self.rates.of(LOOK, size) for size in sizes]
                return _together([self._measured("tier", sizes), *looked])
            case "send":
                return self.rates.of(SEND, sum(map(self._size, recipes)))

    def _calibrating(self) -> Pace | None:
        settings, (data, chunks) = self.settings.calibration, self.calibration
        if settings.file is not None:
            return NOTHING
        return self.rates.decoding(CALIBRATE, data, chunks, chunks * settings.context)

    def _fitting(self) -> Pace | None:
        fitted = sum(isinstance(profile, FittedProfile) for profile in self.plan.profiles)
        if not fitted:
            return NOTHING
        fit = self.settings.fit
        units = fit_passes(self.plan, fit, fitted) * fit.chunks
        return self.rates.decoding(FIT, "", units, units * fit.context)

    def _measured(self, when: When, sizes: Sequence[int]) -> Pace:
        """What is measured then, of files of these sizes."""
        return _sum(
            cost.of_file(size)
            for cost in self.costs
            if cost.when == when
            for size in (sizes[: cost.files] if cost.whose == "tiers" else sizes)
        )

    def _sixteens_own(self) -> Pace:
        """Tasks and behaviour, which the 16-bit model is asked as its tiers are."""
        own = (cost for cost in self.costs if cost.when == "tier" and cost.whose == "all")
        return _sum(cost.of_file(self._sixteen) for cost in own)

    def _others(self) -> Pace:
        """Files of other publishers: as a tier of middle size."""
        others, sizes = self.settings.evaluation.others, sorted(map(self._size, self._tiers))
        if not others or not sizes:
            return NOTHING
        return self._measured("tier", [sizes[len(sizes) // 2]] * len(others))

    # ── sizes ───────────────────────────────────────────────────────────────────────────────

    @property
    def _tiers(self) -> tuple[Recipe, ...]:
        return self.plan.distinct

    @property
    def _sent(self) -> list[Recipe]:
        return [recipe for recipe in self._tiers if not recipe.plain]

    def _size(self, recipe: Recipe) -> int:
        return self.plan.predicted(recipe)

    @property
    def _sixteen(self) -> int:
        return self.plan.model.file_bytes

    def _memory(self) -> Need:
        """Of the largest load: the 16-bit model, beside a tier where settings have it so."""
        vocabulary = self.plan.model.architecture.vocabulary
        rows, micro_batch = TOGETHER // 2, self.settings.llama.micro_batch
        loads = [need(self._sixteen, vocabulary, rows, micro_batch=micro_batch)]
        if self.settings.evaluation.reference == "beside" and self._tiers:
            largest = max(map(self._size, self._tiers))
            loads.append(loads[0] + need(largest, vocabulary, rows, micro_batch=micro_batch))
        return loads[-1]


def _together(parts: Sequence[Pace | None]) -> Pace | None:
    """One after another; None where one of them is not known."""
    known = [part for part in parts if part is not None]
    return _sum(known) if len(known) == len(parts) else None


def _sum(parts: Any) -> Pace:
    total = NOTHING
    for number, part in enumerate(part for part in parts if part is not NOTHING):
        total = total.plus(part) if number else part
    return total
