"""A group of tiers: made, measured, and noted tier by tier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bot.card import describe
from bot.errors import BotError, PublishError, SettingsError, SourceError
from bot.evaluate import measure
from bot.evaluate.costing import budgeting
from bot.jobs import claims
from bot.jobs.claims import Seals
from bot.jobs.orders import Folder, Group, Prepared
from bot.jobs.preparing import require_device
from bot.jobs.shared import given_works, hold_data, ledger_with, release_places, require_same_plan
from bot.jobs.travel import Carrier, carrier_of, sweep
from bot.quantize import tier_files, verify
from bot.records.built import Built
from bot.records.measured import Tools
from bot.release.room import require_room
from bot.settings.settings import Settings
from bot.source.obtain import described
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace


def quantize_group(
    workplace: Workplace, folder: Folder, sentinel: str, number: int, seals: str = ""
) -> tuple[str, ...]:
    """Make and measure the tiers of a group; what is done is noted tier by tier.

    `seals` has that of the group; where this machine prepared the release it need not be told.
    """
    carrier = carrier_of(workplace, folder)
    carrier.records()
    prepared = folder.prepared(sentinel)
    hold_data(workplace, prepared)
    if not 1 <= number <= len(prepared.groups):
        raise SourceError(f"there is no group {number}; take one of 1 to {len(prepared.groups)}")
    group_seals = claims.known_seals(folder, prepared, seals)
    require_device(workplace.settings)
    group_before = _group(workplace, folder, prepared, number, group_seals)
    if carrier.apart:
        if _is_done(carrier, prepared, number, group_before, folder.root):
            return group_before.tiers
        sweep(workplace, folder)
    job = _group_job(workplace, folder, carrier, prepared, number, group_before)
    done_tiers: tuple[str, ...] = ()
    with job.paths.locked(f"group-{number}"):
        require_room(job)
        _lose_what_is_gone(job, carrier)
        for tier, file in tier_files.make_tiers(job).items():
            measure.measure_files(job, {tier: file})
            verify.sound(job, tier, Path(file.path), file.sha256)
            done_tiers += tuple(r.tier for r in job.plan.recipes if tier in (r.tier, r.same_as))
            if carrier.apart:
                tier_files.let_go(job, tier, file)
            works = claims.own(job.workplace.ledger.work(), prepared, done_tiers)
            group = Group(key=job.key, tiers=done_tiers, work=works)
            if number not in group_seals:
                _unsealed(number)
            record = folder.write(claims.sealed(group, number, group_seals[number]), number)
            _leave(job, carrier, tier, file, record)
    return done_tiers


def _group_job(
    workplace: Workplace,
    folder: Folder,
    carrier: Carrier,
    prepared: Prepared,
    number: int,
    group_before: Group,
) -> Job:
    """The plan of a group's tiers, with the work of `prepare` and what was done of it `before`."""
    room = sum(prepared.room[number - 1 : number])
    needed = (*prepared.needs.model, *prepared.needs.quantize)
    brought = carrier.bring(needed, release_places(workplace, prepared), room)
    prepared_works = given_works(carrier, prepared, brought, folder)
    ledger = ledger_with(folder, f"group-{number}", (*prepared_works, *group_before.work))
    narrowed = workplace.beside(_of_group(workplace.settings, prepared.tools), ledger)
    model = described(narrowed, prepared.model(folder.root))
    job = Job(narrowed, make_plan(narrowed, model, prepared.groups[number - 1]), key=prepared.key)
    budgeting.settle(job, choosing=False)
    require_same_plan(job, prepared)
    return job


def _is_done(carrier: Carrier, prepared: Prepared, number: int, group: Group, root: Path) -> bool:
    """Whether all of a group is made, and lies where later jobs take it from."""
    tiers = claims.tier_files(group.work, prepared, group.tiers).values()
    files = (replace(file, path=str(root / file.path)) for built in tiers for file in built.files)
    return set(group.tiers) == set(prepared.groups[number - 1]) and carrier.holds(files)


def _lose_what_is_gone(job: Job, carrier: Carrier) -> None:
    """Tiers that were handed on and did not stay there are made again."""
    for recipe in job.plan.distinct:
        built = tier_files.known_tier(job, recipe.tier)
        if (
            built is not None
            and tier_files.is_free(job, recipe.tier)
            and not carrier.holds(built.files)
        ):
            tier_files.lose(job, recipe.tier)


def _unsealed(number: int) -> NoReturn:
    raise SettingsError(f"--seals has none of group {number}; take it from what `prepare` printed")


def _group(
    workplace: Workplace, folder: Folder, prepared: Prepared, number: int, seals: Seals
) -> Group:
    """What is done of a group; what others wrote in its name is named, and made anew."""
    claim = claims.claimed_group(folder, prepared, number, seals, None)
    if isinstance(claim, str):
        workplace.narrator.say(f"{claim}: its tiers are made anew")
    return claim if isinstance(claim, Group) else Group(key=prepared.key, tiers=())


def _leave(job: Job, carrier: Carrier, tier: str, file: Built, record: Path) -> None:
    """Hand a tier and its numbers on; what other machines have need not lie here."""
    if not carrier.apart:
        return
    try:
        carrier.leave((*file.files, describe.hashed(record)), tier)
    except PublishError:
        if tier_files.is_free(job, tier):
            tier_files.lose(job, tier)
        raise
    tier_files.free_tier(job, tier, file)


def quantize_groups(
    workplace: Workplace, folder: Folder, sentinel: str, seals: str = ""
) -> tuple[str, ...]:
    """The groups one after another; one that fails stops no other.

    Raises the first failure when all have been tried.
    """
    failures: list[BotError] = []
    done_tiers: tuple[str, ...] = ()
    for number in range(1, len(folder.prepared(sentinel).groups) + 1):
        try:
            done_tiers += quantize_group(workplace, folder, sentinel, number, seals)
        except BotError as error:
            workplace.narrator.say(f"group {number}: {error}")
            failures.append(error)
    if failures:
        raise failures[0]
    return done_tiers


def _of_group(settings: Settings, tools: Tools) -> Settings:
    """Without what `prepare` made, and with its threads: they are part of a number's origin."""
    return settings.model_copy(
        update={
            "llama": settings.llama.model_copy(update={"threads": tools.threads}),
            "quantize": settings.quantize.model_copy(update={"baselines": ()}),
            "evaluation": settings.evaluation.model_copy(update={"others": ()}),
        }
    )
