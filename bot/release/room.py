"""Whether the disk holds what is still to be made: what a stopped run left counts."""

from __future__ import annotations

import glob
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.disk.folders import JobFolder
from bot.disk.space import free_disk, require_free, taken
from bot.disk.writing import partial_of
from bot.evaluate.measure import reference_files
from bot.measures.logits import base_bytes
from bot.measures.reference import need
from bot.measures.windows import TOGETHER
from bot.plan.models import Model, Plan, Sketch
from bot.quantize.tier_files import passes
from bot.records.coding import digest
from bot.records.steps import TierStep
from bot.settings.settings import Settings
from bot.source.obtain import source_room
from bot.workplace import asked
from bot.workplace.job import Job, free_memory_of, tier_file
from bot.workplace.workplace import Workplace

NOT_HERE = 1_300_000  # bytes that a text still to be fetched is taken to have: WikiText-2's test


def freed_passes(settings: Settings, plan: Plan[Any]) -> Sequence[Collection[str]]:
    """Tiers that a publication has on the disk together: of a pass, where what was sent is freed.

    Empty where nothing is: then all are.
    """
    if settings.publish.free == "never":
        return ()
    return passes(plan, settings.quantize.together)


def is_tight(settings: Settings, bytes_left: int, folder: Path) -> bool:
    """Whether a publication frees what it sent: settings say so, and not all tiers have room."""
    if settings.publish.free != "short":
        return settings.publish.free == "always"
    return bytes_left + settings.reserve > free_disk(folder)


def require_room(job: Job, at_a_time: Sequence[Collection[str]] = ()) -> None:
    """Raise CapacityError unless everything still to be made fits on the disk.

    What a stopped run left counts: it is gone on with, or gives its room back. `at_a_time`
    are tiers that lie there together, where others are removed before.
    """
    bytes_left = tiers_left(job.workplace, job.plan, job.paths, job.key)
    needed = largest_group(bytes_left, at_a_time)
    if bytes_left:
        needed += _reference_left(job.workplace, job.plan)
    require_free(job.paths.folder, needed, job.settings.reserve)


def largest_group(sizes: Mapping[str, int], at_a_time: Sequence[Collection[str]]) -> int:
    """Bytes that lie on the disk together at most, by tier; all where no groups are named."""
    groups = at_a_time or [[*sizes]]
    return max(sum(sizes.get(tier, 0) for tier in group) for group in groups)


def _reference_left(workplace: Workplace, plan: Plan[Sketch], *, writes: bool = False) -> int:
    """Disk that the reference's log-probabilities still take: what lies of them here counts."""
    whole = _reference_room(workplace.settings, plan, writes=writes)
    if not whole or not isinstance(plan.model, Model):
        return whole
    return max(whole - sum(map(taken, reference_files(workplace, plan.model))), 0)


def require_room_ahead(
    workplace: Workplace, plan: Plan[Sketch], at_a_time: Sequence[Collection[str]] = ()
) -> None:
    """Raise CapacityError unless all of a plan fits, the source too where it is not here yet."""
    needed = room_ahead(workplace, plan, at_a_time)
    require_free(workplace.folders.root, needed, workplace.settings.reserve)


def room_ahead(
    workplace: Workplace,
    plan: Plan[Sketch],
    at_a_time: Sequence[Collection[str]] = (),
    *,
    writes: bool = False,
) -> int:
    """Bytes that all of a plan takes, the source too where it is not here yet.

    What lies here of source, 16-bit file, log-probabilities and tiers counts; `at_a_time` as in
    `require_room`. With `writes` the reference's log-probabilities get a file though they could do
    without: as a release has it where the disk has room.
    """
    model, settings, space = plan.model, workplace.settings, workplace.folders
    bytes_left = {recipe.tier: plan.predicted(recipe) for recipe in plan.distinct}
    needed, source = 0, model.source if isinstance(model, Model) else model.release
    if source is not None:
        order = asked.ordered(settings, plan.profiles, model.name, source.repo_id, source.commit)
        bytes_left = tiers_left(workplace, plan, order.paths(space), order.key)
    if bytes_left:
        needed = largest_group(bytes_left, at_a_time)
        needed += _reference_left(workplace, plan, writes=writes)
    if not isinstance(model, Model) and model.release is not None:
        needed += source_room(workplace, model, model.release)
    return needed


def tiers_left(
    workplace: Workplace, plan: Plan[Sketch], paths: JobFolder, key: str
) -> dict[str, int]:
    """Bytes that each tier still takes which is not made, or was made and freed."""
    freed = _freed(workplace, key)
    bytes_left = {}
    for recipe in plan.distinct:
        file = tier_file(workplace.settings, plan, paths, recipe)
        if recipe.tier not in freed and not _is_made(file):
            bytes_left[recipe.tier] = max(plan.predicted(recipe) - _begun(file), 0)
    return bytes_left


def _freed(workplace: Workplace, key: str) -> set[str]:
    """Tiers of a job whose files the Hub has; one that it lost since is noted without a hash."""
    lost = digest({"sha256": None})
    return {
        step.tier
        for work in workplace.ledger.work(key)
        if (step := TierStep.read(work.step)) is not None
        and step.kind == "free"
        and work.inputs != lost
    }


def _begun(file: Path) -> int:
    """Bytes that unfinished files of a tier take on the disk."""
    shards = file.parent.glob(f"{glob.escape(file.stem)}-*-of-*.gguf.partial")
    return sum(map(taken, (partial_of(file), *shards)))


def _reference_room(settings: Settings, plan: Plan[Any], *, writes: bool) -> int:
    """Disk for the reference's log-probabilities: none where it can run beside each tier."""
    model = plan.model
    vocabulary = model.architecture.vocabulary
    guess = reference_guess(settings, vocabulary)
    if writes or settings.evaluation.reference == "file":
        return guess
    sixteen = model.file_bytes
    largest = max((plan.predicted(recipe) for recipe in plan.distinct), default=0)
    rows, micro_batch = TOGETHER // 2, settings.llama.micro_batch
    both = need(sixteen, vocabulary, rows, micro_batch=micro_batch)
    both += need(largest, vocabulary, rows, micro_batch=micro_batch)
    return (
        0
        if settings.evaluation.reference == "beside" or free_memory_of(settings).holds(both)
        else guess
    )


def reference_guess(settings: Settings, vocabulary: int) -> int:
    """Bytes for the reference's log-probabilities, of domains too; a token is taken to be three."""
    evaluation = settings.evaluation
    size = evaluation.text.stat().st_size if evaluation.text.is_file() else NOT_HERE
    chunks = size // (3 * evaluation.context) + 1
    text = base_bytes(vocabulary, evaluation.context, min(chunks, evaluation.chunks or chunks))
    domains = evaluation.domains.values()
    return text + sum(base_bytes(vocabulary, each.context, each.chunks) for each in domains)


def _is_made(file: Path) -> bool:
    shards = f"{glob.escape(file.stem)}-00001-of-*.gguf"
    return file.is_file() or any(file.parent.glob(shards))
