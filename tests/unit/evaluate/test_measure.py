"""The stage of a job's numbers: tiers against their reference, and results.json."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.disk.hashes import sha256
from bot.evaluate.measure import (
    drop_logits,
    evaluate_job,
    logits_of,
    logits_path,
    measure_files,
    measure_reference,
    reference_of,
)
from bot.measures.logits import base_bytes
from bot.records.built import Built
from bot.records.coding import from_json
from bot.records.results import Results, TierFiles
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in

NEEDS = """
import sys
from pathlib import Path
from bot.disk.locks import use
use(Path(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""
FEW = {"context": 128, "chunks": 2, "noise_chunks": 0, "speed": False, "tasks": []}


def job_of(folder: Path, model: Path, tiers: tuple[str, ...], **evaluation: Any) -> Job:
    workplace = workplace_in(
        folder,
        llama={"threads": 2, "gpu_layers": 0},
        evaluation={**FEW, **evaluation},
        demo_texts=True,
    )
    return Job(workplace, make_plan(workplace, model_of(workplace, str(model)), tiers))


def built(path: Path) -> Built:
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))


@pytest.fixture
def job(tmp_path: Path, demo_model: Path) -> Job:
    return job_of(tmp_path, demo_model, ("Balanced", "Compact"))


@pytest.fixture
def tiers(job: Job, tmp_path: Path, demo_model: Path, demo_candidate: Path) -> TierFiles:
    """Files that stand for two tiers: one of 8 bits, and one with their source's weights."""
    copied = Path(shutil.copy(demo_model, tmp_path / "Compact.gguf"))
    with copied.open("ab") as file:
        file.write(bytes(32))  # another hash
    files = {"Balanced": built(demo_candidate), "Compact": built(copied)}
    return TierFiles(files=files, recipes=job.plan.recipes)


@pytest.mark.road
def test_results_hold_every_tier_against_the_reference(
    job: Job, tiers: TierFiles, demo_model: Path
) -> None:
    with job.paths.locked():
        results = evaluate_job(job, tiers, None)
    assert from_json(Results, job.paths.results.read_bytes()) == results
    assert [row.name for row in results.tiers] == [recipe.tier for recipe in job.plan.recipes]
    assert {row.recipe for row in results.tiers} == {recipe.hash for recipe in job.plan.recipes}
    assert (results.reference.name, results.reference.sha256) == ("BF16", sha256(demo_model))
    assert results.reference.scores.divergence is None
    assert all(row.scores.divergence is not None for row in results.tiers)
    assert [comparison.measure for comparison in results.comparisons] == ["kld", "ppl"]
    assert (results.baselines, results.others, results.calibration) == ((), (), None)


@pytest.mark.road
def test_what_is_measured_already_is_not_measured_again(job: Job, tiers: TierFiles) -> None:
    with job.paths.locked():
        measure_reference(job)
        assert logits_path(job).stat().st_size == base_bytes(4096, 128, 2)
        measure_files(job, tiers.files)
        rows = measures(job)
        results = evaluate_job(job, tiers, None)
        assert measures(job) == rows
        job.paths.results.unlink()
        assert evaluate_job(job, tiers, None) == results


def measures(job: Job) -> list[tuple[Any, ...]]:
    """Rows of the ledger's measures."""
    with job.workplace.ledger.reading() as db:
        rows = db.execute("SELECT step, value FROM work WHERE job = 'measures' ORDER BY step")
        return [tuple(row) for row in rows]


@pytest.mark.road
def test_a_coinciding_tier_has_the_row_of_its_twins_file(
    tmp_path: Path, demo_model: Path, demo_candidate: Path
) -> None:
    job = job_of(tmp_path, demo_model, ("Quality", "I-Quality"))
    distinct = {recipe.tier for recipe in job.plan.distinct}
    files = {tier: built(demo_candidate) for tier in distinct}
    with job.paths.locked():
        results = evaluate_job(job, TierFiles(files=files, recipes=job.plan.recipes), None)
    assert {row.sha256 for row in results.tiers} == {sha256(demo_candidate)}
    assert [row.same_as for row in results.tiers] == [r.same_as for r in job.plan.recipes]


def test_the_reference_is_the_models_own_file(job: Job, demo_model: Path) -> None:
    reference = reference_of(job)
    assert (reference.name, reference.bytes) == ("BF16", demo_model.stat().st_size)
    assert reference.sha256 == sha256(demo_model)


def test_one_job_leaves_another_its_log_probabilities(tmp_path: Path, demo_model: Path) -> None:
    job = job_of(tmp_path, demo_model, ("Compact",))
    path = logits_path(job)
    path.write_bytes(b"x")
    command = [sys.executable, "-c", NEEDS, str(path.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        drop_logits(job)
        assert logits_of(job) == path  # the other one still needs it
        other.communicate()
    drop_logits(job)
    assert logits_of(job) is None
