"""A job's files: a model for each tier."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bot.kernels.choice import Kernels
from bot.plan.models import Plan
from bot.plan.recipe import asked_types, file_type
from bot.quantize import imatrix
from bot.quantize import quantize as single
from bot.quantize.calibrating import gap, job_matrix, known_matrix, matrix_of, settled
from bot.quantize.fitted_tiers import fitted_of, known_fitted
from bot.quantize.imatrix import Matrix
from bot.quantize.passes import onepass
from bot.quantize.passes.layout import OutputSpec
from bot.quantize.passes.passfiles import forget
from bot.quantize.passes.rounding_units import rounding_units
from bot.quantize.quantize import Importance, Notes
from bot.records.built import Built, together
from bot.records.recipes import Recipe
from bot.records.results import TierFiles
from bot.records.steps import TierStep
from bot.store.paces import QUANTIZE, PastWork, paced
from bot.workplace.asked import hash_of_file
from bot.workplace.job import Job
from bot.workplace.workplace import Workplace


def make_tiers(job: Job, ready_matrix: Path | None = None) -> dict[str, Built]:
    """A model for each distinct tier and each baseline, by name; one in shards counts as one.

    `ready_matrix` is an importance matrix to use instead of calibrating.
    """
    matrix = matrix_for(job, ready_matrix)
    distinct = [recipe for recipe in settled(job, matrix) if recipe.same_as is None]
    return _files_of(job, distinct, matrix)


def tier_files_of(job: Job, ready_matrix: Path | None = None) -> TierFiles:
    """As `make_tiers`, with the recipes as they were built."""
    matrix = matrix_for(job, ready_matrix)
    return TierFiles(
        files=make_tiers(job, ready_matrix),
        recipes=settled(job, matrix),
        fitted=fitted_of(job, matrix) if matrix else (),
    )


def matrix_for(job: Job, ready_matrix: Path | None) -> Built | None:
    """The importance matrix that tiers are made with: the one given, or the job's own."""
    return _ready(job, ready_matrix) if ready_matrix and job.plan.needs_imatrix else job_matrix(job)


def passes(plan: Plan[Any], together_at_most: int | None) -> list[tuple[str, ...]]:
    """Tiers to be made together while others are measured: what needs no matrix comes first.

    Tiers of one pass share what they have in common; those of the next wait for nobody.
    """
    tier_groups = []
    for weighed in (False, True):
        tiers = [recipe.tier for recipe in plan.distinct if recipe.imatrix == weighed]
        step = together_at_most or max(len(tiers), 1)
        tier_groups += [tuple(tiers[start : start + step]) for start in range(0, len(tiers), step)]
    return tier_groups


def quantize_some(job: Job, tiers: Collection[str]) -> dict[str, Built]:
    """A model for each of some distinct tiers, in one pass."""
    planned = [recipe for recipe in job.plan.distinct if recipe.tier in tiers]
    matrix = job_matrix(job) if any(recipe.imatrix for recipe in planned) else None
    recipes = [recipe for recipe in settled(job, matrix) if recipe.tier in tiers]
    return _files_of(job, recipes, matrix)


def known_tier(job: Job, tier: str) -> Built | None:
    """A tier's model, if it is made already."""
    (planned,) = (recipe for recipe in job.plan.recipes if recipe.tier == tier)
    matrix = known_matrix(job) if planned.imatrix else None
    if planned.imatrix and (matrix is None or known_fitted(job, matrix) is None):
        return None
    (recipe,) = (recipe for recipe in settled(job, matrix) if recipe.tier == tier)
    return _done(job, recipe, matrix)


def _done(job: Job, recipe: Recipe, matrix: Built | None) -> Built | None:
    """A recipe's file, if it is here, or was freed after it was sent."""
    inputs, step = _quantize_inputs(job, recipe, matrix), TierStep("quantize", recipe.tier).name
    ledger = job.workplace.ledger
    done = ledger.finished(job.key, step, inputs)
    if done is None and (done := ledger.finished(job.key, step, inputs, files_too=False)):
        if not done.files:  # a damaged row
            return None
        freed_inputs = {"sha256": together(done.files).sha256}
        if ledger.finished(job.key, TierStep("free", recipe.tier).name, freed_inputs) is None:
            return None
    return together(done.files) if done and done.files else None


def let_go(job: Job, tier: str, built: Built) -> None:
    """A tier's files, which the Hub has, count as made wherever they are."""
    job.workplace.ledger.record(
        job.key, TierStep("free", tier).name, {"sha256": built.sha256}, [], None
    )


def free_tier(job: Job, tier: str, built: Built) -> None:
    """Remove a tier's files, which the Hub has; they count as made."""
    let_go(job, tier, built)
    for file in built.files:
        Path(file.path).unlink(missing_ok=True)


def is_free(job: Job, tier: str) -> bool:
    """Whether a tier was made, and its files are not here."""
    built = known_tier(job, tier)
    return built is not None and not all(Path(file.path).is_file() for file in built.files)


def lose(job: Job, tier: str) -> None:
    """Make a tier that was freed again: the Hub does not have it either."""
    job.workplace.ledger.record(job.key, TierStep("free", tier).name, {"sha256": None}, [], None)


def _ready(job: Job, path: Path) -> Built:
    """A ready importance matrix. Raises SourceError when it is none, or of another model."""
    imatrix.read_matrix(path).require_fit(job.plan.model.tensors)
    content = hash_of_file(job.settings, path)
    return Built(path=str(path), bytes=path.stat().st_size, sha256=content)


