"""A job's importance matrix: calibrated or taken ready, recipes that follow it, facts about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files import gguf
from bot.clients.llama.observer import Stats
from bot.errors import RefusedError, SourceError
from bot.quantize import calibrating, imatrix, tier_files
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in
from tests.unit.quantize.test_tier_files import write_matrix

CONTEXT, CHUNKS = 128, 4
MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(demo_model: Path, tmp_path: Path) -> MakeJob:
    """Jobs in one workplace, with few chunks of the demo's texts."""

    def make(*tiers: str, calibration: dict[str, object] | None = None, **settings: object) -> Job:
        workplace = workplace_in(
            tmp_path,
            llama={"threads": 2, "gpu_layers": 0},
            calibration={"context": CONTEXT, "chunks": CHUNKS, **(calibration or {})},
            demo_texts=True,
            **settings,
        )
        return Job(workplace, make_plan(workplace, model_of(workplace, str(demo_model)), tiers))

    return make


def test_tiers_without_a_matrix_ask_for_none(make_job: MakeJob) -> None:
    job = make_job("Compact")
    assert calibrating.job_matrix(job) is None
    assert calibrating.facts(job) is None


def test_a_matrix_is_made_once_and_its_facts_are_told(make_job: MakeJob) -> None:
    job = make_job("I-Compact")
    assert calibrating.known_matrix(job) is None
    built = calibrating.job_matrix(job)
    assert built is not None
    assert calibrating.known_matrix(make_job("I-Compact")) == built
    facts = calibrating.facts(job)
    assert facts is not None
    assert (facts.context, facts.chunks, facts.sha256) == (CONTEXT, CHUNKS, built.sha256)
    assert sum(facts.taken) == CHUNKS
    assert len(facts.texts) == len(facts.taken)
    assert (facts.file, facts.bytes) == ("imatrix.gguf_file", Path(built.path).stat().st_size)
    assert len(facts.coverage) == job.plan.model.architecture.layers
    names = imatrix.read_matrix(Path(built.path)).datasets
    assert all("sha256:" in name and "/" not in name for name in names)


def test_a_ready_file_is_taken_as_it_is(
    make_job: MakeJob, demo_model: Path, tmp_path: Path
) -> None:
    ready = write_matrix(tmp_path / "ready.gguf", demo_model)
    job = make_job("I-Compact", calibration={"file": ready})
    built = calibrating.job_matrix(job)
    assert built is not None
    assert Path(built.path).read_bytes() == ready.read_bytes()
    facts = calibrating.facts(job)
    assert facts is not None
    assert (facts.given, facts.texts, facts.taken) == (("made-up.txt",), (), ())


def test_a_ready_file_of_another_model_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    ready = tmp_path / "other.gguf"
    statistics = {"blk.0.other.weight": Stats(np.ones((1, 4), np.float32), np.ones(1, np.int64))}
    imatrix.write_matrix(ready, statistics, (), 3, 512)
    with pytest.raises(SourceError, match="knows no tensor of this model"):
        calibrating.job_matrix(make_job("I-Compact", calibration={"file": ready}))


@pytest.mark.parametrize("missing_data", ["next", "refuse"])
def test_types_without_data_are_raised_where_settings_say_so(
    make_job: MakeJob, demo_model: Path, tmp_path: Path, missing_data: str
) -> None:
    """I-Nano has types below 3 bits in its experts; the matrix knows one tensor alone."""
    ready = write_matrix(tmp_path / "ready.gguf", demo_model, tensors=1)
    quantize = {"missing_data": missing_data, "missing_share": 1.0}
    job = make_job("I-Nano", calibration={"file": ready}, quantize=quantize)
    built = calibrating.job_matrix(job)
    (planned,) = (recipe for recipe in job.plan.recipes if recipe.tier == "I-Nano")
    (settled,) = (r for r in calibrating.settled(job, built) if r.tier == "I-Nano")
    facts = calibrating.facts(job)
    assert facts is not None
    assert (settled == planned) == (missing_data == "refuse")
    assert bool(facts.raised) == (missing_data == "next")
    assert facts.gaps[0].tier == "I-Nano"
    assert built is not None
    refused = pytest.raises(RefusedError, match="has no data")
    with refused if missing_data == "refuse" else nullcontext():  # before any tier is made
        tier_files.require_data(job, built)


@pytest.mark.road
def test_a_matrix_has_a_row_for_each_expert(make_job: MakeJob, demo_model: Path) -> None:
    job = make_job("I-Compact")
    built = calibrating.job_matrix(job)
    assert built is not None
    matrix = calibrating.matrix_of(job, built)
    for tensor in gguf.read_gguf(demo_model).tensors:
        if tensor.name.endswith("_exps.weight"):
            assert matrix.counts[tensor.name].shape == (tensor.shape[2],)


def test_a_matrix_made_of_other_line_ends_is_made_again(make_job: MakeJob, tmp_path: Path) -> None:
    """Older bots read CR LF as LF: the same hash, another text."""
    path = tmp_path / "chat.txt"
    path.write_bytes(b"Good day.\r\n" * 9)
    job = make_job("I-Mini", calibration={"texts": [{"path": str(path)}]})
    job.paths.imatrix.parent.mkdir(parents=True)
    job.paths.imatrix.write_bytes(b"made by an older bot")
    older = {**(job.calibration or {}), "source": job.plan.model.source.sha256}
    ledger, paths = job.workplace.ledger, [job.paths.imatrix]
    record = partial(ledger.record, job.key, "imatrix", paths=paths, value=[1])
    record(inputs=older)
    assert calibrating.known_matrix(job) is None
    record(inputs={**older, "reading": calibrating.READING})
    assert calibrating.known_matrix(job) is not None
