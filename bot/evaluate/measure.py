"""A job's numbers: every tier against the reference, and results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path
from time import monotonic

from bot.disk.writing import keep_text, partial_of
from bot.errors import BuildError
from bot.evaluate.bench import Bench
from bot.evaluate.data import fetch_other, find_tasks
from bot.evaluate.files import subject_of
from bot.evaluate.scores import ScoreTable, Wrote
from bot.evaluate.subject import Subject, model_subject
from bot.measures.imported import read_imported
from bot.plan.models import Model
from bot.plan.recipe import NO_SMALLER
from bot.records.built import Built
from bot.records.coding import dump, load_record, to_json
from bot.records.measured import Row, Scores
from bot.records.recipes import Recipe
from bot.records.results import CalibrationFacts, LeftOut, Results, TierFiles
from bot.store.paces import COMPARE, PastWork, keep_pace
from bot.workplace.job import Job, tools_of
from bot.workplace.workplace import Workplace


def evaluate_job(
    job: Job,
    tiers: TierFiles,
    calibration: CalibrationFacts | None,
    drafter: Built | None = None,
) -> Results:
    """Measure every distinct tier, baseline and file of others against the reference.

    And of a model with prediction layers, in `drafter` or in itself, what they guess.
    results.json is written after each measure, and holds what is measured by then. Raises what
    `Bench` and `fetch_other` raise.
    """
    began, reference = monotonic(), reference_of(job)
    bench, others = Bench(job.workplace, job.tools, reference), _others(job)
    written = 0

    def wrote() -> None:
        nonlocal written
        if bench.new_measures > written:  # what was known before is in the file already, or will be
            written = bench.new_measures
            _write(job, _results(job, tiers, calibration, table, reference, others))

    table = _table(job, bench, [*_subjects(tiers.files), *others], wrote)
    table.fill()
    if drafter is not None or job.plan.model.architecture.mtp_layers:
        _draft(job, tiers, table, drafter)
    results = _results(job, tiers, calibration, table, reference, others, complete=True)
    _write(job, results)
    if not bench.new_measures:  # else their paces are kept, each by itself
        pairs = comb(len(job.plan.distinct) + len(others), 2)
        work = PastWork(kind=COMPARE, units=max(pairs, 1), seconds=monotonic() - began)
        keep_pace(job.workplace.ledger, job.key[:12], work)
    if results is None:
        raise TypeError("a filled table has a reference")
    return results


def _draft(job: Job, tiers: TierFiles, table: ScoreTable, drafter: Built | None) -> None:
    """Guesses of each tier whose file is here; where llama.cpp cannot make any, it is said."""
    if not job.settings.evaluation.drafts:
        return
    plain = {recipe.tier for recipe in job.plan.recipes if recipe.plain}
    for subject in _subjects(tiers.files):
        if subject.name in plain or not subject.path.is_file():
            continue
        try:
            table.draft(subject, drafter)
        except BuildError as error:
            reason = f"without a measure of its prediction layers: {error}"
            job.lacks = (*job.lacks, reason)
            job.workplace.narrator.say(reason)
            return


def measure_reference(job: Job) -> None:
    """Measure what every tier is compared with: the reference, and other publishers' files.

    Hash and publisher of the latter go to the ledger: later jobs need not fetch the files.
    """
    bench = Bench(job.workplace, job.tools, reference_of(job))
    sizes = [job.plan.predicted(recipe) for recipe in job.plan.distinct]
    candidates = len(sizes) + len(job.settings.evaluation.others)
    for one in (bench, *bench.domains.values()):
        one.logits.prepare_file(max(sizes), candidates)
    _table(job, bench, list(_others(job)), _nothing).fill()
    for other_name in job.settings.evaluation.others:
        subject, publisher = _other_file(job, other_name)
        value = {"subject": dump(subject), "publisher": publisher}
        job.workplace.ledger.record(job.key, f"other {other_name}", {}, [], value)


def measure_files(job: Job, built: Mapping[str, Built]) -> None:
    """Measure files of the job, by tier, and leave the numbers in the ledger."""
    bench = Bench(job.workplace, job.tools, reference_of(job))
    _table(job, bench, _subjects(built), _nothing).fill()


def logits_of(job: Job) -> Path | None:
    """The file with the reference's log-probabilities, where one was made."""
    return Bench(job.workplace, job.tools, reference_of(job)).logits.made()


def logits_path(job: Job) -> Path:
    """Where the reference's log-probabilities lie, or will lie.

    Other processes do not remove the file while this one runs.
    """
    return Bench(job.workplace, job.tools, reference_of(job)).logits.use()


def reference_files(workplace: Workplace, model: Model) -> tuple[Path, ...]:
    """Where log-probabilities lie of the text and of each domain, whole or begun, or will begin."""
    bench = Bench(workplace, tools_of(workplace.settings), model_subject(model))
    every = (bench, *bench.domains.values())
    return tuple(each.logits.made() or partial_of(each.logits.use()) for each in every)


