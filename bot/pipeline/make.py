"""A job's files: the importance matrix and each tier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.pipeline.job import Job
from bot.plan.recipe import asked_types, file_type
from bot.progress import Report
from bot.records import Built, Recipe
from bot.workspace import writing


def calibrate(job: Job) -> Built | None:
    """The importance matrix, if a tier wants one."""
    from bot.build import imatrix

    if job.calibration is None:
        return None
    wanted, llama = job.settings.calibration, job.settings.llama

    def work(report: Report) -> None:
        with writing(job.paths.imatrix) as partial:
            imatrix.calibrate(
                Path(job.plan.model.source.path),
                partial,
                text="\n".join(path.read_text(encoding="utf-8") for path in wanted.texts),
                datasets=[path.name for path in wanted.texts],
                context=wanted.context,
                chunks=wanted.chunks,
                threads=llama.threads,
                gpu_layers=llama.gpu_layers,
                devices=llama.devices,
                progress=report,
            )

    inputs = {**job.calibration, "source": job.plan.model.source.sha256}
    return job.step("imatrix", inputs, [job.paths.imatrix], "calibrating", work).files[0]


def quantize(job: Job) -> dict[str, Built]:
    """A file for each distinct tier, by tier."""
    matrix = calibrate(job)
    if job.settings.quantize.engine == "one-pass" and job.plan.model.pieces == 1:
        _quantize_missing(job, matrix)
    return {recipe.tier: _quantize(job, recipe, matrix) for recipe in job.plan.distinct}


def _quantize_missing(job: Job, matrix: Built | None) -> None:
    """Make all tiers that are not there yet in one reading of the source."""
    from bot.build import imatrix, onepass, quantize

    known = job.pipeline.ledger.finished
    missing = [
        recipe
        for recipe in job.plan.distinct
        if known(job.key, f"quantize {recipe.tier}", _quantize_inputs(job, recipe, matrix)) is None
    ]
    if not missing:
        return
    read = imatrix.read(Path(matrix.path)) if matrix else None
    weights = read.weights() if read else None
    wanted = []
    for recipe in missing:
        types = _types(job, recipe)
        if read is not None and recipe.imatrix:
            quantize.require_data(types, read)
        wanted.append(
            onepass.Wanted(
                target=job.file_of(recipe),
                file_type=file_type(recipe.base),
                types=types,
                weights=weights if recipe.imatrix else None,
                notes=quantize.notes(read) if read and recipe.imatrix else (),
            )
        )
    tiers = "tier" if len(wanted) == 1 else "tiers"
    with job.pipeline.narrator.work(f"quantizing {len(wanted)} {tiers}") as report:
        onepass.quantize_all(
            Path(job.plan.model.source.path),
            wanted,
            threads=job.settings.llama.threads,
            memory=job.settings.quantize.memory,
            progress=lambda done, total: report(done // 1_000_000, total // 1_000_000),
        )
        for recipe in missing:
            job.pipeline.ledger.record(
                job.key,
                f"quantize {recipe.tier}",
                _quantize_inputs(job, recipe, matrix),
                [job.file_of(recipe)],
                None,
            )


def _types(job: Job, recipe: Recipe) -> dict[str, str]:
    model = job.plan.model
    return asked_types(recipe, model.architecture, model.tensors)


def _quantize_inputs(job: Job, recipe: Recipe, matrix: Built | None) -> dict[str, Any]:
    return {
        "recipe": recipe.hash,
        "source": job.plan.model.source.sha256,
        "imatrix": matrix.sha256 if matrix and recipe.imatrix else None,
        "file": job.file_of(recipe).name,
    }


def _quantize(job: Job, recipe: Recipe, matrix: Built | None) -> Built:
    from bot.build import imatrix, quantize

    target = job.file_of(recipe)
    used = matrix if recipe.imatrix else None

    def work(_report: Report) -> None:
        with writing(target) as partial:
            quantize.quantize(
                Path(job.plan.model.source.path),
                partial,
                file_type=file_type(recipe.base),
                types=_types(job, recipe),
                imatrix=imatrix.read(Path(used.path)) if used else None,
                threads=job.settings.llama.threads,
            )

    inputs = _quantize_inputs(job, recipe, matrix)
    title = f"quantizing {recipe.tier}"
    return job.step(f"quantize {recipe.tier}", inputs, [target], title, work).files[0]
