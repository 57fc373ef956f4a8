"""Room that a job asks for: what a stopped run left on the disk counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import CapacityError
from bot.pipeline.job import Job
from bot.pipeline.measure import logits_path
from bot.pipeline.models import Pipeline
from bot.progress import Narrator
from bot.settings import Settings
from bot.workspace import partial_of, taken


def test_a_partial_file_and_logits_are_not_asked_for_again(
    tmp_path: Path, demo_model: Path
) -> None:
    told = {"workdir": tmp_path / "work", "llama": {"threads": 2, "gpu_layers": 0}}
    evaluation = {"reference": "file", "chunks": 4, "context": 128}
    settings = Settings.model_validate({**told, "evaluation": evaluation, "reserve_gb": 1e6})
    pipeline = Pipeline(settings, Narrator(quiet=True), None)
    plan = pipeline.plan(pipeline.model(str(demo_model)), ("Compact",))
    (recipe,) = plan.distinct
    job = Job(pipeline, plan)
    with pytest.raises(CapacityError, match=r"needs 0\.0[1-9] GB and 1000000"):
        job.require_room()
    for path in (partial_of(job.file_of(recipe)), partial_of(logits_path(job))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (plan.predicted(recipe) + 10_000_000))
    with pytest.raises(CapacityError, match=r"needs 0\.00 GB and 1000000"):
        job.require_room()


def test_holes_of_a_file_take_no_room(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert taken(path) < 1_000_000
    assert taken(tmp_path / "none") == 0