def _nothing() -> None:
    """There is no results.json to write."""


def _subjects(built: Mapping[str, Built]) -> list[Subject]:
    return [
        Subject(name=tier, path=Path(file.path), bytes=file.bytes, sha256=file.sha256)
        for tier, file in built.items()
    ]


def _others(job: Job) -> dict[Subject, str]:
    """Other publishers' files, with REPOSITORY@COMMIT of each."""
    return dict(_other_file(job, other_name) for other_name in job.settings.evaluation.others)


@dataclass(frozen=True, kw_only=True)
class _Noted:
    """What the ledger keeps of another publisher's file."""

    subject: Subject
    publisher: str


def _other_file(job: Job, other_name: str) -> tuple[Subject, str]:
    """Another publisher's file and REPOSITORY@COMMIT; fetched unless the ledger knows it."""
    noted = job.workplace.ledger.finished(job.key, f"other {other_name}", {}, shape=_Noted)
    if noted is not None:
        return load_record(Subject, noted.value["subject"]), str(noted.value["publisher"])
    other = fetch_other(job.workplace, other_name)
    subject = subject_of(job.workplace, other.path, other.name, other.sha256, other.bytes)
    return subject, other.publisher


def _table(job: Job, bench: Bench, subjects: Sequence[Subject], wrote: Wrote) -> ScoreTable:
    return ScoreTable(
        bench,
        subjects,
        tasks=find_tasks(job.workplace),
        speed=job.settings.evaluation.speed,
        benchmarks=job.settings.evaluation.benchmarks.tasks,
        wrote=wrote,
        behaviour=True,
    )


def drop_logits(job: Job) -> None:
    """Remove what only measuring needs: the reference's log-probabilities."""
    Bench(job.workplace, job.tools, reference_of(job)).drop_logits()


def reference_of(job: Job) -> Subject:
    """The 16-bit model that tiers are made from and measured against."""
    return model_subject(job.plan.model)


def _write(job: Job, results: Results | None) -> None:
    if results is not None:
        keep_text(job.paths.results, to_json(results))


def _results(
    job: Job,
    tiers: TierFiles,
    calibration: CalibrationFacts | None,
    table: ScoreTable,
    reference: Subject,
    others: Mapping[Subject, str],
    *,
    complete: bool = False,
) -> Results | None:
    """What is measured so far; None before the reference is. Comparisons are made once at the end.

    `others` are other publishers' files, with REPOSITORY@COMMIT of each.
    """
    model, scores = job.plan.model, table.scores(reference.sha256)
    if scores is None:
        return None
    source = Built(path=model.source.path, bytes=model.source.bytes, sha256=model.source.sha256)
    rows, other_rows = _tier_rows(job, tiers, table), _other_rows(job, others, table)
    plain = {recipe.tier for recipe in tiers.recipes if recipe.plain}
    names = {row.sha256: row.name for row in (*rows, *other_rows) if row.same_as is None}
    return Results(
        release=model.release,
        origin=model.origin,
        name=None if model.release else job.settings.source.name,
        source_sha256=model.source.sha256,
        architecture=model.architecture,
        windows=tiers.recipes[0].windows,
        tools=job.tools,
        evaluation=replace(table.facts(reference), budget=job.budget),
        calibration=calibration,
        reference=_row(job, reference.name, source, scores, None),
        tiers=tuple(row for row in rows if row.name not in plain),
        baselines=tuple(row for row in rows if row.name in plain),
        others=tuple(other_rows),
        fitted=tiers.fitted,
        comparisons=table.comparisons(names) if complete else (),
        left_out=tuple(
            LeftOut(tier=recipe.tier, recipe=recipe.hash, reason=NO_SMALLER, made=False)
            for recipe in job.plan.left_out
        ),
        imported=tuple(
            row for path in job.settings.evaluation.imported for row in read_imported(path)
        ),
    )


def _tier_rows(job: Job, tiers: TierFiles, table: ScoreTable) -> list[Row]:
    """Rows of the tiers and baselines that are measured; a coinciding tier has its twin's file."""
    return [
        _row(job, recipe.tier, file, scores, recipe)
        for recipe in tiers.recipes
        for file in [tiers.files[recipe.same_as or recipe.tier]]
        if (scores := table.scores(file.sha256)) is not None
    ]


def _other_rows(job: Job, others: Mapping[Subject, str], table: ScoreTable) -> list[Row]:
    return [
        _other_row(job, subject, scores, publisher)
        for subject, publisher in others.items()
        if (scores := table.scores(subject.sha256)) is not None
    ]


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


def _other_row(job: Job, subject: Subject, scores: Scores, publisher: str) -> Row:
    return Row(
        name=subject.name,
        file=subject.path.name,
        bytes=subject.bytes,
        sha256=subject.sha256,
        bits_per_weight=subject.bytes * 8 / job.plan.model.parameters,
        imatrix=False,
        scores=scores,
        publisher=publisher,
    )
