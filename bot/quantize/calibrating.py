"""A job's importance matrix: made, or taken ready, and what is known about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.apart.sandbox import require_made
from bot.apart.worker import away
from bot.disk.writing import writing
from bot.plan.recipe import raised_types, without_data
from bot.progress import Report
from bot.quantize import imatrix, quantize
from bot.quantize.calibrate import Portion, Savepoint
from bot.quantize.quantize import gap_of
from bot.quantize.works import calibrated
from bot.records.built import Built
from bot.records.coding import digest
from bot.records.recipes import Recipe
from bot.records.results import CalibrationFacts, Gap
from bot.workplace.children import loading, room_for, tell_isolation
from bot.workplace.job import Job
from bot.workplace.texts import calibration_texts, read_text

if TYPE_CHECKING:
    from bot.quantize.imatrix import Matrix

READING = 2  # of texts, raised where one of the same hash is read otherwise; 1: line ends made \n
TAKEN = list[int]  # chunks of each text: what making a matrix returns


def job_matrix(job: Job) -> Built | None:
    """The importance matrix, if a tier wants one."""
    if job.calibration is None:
        return None
    ready = job.settings.calibration.file
    inputs = _inputs(job)

    def work(report: Report) -> list[int]:
        return _make(job, report) if ready is None else _take(job, ready)

    title = "calibrating" if ready is None else "taking the importance matrix"
    return job.step("imatrix", inputs, [job.paths.imatrix], title, work, TAKEN).files[0]


def known_matrix(job: Job) -> Built | None:
    """The importance matrix, if it is made already."""
    done = job.workplace.ledger.finished(job.key, "imatrix", _inputs(job), shape=TAKEN)
    return done.files[0] if done and done.files else None


def _inputs(job: Job) -> dict[str, Any]:
    told = {**(job.calibration or {}), "source": job.plan.model.source.sha256}
    return told if job.settings.calibration.file else {**told, "reading": READING}


def _make(job: Job, report: Report) -> list[int]:
    """Calibrate; chunks taken of each text."""
    wanted, llama = job.settings.calibration, job.settings.llama
    described = calibration_texts(job.workplace)
    texts = [
        Portion(
            name=f"{text.name} sha256:{text.sha256}",
            text=read_text(job.workplace, source),
            weight=source.weight,
        )
        for text, source in zip(described, wanted.texts, strict=True)
    ]
    source, folder = Path(job.plan.model.source.path).absolute(), job.paths.handed.absolute()
    made = folder / job.paths.imatrix.name
    tell_isolation(job.workplace.narrator, job.settings)
    room = room_for(job.settings, source, writes=(folder,), report=report)
    taken = away(calibrated, room)(
        loading(source, llama),
        made,
        texts,
        context=wanted.context,
        chunks=wanted.chunks,
        batch=wanted.batch,
        checkpoint=Savepoint(
            path=job.paths.checkpoint.absolute(),
            every=wanted.checkpoint,
            key=digest([job.key, _inputs(job)]),
        ),
    )
    with writing(job.paths.imatrix) as partial:
        require_made(made, source.name).replace(partial)
    return taken


def _take(job: Job, ready: Path) -> list[int]:
    """Use a ready file, in GGUF form."""
    imatrix.read_matrix(ready).require_fit(job.plan.model.tensors)
    with writing(job.paths.imatrix) as partial:
        imatrix.rewrite(ready, partial, job.settings.calibration.context)
    return []


def settled(job: Job, matrix: Built | None) -> tuple[Recipe, ...]:
    """The plan's recipes as they are built.

    With `quantize.missing_data: next` a tensor whose type needs data that the matrix lacks gets
    the next larger type that needs none; otherwise building such a tier is refused.
    """
    recipes = job.plan.recipes
    if matrix is None or job.settings.quantize.missing_data == "refuse":
        return recipes
    read = matrix_of(job, matrix)
    tensors = job.plan.model.tensors

    def settle(recipe: Recipe) -> Recipe:
        if not recipe.imatrix or recipe.plain:
            return recipe
        types = {assignment.tensor: assignment.type for assignment in recipe.assignments}
        return without_data(recipe, quantize.tensors_without_data(types, read), tensors)

    return tuple(settle(recipe) for recipe in recipes)


def matrix_of(job: Job, file: Built) -> Matrix:
    """An importance matrix with a row for each expert of the job's model."""
    return imatrix.read_matrix(Path(file.path)).of(job.plan.model.tensors)


def gap(job: Job, recipe: Recipe, matrix: Matrix) -> Gap | None:
    """What a tier rounds without data."""
    types = {assignment.tensor: assignment.type for assignment in recipe.assignments}
    return gap_of(recipe.tier, types, job.plan.model.tensors, matrix)


def facts(job: Job) -> CalibrationFacts | None:
    """All that is known about the importance matrix, for results and the card."""
    file = job_matrix(job)
    if file is None:
        return None
    matrix, wanted = imatrix.read_matrix(Path(file.path)), job.settings.calibration
    made = _facts(job, file, matrix)
    if wanted.file is not None:
        return replace(made, given=matrix.datasets)
    return replace(made, texts=calibration_texts(job.workplace), taken=_taken(job))


def _taken(job: Job) -> tuple[int, ...]:
    done = job.workplace.ledger.finished(job.key, "imatrix", _inputs(job))
    return tuple(done.value or ()) if done else ()


def _facts(job: Job, file: Built, matrix: Matrix) -> CalibrationFacts:
    raised = [
        f"{recipe.tier} {change}"
        for planned, recipe in zip(job.plan.recipes, settled(job, file), strict=True)
        for change in raised_types(planned, recipe)
    ]
    by_expert = matrix.of(job.plan.model.tensors)
    tiers = (recipe for recipe in settled(job, file) if recipe.imatrix and not recipe.plain)
    gaps = [found for recipe in tiers if (found := gap(job, recipe, by_expert)) is not None]
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
