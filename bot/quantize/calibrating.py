"""A job's importance matrix: calibrated or taken ready; recipes that follow it; facts about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.apart.sandbox import require_made
from bot.apart.worker import away
from bot.disk.writing import writing
from bot.plan.recipe import raised_types, without_data
from bot.progress import Report
from bot.quantize import imatrix, quantize
from bot.quantize.calibrate import Portion, Savepoint
from bot.quantize.fitted_tiers import fitted_of, fitted_profiles, with_fitted
from bot.quantize.imatrix import Matrix
from bot.quantize.quantize import gap_of
from bot.quantize.works import calibrated
from bot.records.built import Built
from bot.records.coding import digest
from bot.records.recipes import Recipe
from bot.records.results import CalibrationFacts, Gap
from bot.store.paces import CALIBRATE, PastWork, host_of, paced
from bot.workplace.asked import calibration_inputs
from bot.workplace.children import loading, room_for, row_kernels, tell_isolation
from bot.workplace.job import Job
from bot.workplace.texts import calibration_texts, read_text

READING = 2  # of texts, raised where one of the same hash is read otherwise; 1: line ends made \n
LARGE = 1 << 32  # bytes of a model; a smaller one's sums are made before Numba is imported
TAKEN = list[int]  # chunks of each text: what making a matrix returns


def job_matrix(job: Job) -> Built | None:
    """The importance matrix, if a tier wants one."""
    if job.calibration is None:
        return None
    ready_file = job.settings.calibration.file
    inputs = _inputs(job)

    def work(report: Report) -> list[int]:
        return _make(job, report) if ready_file is None else _take(job, ready_file)

    title = "calibrating" if ready_file is None else "taking the importance matrix"
    return job.step("imatrix", inputs, [job.paths.imatrix], title, work, TAKEN).files[0]


def known_matrix(job: Job) -> Built | None:
    """The importance matrix, if it is made already."""
    done = job.workplace.ledger.finished(job.key, "imatrix", _inputs(job), shape=TAKEN)
    return done.files[0] if done and done.files else None


def _inputs(job: Job) -> dict[str, Any]:
    inputs = {**(job.calibration or {}), "source": job.plan.model.source.sha256}
    return inputs if job.settings.calibration.file else {**inputs, "reading": READING}


def _make(job: Job, told: Report) -> list[int]:
    """Calibrate; chunks taken of each text. How long that took is kept."""
    work = PastWork(
        kind=CALIBRATE,
        family=job.plan.model.source.sha256,
        data=digest(calibration_inputs(job.settings)),
        context=job.settings.calibration.context,
        units=1,
        seconds=0,
        host=host_of(job.tools, job.settings.llama),
    )
    ledger = job.workplace.ledger
    with paced(ledger, job.key[:12], work, told, counted=True) as report:
        return _calibrate(job, report)


def _calibrate(job: Job, report: Report) -> list[int]:
    calibration, llama = job.settings.calibration, job.settings.llama
    text_facts = calibration_texts(job.workplace)
    texts = [
        Portion(
            name=f"{text.name} sha256:{text.sha256}",
            text=read_text(job.workplace, source),
            weight=source.weight,
        )
        for text, source in zip(text_facts, calibration.texts, strict=True)
    ]
    source, folder = Path(job.plan.model.source.path).absolute(), job.paths.handed.absolute()
    written = folder / job.paths.imatrix.name
    tell_isolation(job.workplace.narrator, job.settings)
    kernels = row_kernels(job.settings) if job.plan.model.source.bytes >= LARGE else None
    seen = (source,) if kernels is None else (source, kernels)
    room = room_for(job.settings, *seen, writes=(folder,), report=report)
    chunk_counts = away(calibrated, room)(
        loading(source, llama),
        written,
        texts,
        context=calibration.context,
        chunks=calibration.chunks,
        batch=calibration.batch,
        checkpoint=Savepoint(
            path=job.paths.checkpoint.absolute(),
            every=calibration.checkpoint,
            key=digest([job.key, _inputs(job)]),
        ),
        kernels=kernels,
    )
    with writing(job.paths.imatrix) as partial:
        require_made(written, source.name).replace(partial)
    return chunk_counts


def _take(job: Job, ready_file: Path) -> list[int]:
    """Copy a ready file, in GGUF form; no chunks. Raises SourceError for another model's."""
    imatrix.read_matrix(ready_file).require_fit(job.plan.model.tensors)
    with writing(job.paths.imatrix) as partial:
        imatrix.rewrite(ready_file, partial, job.settings.calibration.context)
    return []