def _files_of(job: Job, recipes: Sequence[Recipe], matrix: Built | None) -> dict[str, Built]:
    """A model for each recipe; all that are not there yet in one reading of the source."""
    known_files = {recipe.tier: _done(job, recipe, matrix) for recipe in recipes}
    done = {tier: built for tier, built in known_files.items() if built is not None}
    # a process killed after the ledger had its files left the journal of its pass
    forget(Path(file.path) for tier_file in done.values() for file in tier_file.files)
    missing = [recipe for recipe in recipes if recipe.tier not in done]
    if missing:
        done |= _pass(job, missing, matrix)
    return {recipe.tier: done[recipe.tier] for recipe in recipes}


def _pass(job: Job, missing: Sequence[Recipe], matrix: Built | None) -> dict[str, Built]:
    importance = Importance(matrix_of(job, matrix)) if matrix else None
    specs = [_spec_of(job, recipe, importance if recipe.imatrix else None) for recipe in missing]
    tiers = "tier" if len(specs) == 1 else "tiers"
    ledger = job.workplace.ledger
    steps = [
        (TierStep("quantize", recipe.tier).name, _quantize_inputs(job, recipe, matrix))
        for recipe in missing
    ]

    def keep(files_of_models: onepass.Files) -> None:
        step_files = zip(steps, files_of_models, strict=True)
        ledger.made(job.key, [(step, inputs, files) for (step, inputs), files in step_files])

    title, kernels = f"quantizing {len(specs)} {tiers}", kernels_of(job.workplace)
    tried = kernels.tried(kind for spec in specs for kind in spec.types.values())
    with (
        job.workplace.narrator.work(title, unit="B") as told,
        paced(
            ledger, f"{job.key[:12]} {missing[0].tier}", _pass_work(job, missing), told,
            like_others=tried,
        ) as report,
    ):  # fmt: skip
        files_of_models = onepass.quantize_all(
            Path(job.plan.model.source.path),
            specs,
            threads=job.settings.llama.threads,
            memory=job.settings.quantize.memory,
            progress=report,
            keep=keep,
            kernels=kernels,
        )
    tier_files = zip(missing, files_of_models, strict=True)
    return {recipe.tier: together(files) for recipe, files in tier_files}


def _pass_work(job: Job, recipes: Sequence[Recipe]) -> PastWork:
    """A pass over the source, for those who ask how long the next will take."""
    units = rounding_units(job.plan.model.tensors, recipes)
    return PastWork(kind=QUANTIZE, units=units, seconds=0, bytes=job.plan.model.source.bytes)


def kernels_of(workplace: Workplace) -> Kernels:
    """Our kernels, compiled in the workdir, unless settings say that there shall be none."""
    used = workplace.settings.quantize.kernels
    return Kernels(folder=workplace.folders.kernels if used else None)


def load_kernels(job: Job) -> None:
    """Have kernels at hand: the first of a process takes 1.5 s, which are no pass's own pace.

    Not where all is made; what has to be compiled is left to the pass, which begins meanwhile.
    """
    missing = [recipe for recipe in job.plan.distinct if known_tier(job, recipe.tier) is None]
    kinds = {one.type for recipe in missing for one in recipe.assignments}
    kernels = kernels_of(job.workplace)
    if kinds and kernels.tried(kinds):
        for kind in sorted(kinds):
            kernels.kernel(kind)


def _spec_of(job: Job, recipe: Recipe, weights: Importance | None) -> OutputSpec:
    """A recipe's file for the pass. Raises RefusedError where the matrix lacks what it needs."""
    types = _types(job, recipe)
    if weights is not None:
        single.require_data(types, weights.matrix, experts=not recipe.plain)
        _say_gap(job, recipe, weights.matrix)
    notes = single.notes(weights.matrix) if weights is not None else ()
    return OutputSpec(
        target=job.file_of(recipe),
        file_type=file_type(recipe.base),
        types=types,
        weights=weights,
        notes=(*notes, *_stamp(job, recipe)),
        shard=_shard(job, recipe),
    )


def require_data(job: Job, matrix: Built) -> None:
    """Raise RefusedError where a tier that is still to be made rounds what a matrix lacks."""
    by_expert = matrix_of(job, matrix)
    for recipe in settled(job, matrix):
        if recipe.imatrix and recipe.same_as is None and known_tier(job, recipe.tier) is None:
            single.require_data(_types(job, recipe), by_expert, experts=not recipe.plain)


def _say_gap(job: Job, recipe: Recipe, matrix: Matrix) -> None:
    """Tell what a tier rounds without data. Raises RefusedError where that is too much.

    A baseline is llama-quantize's, whatever that makes of such a matrix.
    """
    tier_gap = None if recipe.plain else gap(job, recipe, matrix)
    single.require_share(tier_gap, job.settings.quantize.missing_share)
    if tier_gap is not None:
        job.workplace.narrator.say(single.gap_text(tier_gap))


def _types(job: Job, recipe: Recipe) -> dict[str, str]:
    model = job.plan.model
    return asked_types(recipe, model.architecture, model.tensors)


def _shard(job: Job, recipe: Recipe) -> int | None:
    return None if recipe.plain else job.settings.quantize.shard


def _stamp(job: Job, recipe: Recipe) -> Notes:
    """A baseline gets none, and no shards: it is the very file that llama-quantize writes."""
    if recipe.plain or not job.settings.quantize.stamp:
        return ()
    return single.stamp_of(recipe.tier, recipe.hash, job.tools.bot)


def _quantize_inputs(job: Job, recipe: Recipe, matrix: Built | None) -> dict[str, Any]:
    settings = job.settings.quantize
    return {
        "recipe": recipe.hash,
        "source": job.plan.model.source.sha256,
        "imatrix": matrix.sha256 if matrix and recipe.imatrix else None,
        "file": job.file_of(recipe).name,
        "shard": _shard(job, recipe),
        "stamp": settings.stamp and not recipe.plain,
    }
