"""The card of the tiers that are complete; no token is needed, nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bot.card import describe
from bot.disk.folders import GATE
from bot.disk.paths import inside
from bot.errors import BuildError
from bot.evaluate.costing import budgeting
from bot.evaluate.data import find_domains, find_tasks, find_text
from bot.evaluate.kept import JOB as MEASURES
from bot.jobs import claims
from bot.jobs.orders import Described, Folder, Prepared
from bot.jobs.shared import (
    given_works,
    hold_data,
    ledger_with,
    moved,
    release_places,
    require_same_plan,
    written_files,
)
from bot.jobs.travel import Carrier, carried, carrier_of
from bot.plan.models import Model, Plan
from bot.quantize import tier_files
from bot.records.built import Built
from bot.release.road import Request, Road
from bot.store.ledger import Ledger
from bot.workplace.job import Job
from bot.workplace.names import target_of
from bot.workplace.planning import make_plan
from bot.workplace.texts import prompts_text
from bot.workplace.workplace import Workplace


def describe_release(
    workplace: Workplace, folder: Folder, sentinel: str, to: str | None, seals: str = ""
) -> Described:
    """Write card, plot and results of the complete tiers; no token is needed, nothing is sent.

    A group whose record its job did not write, or that claims more than its own, counts as not
    complete and is named. Raises BuildError when the policy wants more tiers than are complete.
    """
    carrier = carrier_of(workplace, folder)
    carrier.records()
    prepared = folder.prepared(sentinel)
    hold_data(workplace, prepared)
    known_seals = claims.known_seals(folder, prepared, seals)
    brought = carrier.bring(prepared.needs.describe, release_places(workplace, prepared))
    domains = find_domains(workplace, conversations=True).values()
    texts = [data.text for data in (find_text(workplace), *find_tasks(workplace), *domains)]
    texts.append(prompts_text(workplace.settings.evaluation.behaviour.prompts))
    groups, refusals = claims.complete_groups(folder, prepared, known_seals, texts)
    for why in refusals.values():
        workplace.narrator.say(f"{why}: its tiers are left out; rerun that job")
    done_tiers = {tier for group in groups.values() for tier in group.tiers}
    complete = tuple(tier for tier in prepared.tiers if tier in done_tiers)
    require_enough(workplace.settings.jobs.policy, complete, prepared.tiers)
    prepared_works = given_works(carrier, prepared, brought, folder)
    group_works = (work for group in groups.values() for work in group.work)
    ledger = ledger_with(folder, "publish", (*prepared_works, *group_works))
    job = _complete_job(workplace, ledger, prepared, complete, carrier)
    repo_id = target_of(workplace, job.plan.model, to)
    with job.paths.locked(), _making_nothing(job, apart=carrier.apart):
        files = _described(job, repo_id)
    described = Described(
        key=job.key,
        repo_id=repo_id,
        tiers=complete,
        files=moved(files, lambda path: inside(folder.root, path)),
        verdict=next(iter(carried(folder.root, _verdict(job))), None),
    )
    record = describe.hashed(folder.write(described))
    carrier.leave((*written_files(files).values(), *_verdict(job), record), "what is said of it")
    return replace(described, files=files)


def _described(job: Job, repo_id: str) -> dict[str, Built]:
    """The card and all beside it, of tiers that were made and measured."""
    request = Request(workplace=job.workplace, model=job.plan.model.name)
    values = {"job": job, "repo_id": repo_id, "begun": None}
    files: dict[str, Built] = Road(request, values).value("files")
    return files


def _verdict(job: Job) -> list[Built]:
    path = job.paths.release.with_name(GATE)
    return [describe.hashed(path)] if path.is_file() else []


def _complete_job(
    workplace: Workplace, ledger: Ledger, prepared: Prepared, tiers: Sequence[str], carrier: Carrier
) -> Job:
    """The job of the complete tiers; its numbers are of the machine that made them."""
    llama = workplace.settings.llama.model_copy(update={"threads": prepared.tools.threads})
    narrowed = workplace.beside(workplace.settings.model_copy(update={"llama": llama}), ledger)
    plan: Plan[Model] = make_plan(narrowed, carrier.model(narrowed, prepared), tiers)
    job = Job(narrowed, plan, key=prepared.key, tools=prepared.tools)
    budgeting.settle(job, choosing=False)
    require_same_plan(job, prepared)
    return job


@contextmanager
def _making_nothing(job: Job, *, apart: bool) -> Iterator[None]:
    """Nothing is made or measured inside: where machines are apart the model is a header here.

    Raises BuildError where something is missing, and then keeps nothing of what was made of it.
    """
    if not apart:
        yield
        return
    ledger = job.workplace.ledger
    numbers_before = set(_numbers(ledger))
    missing = [
        recipe.tier
        for recipe in job.plan.distinct
        if tier_files.known_tier(job, recipe.tier) is None
    ]
    if missing:
        raise BuildError(f"{missing[0]} did not come from the jobs before; rerun all jobs")
    try:
        yield
    finally:
        if set(_numbers(ledger)) != numbers_before:
            ledger.path.unlink()
            raise BuildError("the jobs before did not measure all of it; rerun all jobs")


def _numbers(ledger: Ledger) -> Iterator[tuple[str, str, str]]:
    """Measures, and files of models, that a ledger knows."""
    for work in ledger.work():
        if work.job == MEASURES or claims.is_of(work, "quantize"):
            yield work.job, work.step, work.inputs


def require_enough(policy: str, complete: Sequence[str], ordered: Sequence[str]) -> None:
    minimum = {"all": len(ordered), "any": 1}.get(policy) or int(policy.removeprefix("min:"))
    if len(complete) < min(minimum, len(ordered)):
        raise BuildError(
            f"{len(complete)} of {len(ordered)} tiers are complete, jobs.policy is {policy}: "
            "nothing is published; rerun the failed jobs"
        )
