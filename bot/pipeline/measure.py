"""A job's numbers: every tier against the reference, and results.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.pipeline import calibrating
from bot.pipeline.job import Job
from bot.pipeline.make import quantize
from bot.pipeline.texts import text_of
from bot.progress import Report
from bot.records import (
    Built,
    EvaluationFacts,
    Recipe,
    Results,
    Row,
    Scores,
    dump,
    load,
    to_json,
)
from bot.workspace import keep_text, require_free, writing

if TYPE_CHECKING:
    from bot.clients.llama.session import Session

SEQUENCES = 4  # endings of a task that are decoded side by side


def evaluate(job: Job) -> Results:
    """Every distinct tier measured against the reference; the outcome is results.json."""
    built = quantize(job)
    reference, chunks = _reference(job, built)
    scores = {tier: _measure(job, tier, file) for tier, file in built.items()}
    results = _results(job, built, reference, scores, chunks)
    keep_text(job.paths.results, to_json(results))
    return results


def _inputs(job: Job, file: str) -> dict[str, Any]:
    return {
        **job.evaluation,
        "file": file,
        "reference": job.plan.model.source.sha256,
        "device": job.tools.device,
        "threads": job.tools.threads,
    }


def _reference(job: Job, built: Mapping[str, Built]) -> tuple[Scores, int]:
    """Scores of the reference and the chunks they rest on.

    Its log-probabilities are only made again when a tier still has to be compared with them.
    """
    known = job.pipeline.ledger.finished
    inputs = _inputs(job, job.plan.model.source.sha256)
    done = known(job.key, "reference", inputs, files_too=False)
    if done is None or any(
        known(job.key, f"divergence {tier}", _inputs(job, file.sha256)) is None
        for tier, file in built.items()
    ):
        done = job.step(
            "reference",
            inputs,
            [job.paths.reference],
            "measuring the reference",
            lambda report: _measure_reference(job, report),
        )
    choices = _choices(job, "reference", Path(job.plan.model.source.path), inputs)
    scores = {"perplexity": done.value["perplexity"], "choices": choices}
    return load(Scores, scores), done.value["chunks"]


def _measure_reference(job: Job, report: Report) -> Any:
    from bot.evaluate import perplexity

    wanted = job.settings.evaluation
    source = Path(job.plan.model.source.path)
    with _session(job, source) as session, writing(job.paths.reference) as partial:
        text = wanted.text.read_text(encoding="utf-8")
        chunks = session.chunks(text, wanted.context, wanted.chunks)
        size = perplexity.base_bytes(session.vocabulary, wanted.context, len(chunks))
        require_free(job.paths.folder, size, job.settings.reserve)
        value = perplexity.measure_reference(
            session, chunks, partial, threads=job.tools.threads, progress=report
        )
    return {"perplexity": dump(value), "chunks": len(chunks)}


def _measure(job: Job, tier: str, file: Built) -> Scores:
    from bot.evaluate import divergence, perplexity

    inputs = _inputs(job, file.sha256)

    def work(report: Report) -> Any:
        base = perplexity.open_base(job.paths.reference)
        with _session(job, Path(file.path)) as session:
            ppl, kld = divergence.measure(session, base, threads=job.tools.threads, progress=report)
        return {"perplexity": dump(ppl), "divergence": dump(kld)}

    done = job.step(f"divergence {tier}", inputs, [], f"measuring {tier}", work)
    choices = _choices(job, tier, Path(file.path), inputs)
    return load(Scores, {**done.value, "choices": choices})


def _choices(job: Job, name: str, path: Path, inputs: Mapping[str, Any]) -> Any:
    from bot.evaluate import choices

    wanted = job.settings.evaluation.tasks
    if wanted is None:
        return []

    def work(report: Report) -> Any:
        count = job.settings.evaluation.task_count
        tasks = choices.draw(choices.read_tasks(wanted), count)
        label = "HellaSwag" if "hellaswag" in wanted.name.lower() else "Endings"
        with _session(job, path) as session:
            found, _ = choices.hellaswag(session, tasks, name=label, progress=report)
        return [dump(found)]

    return job.step(f"choices {name}", inputs, [], f"asking {name}", work).value


def _session(job: Job, path: Path) -> Session:
    from bot.clients.llama.session import Session

    llama = job.settings.llama
    return Session(
        path,
        n_ctx=SEQUENCES * job.settings.evaluation.context,
        threads=llama.threads,
        gpu_layers=llama.gpu_layers,
        devices=llama.devices,
        sequences=SEQUENCES,
    )


def _results(
    job: Job,
    built: Mapping[str, Built],
    reference: Scores,
    scores: Mapping[str, Scores],
    chunks: int,
) -> Results:
    model = job.plan.model
    source = Built(path=model.source.path, bytes=model.source.bytes, sha256=model.source.sha256)
    recipes = calibrating.settled(job, calibrating.calibrate(job))

    def row(recipe: Recipe) -> Row:
        made = recipe.same_as or recipe.tier
        return _row(job, recipe.tier, built[made], scores[made], recipe)

    return Results(
        release=model.release,
        source_sha256=model.source.sha256,
        architecture=model.architecture,
        windows=recipes[0].windows,
        tools=job.tools,
        evaluation=_evaluation_facts(job, chunks),
        calibration=calibrating.facts(job),
        reference=_row(job, model.architecture.source_type, source, reference, None),
        tiers=tuple(row(recipe) for recipe in recipes if not recipe.plain),
        baselines=tuple(row(recipe) for recipe in recipes if recipe.plain),
    )


def _row(job: Job, name: str, file: Built, scores: Scores, recipe: Recipe | None) -> Row:
    return Row(
        name=name,
        file=Path(file.path).name,
        bytes=file.bytes,
        sha256=file.sha256,
        bits_per_weight=file.bytes * 8 / job.plan.model.parameters,
        imatrix=recipe.imatrix if recipe else False,
        scores=scores,
        recipe=recipe.hash if recipe else None,
        same_as=recipe.same_as if recipe else None,
        shards=file.shards,
    )


def _evaluation_facts(job: Job, chunks: int) -> EvaluationFacts:
    from bot.evaluate.perplexity import scored_per_chunk

    wanted = job.settings.evaluation
    return EvaluationFacts(
        text=text_of(wanted.text),
        context=wanted.context,
        chunks=chunks,
        scored_tokens=chunks * scored_per_chunk(wanted.context),
        tasks=text_of(wanted.tasks) if wanted.tasks else None,
    )
