"""A budget of minutes: shared among measures once, kept, and from then on plain settings.

`evaluation.budget_minutes` is a part of a job's key. What it comes to depends on how fast this
machine is, so that it is settled once for a job, when its model is here, and kept in its ledger: a
run that goes on, and the jobs of a workflow, which get that row with the others of `prepare`, take
it from there. Settled settings have no budget; they name chunks and tasks, as anybody could have
written them, and so these numbers are in the keys of all measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from bot.errors import BuildError, SettingsError, SourceError
from bot.evaluate.bench import Bench
from bot.evaluate.costing.allotting import Countable, counts_within, seconds_of
from bot.evaluate.costing.measure_costs import Candidates, Costing, MeasureCost, WantedMeasures
from bot.evaluate.data import find_tasks
from bot.evaluate.subject import model_subject
from bot.plan.models import Model, Plan, Sketch
from bot.records.coding import digest, dump, load_record
from bot.records.results import Budget, BudgetShare
from bot.settings.settings import Settings
from bot.workplace.job import Job, tools_of
from bot.workplace.workplace import Workplace

STEP = "budget"  # of the ledger


@dataclass(frozen=True, kw_only=True)
class MeasureTimes:
    """What measuring takes; with a budget as much of it as that has room for."""

    costs: tuple[MeasureCost, ...]
    budget: Budget | None


def plan_times(workplace: Workplace, plan: Plan[Sketch]) -> MeasureTimes:
    """What measuring the files of a plan takes, now.

    Raises SourceError where the model is not here, SettingsError for a budget that is too small,
    and what `Costing.costs` raises.
    """
    return times_within(plan_costs(workplace, plan), workplace.settings.evaluation.budget_minutes)


def times_within(costs: tuple[MeasureCost, ...], minutes: float | None) -> MeasureTimes:
    """The same costs, cut to what so many minutes have room for."""
    if minutes is None:
        return MeasureTimes(costs=costs, budget=None)
    budget = budget_of(costs, minutes)
    taken = {share.setting: share.taken for share in budget.shares}
    return MeasureTimes(costs=tuple(cost.of(taken) for cost in costs), budget=budget)


def plan_costs(
    workplace: Workplace, plan: Plan[Sketch], *, tries: bool = True
) -> tuple[MeasureCost, ...]:
    """What measuring all files of a plan takes, whole texts and sets as settings name them.

    Raises SourceError where the model is not here, and what `Costing.costs` raises.
    """
    evaluation, model = workplace.settings.evaluation, plan.model
    if not isinstance(model, Model):
        raise SourceError(
            f"{model.name} is not here, so nobody knows how fast it is; name its 16-bit GGUF, "
            "or a machine of settings with --runner"
        )
    reference = model_subject(model)
    sizes = [plan.predicted(recipe) for recipe in plan.distinct]
    wanted = WantedMeasures(
        perplexity=True,
        divergence=True,
        noise=True,
        speed=evaluation.speed,
        behaviour=True,
        tasks=find_tasks(workplace),
        benchmarks=evaluation.benchmarks.tasks,
        drafts=evaluation.drafts and bool(model.architecture.mtp_layers or _drafter(model)),
    )
    candidates = Candidates(count=len(sizes) + len(evaluation.others), largest=max(sizes))
    bench = Bench(workplace, tools_of(workplace.settings), reference)
    return Costing(workplace, bench, reference, candidates, wanted, tries=tries).costs()


def _drafter(model: Model) -> bool:
    """Whether layers that predict tokens ahead lie in a file of their own."""
    return any(name.startswith("mtp-") for name in model.extras)


def settle(job: Job, *, choosing: bool = True) -> Budget | None:
    """Have a job measure as much as its budget has room for; None where it has none.

    Raises SettingsError for a budget that is too small for the least that says anything, and
    BuildError where it was not settled yet and this is not the one to do it.
    """
    minutes = job.settings.evaluation.budget_minutes
    if minutes is None:
        return job.budget
    budget = _kept(job.workplace, job.key, {"minutes": minutes})
    if budget is None and not choosing:
        raise BuildError("the preparing job did not settle its budget; rerun all jobs")
    if budget is None:
        budget = budget_of(plan_costs(job.workplace, job.plan), minutes)
        job.workplace.ledger.record(job.key, STEP, {"minutes": minutes}, [], dump(budget))
        job.workplace.narrator.say(budget_line(budget))
    job.settle(budget, settled(job.settings, budget))
    return budget


def settled_files(
    workplace: Workplace, inputs: Mapping[str, Any], minutes: float, costing: Costing
) -> Budget:
    """The budget of files without a job, settled once for all that `inputs` say."""
    key = digest(inputs)
    budget = _kept(workplace, key, inputs)
    if budget is None:
        budget = budget_of(costing.costs(), minutes)
        workplace.ledger.record(key, STEP, inputs, [], dump(budget))
        workplace.narrator.say(budget_line(budget))
    return budget


def _kept(workplace: Workplace, key: str, inputs: Mapping[str, Any]) -> Budget | None:
    done = workplace.ledger.finished(key, STEP, inputs, shape=Budget)
    return None if done is None else load_record(Budget, done.value)


def budget_of(costs: Sequence[MeasureCost], minutes: float) -> Budget:
    """Minutes shared by the rule of `allotting`.

    Raises SettingsError where they are less than the least numbers take.
    """
    by_setting: dict[str, list[MeasureCost]] = {}
    for cost in costs:
        if cost.setting is not None:
            by_setting.setdefault(cost.setting, []).append(cost)
    countables = [_countable(group) for group in by_setting.values()]
    rest = sum(cost.seconds for cost in costs if cost.setting is None)
    least = [one.least for one in countables]
    needed = rest + seconds_of(countables, least)
    if needed > minutes * 60:
        raise SettingsError(_too_small(by_setting, countables, rest, needed, minutes))
    counts = counts_within(countables, minutes * 60 - rest)
    return Budget(
        minutes=minutes,
        shares=tuple(
            BudgetShare(
                setting=setting,
                measures=tuple(cost.measure for cost in group),
                taken=count,
                of=one.most,
                seconds=round(one.seconds * count, 3),
            )
            for (setting, group), one, count in zip(
                by_setting.items(), countables, counts, strict=True
            )
        ),
        rest_seconds=round(rest, 3),
        origin=" and ".join(sorted({cost.pace.origin for cost in costs})),
    )


def _countable(group: Sequence[MeasureCost]) -> Countable:
    """All that one setting says the number of, as one."""
    return Countable(
        least=max(cost.least for cost in group),
        most=max(cost.units for cost in group),
        step=max(cost.step for cost in group),
        seconds=sum(cost.files * cost.pace.seconds for cost in group),
    )


def _too_small(
    groups: Mapping[str, Sequence[MeasureCost]],
    countables: Sequence[Countable],
    rest: float,
    needed: float,
    minutes: float,
) -> str:
    parts = [
        f"{one.least} {group[0].unit} of {group[-1].measure}: {one.seconds * one.least / 60:.1f}"
        for group, one in zip(groups.values(), countables, strict=True)
    ]
    parts += [f"all else: {rest / 60:.1f}"] if rest else []
    return (
        f"evaluation.budget_minutes: {minutes:g} is too little to say anything, which takes "
        f"{needed / 60:.1f} ({', '.join(parts)}); set {ceil(needed / 6) / 10:g} or more, or "
        "measure less"
    )


def settled(settings: Settings, budget: Budget) -> Settings:
    """Settings without a budget that name the numbers of chunks and tasks it comes to."""
    counts = {share.setting: share.taken for share in budget.shares}
    evaluation = settings.evaluation
    domains = {
        name: domain.model_copy(update=_new(counts, f"evaluation.domains.{name}.chunks", "chunks"))
        for name, domain in evaluation.domains.items()
    }
    changed: dict[str, Any] = {"budget_minutes": None, "domains": domains}
    for key in ("chunks", "task_count"):
        changed |= _new(counts, f"evaluation.{key}", key)
    data = {
        name: entry.model_copy(update=_new(counts, f"data.{name}.count", "count"))
        for name, entry in settings.data.items()
    }
    evaluation = evaluation.model_copy(update=changed)
    return settings.model_copy(update={"evaluation": evaluation, "data": data})


def _new(counts: Mapping[str, int], setting: str, key: str) -> dict[str, int]:
    return {key: counts[setting]} if setting in counts else {}


def budget_line(budget: Budget) -> str:
    """What a budget comes to, for people."""
    shares: Iterable[str] = (
        f"{share.taken} of {share.of} {'chunks' if share.setting.endswith('.chunks') else 'tasks'} "
        f"of {share.measures[-1].removeprefix('PPL and KLD, ')}"
        for share in budget.shares
    )
    return f"{budget.minutes:g} minutes to measure in: {', '.join(shares)}"