def settled(job: Job, matrix: Built | None) -> tuple[Recipe, ...]:
    """The plan's recipes: those of fitted tiers as they were fitted, which is done here at first,
    others with the types that the matrix has data for.

    With `quantize.missing_data: next` a tensor whose type needs data that the matrix lacks gets
    the next larger type that needs none; otherwise building such a tier is refused.
    """
    recipes = job.plan.recipes if matrix is None else with_fitted(job, fitted_of(job, matrix))
    if matrix is None or job.settings.quantize.missing_data == "refuse":
        return recipes
    by_expert = matrix_of(job, matrix)
    tensors = job.plan.model.tensors

    def settle(recipe: Recipe) -> Recipe:
        if not recipe.imatrix or recipe.plain:
            return recipe
        types = {assignment.tensor: assignment.type for assignment in recipe.assignments}
        return without_data(recipe, quantize.tensors_without_data(types, by_expert), tensors)

    return tuple(settle(recipe) for recipe in recipes)


def matrix_of(job: Job, file: Built) -> Matrix:
    """An importance matrix with a row for each expert of the job's model."""
    return imatrix.read_matrix(Path(file.path)).of(job.plan.model.tensors)


def gap(job: Job, recipe: Recipe, matrix: Matrix) -> Gap | None:
    """Tensors and experts that a tier rounds without data; None where it has data of all."""
    types = {assignment.tensor: assignment.type for assignment in recipe.assignments}
    return gap_of(recipe.tier, types, job.plan.model.tensors, matrix)


def facts(job: Job) -> CalibrationFacts | None:
    """Facts about the importance matrix, for results and the card; None where no tier wants one."""
    file = job_matrix(job)
    if file is None:
        return None
    matrix, calibration = imatrix.read_matrix(Path(file.path)), job.settings.calibration
    matrix_facts = _facts(job, file, matrix)
    if calibration.file is not None:
        return replace(matrix_facts, given=matrix.datasets)
    return replace(matrix_facts, texts=calibration_texts(job.workplace), taken=_taken(job))


def _taken(job: Job) -> tuple[int, ...]:
    done = job.workplace.ledger.finished(job.key, "imatrix", _inputs(job))
    return tuple(done.value or ()) if done else ()


def _facts(job: Job, file: Built, matrix: Matrix) -> CalibrationFacts:
    fitted_tiers = {profile.tier for profile in fitted_profiles(job)}
    raised = [
        f"{recipe.tier} {change}"
        for planned, recipe in zip(job.plan.recipes, settled(job, file), strict=True)
        if recipe.tier not in fitted_tiers
        for change in raised_types(planned, recipe)
    ]
    by_expert = matrix.of(job.plan.model.tensors)
    tiers = (recipe for recipe in settled(job, file) if recipe.imatrix and not recipe.plain)
    gaps = [tier_gap for recipe in tiers if (tier_gap := gap(job, recipe, by_expert)) is not None]
    return CalibrationFacts(
        name=job.settings.calibration.name,
        texts=(),
        context=job.settings.calibration.context,
        chunks=matrix.chunks,
        file=job.paths.imatrix.name,
        bytes=file.bytes,
        sha256=file.sha256,
        unreached=by_expert.unreached(),
        gaps=tuple(gaps),
        coverage=matrix.coverage(),
        raised=tuple(raised),
    )
