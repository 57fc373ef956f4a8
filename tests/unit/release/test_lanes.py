"""Making and measuring at the same time, in one process, as on a machine with a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.errors import CapacityError
from bot.progress import Narrator
from bot.quantize import tier_files
from bot.records.results import Results
from bot.release import lanes
from bot.release.graph import Resource
from bot.release.road import Request, Road
from bot.release.timeline import Timeline, read_timeline
from bot.settings.settings import load
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.models import model_of

GPU: dict[Resource, str] = {"cpu": "cpu", "gpu": "gpu", "network": "network"}
TIERS = ("Balanced", "I-Compact")


def measured(job: Job) -> Results:
    """As `bot evaluate` has it."""
    request = Request(workplace=job.workplace, model=job.plan.model.name)
    found: Results = Road(request, {"job": job}).value("results")
    return found


def job_of(model: Path, workdir: Path, together: int = 3, **evaluation: Any) -> Job:
    made = load(
        workdir=workdir,
        llama={"threads": 1, "gpu_layers": 0},
        calibration={"context": 128, "chunks": 4},
        evaluation={"context": 128, "chunks": 4, "task_count": 4, **evaluation},
        quantize={"together": together},
    )
    workplace = Workplace(made, Narrator(quiet=True), None)
    return Job(workplace, make_plan(workplace, model_of(workplace, str(model)), TIERS))


def numbers(results: Results) -> list[Any]:
    return [
        (row.sha256, row.scores.perplexity, row.scores.divergence, row.scores.choices)
        for row in (results.reference, *results.tiers)
    ]


@pytest.mark.road
def test_two_lanes_of_one_machine_give_the_numbers_of_one(demo_model: Path, tmp_path: Path) -> None:
    """Each tier has a pass of its own, made beside the measuring of the one before."""
    job = job_of(demo_model, tmp_path / "beside", together=1)
    timeline = Timeline()
    with job.paths.locked():
        timeline.keep_in(job.paths.timeline)
        lanes.run_lanes(job, None, timeline, GPU)
        done = {span.name: span for span in read_timeline(job.paths.timeline).spans}
        results = measured(job)
    assert {span.lane for span in done.values()} == {"cpu", "gpu"}
    assert done["make Balanced"].start < done["importance matrix"].end  # it needs none
    plain = job_of(demo_model, tmp_path / "plain")
    with plain.paths.locked():
        assert numbers(measured(plain)) == numbers(results)


@pytest.mark.road
def test_after_an_error_in_one_lane_the_release_goes_on(demo_model: Path, tmp_path: Path) -> None:
    short: dict[str, Any] = {"reference": "beside", "memory_gb": 0.001}
    job = job_of(demo_model, tmp_path / "work", **short)
    with job.paths.locked(), pytest.raises(CapacityError, match="together need"):
        lanes.run_lanes(job, None, Timeline(), GPU)
    again = job_of(demo_model, tmp_path / "work")
    assert again.key == job.key
    with again.paths.locked():
        lanes.run_lanes(again, None, Timeline(), GPU)
        assert all(tier_files.known_tier(again, tier) for tier in TIERS)
        assert not list(again.paths.release.glob("*.partial"))
