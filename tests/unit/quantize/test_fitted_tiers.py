"""Tiers of a size: made from probes of the model, never above it, gone on with after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.clients.files.gguf import read_gguf
from bot.errors import SettingsError
from bot.quantize import calibrating, fitted_tiers, tier_files
from bot.quantize.fitted_tiers import FOUND
from bot.quantize.fitting_cost import costs_ahead
from bot.records.coding import from_json
from bot.records.sensitivity import Sensitivity
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in
from tests.split_gguf import shrink
from tests.unit.quantize.test_tier_files import write_matrix

MakeJob = Callable[..., Job]
TYPES = ("Q8_0", "Q6_K", "Q4_K", "Q3_K", "Q2_K")
FIT = {"chunks": 2, "context": 32, "probes": 8, "rounds": 1, "types": TYPES}


@pytest.fixture(scope="module")
def small(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    shrink(demo_model, path, layers=4, experts=3)
    return path


@pytest.fixture
def make_job(small: Path, tmp_path: Path) -> MakeJob:
    """Jobs in one workplace."""
    matrix = write_matrix(tmp_path / "matrix.gguf", small)

    def make(*tiers: str, **fit: object) -> Job:
        workplace = workplace_in(
            tmp_path,
            llama={"threads": 2, "gpu_layers": 0},
            calibration={"file": matrix},
            demo_texts=True,
            isolation="none",
            fit={**FIT, **fit},
        )
        return Job(workplace, make_plan(workplace, model_of(workplace, str(small)), tiers))

    return make


def found_lines(tmp_path: Path) -> list[str]:
    (path,) = (tmp_path / "work" / "measures").rglob(FOUND)
    return path.read_text().splitlines()


@pytest.mark.road
def test_a_file_is_as_large_as_was_asked_and_no_larger(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("I-Quality", "Fit-I-Quality", "Fit-4.1bits")
    with job.paths.locked():
        made = tier_files.tier_files_of(job)
    like, bits = made.fitted
    assert like.asked_bytes == made.files["I-Quality"].bytes
    for fit in made.fitted:
        file = made.files[fit.tier]
        assert fit.asked_bytes * 0.99 <= file.bytes <= fit.asked_bytes  # 45 tensors fill no size
        stored = {t.name: t.type for t in read_gguf(Path(file.path)).tensors}
        assert {name: stored[name] for name in fit.types} == fit.types
        assert {*fit.types.values()} <= {*TYPES, "BF16"}
    assert (like.like, like.like_bytes) == ("I-Quality", like.asked_bytes)
    assert like.like_measured is not None
    assert like.like_types.keys() == like.types.keys()
    path = job.paths.release / "sensitivity.json"
    sensitivity = from_json(Sensitivity, path.read_text())
    assert len(sensitivity.groups) <= 8
    assert {name for group in sensitivity.groups for name in group} == {*bits.types}
    assert sensitivity.rounding.keys() == bits.types.keys()
    assert str(tmp_path) not in path.read_text()


@pytest.mark.road
def test_another_size_costs_no_probe_of_a_group(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("Fit-5bits", rounds=0)
    assert costs_ahead(job).known == 0
    with job.paths.locked():
        matrix = calibrating.job_matrix(job)
        assert matrix is not None
        fitted_tiers.fitted_of(job, matrix)
    before = found_lines(tmp_path)
    other = make_job("Fit-3.5bits", rounds=0)
    with other.paths.locked():
        matrix = calibrating.job_matrix(other)
        assert matrix is not None
        ahead = costs_ahead(other)
        fitted_tiers.fitted_of(other, matrix)
    new = [json.loads(line) for line in found_lines(tmp_path)[len(before) :]]
    assert ahead.known == ahead.probes
    assert len(new) == 3  # the choice; the tier by roles beside it, as it is and made to fit
    assert all(len(each["probe"]["types"]) == ahead.tensors for each in new)


@pytest.mark.road
@pytest.mark.parametrize("kept", [0, 1, 30, -3, -1])
def test_a_killed_run_goes_on_and_ends_with_the_same(
    make_job: MakeJob, tmp_path: Path, kept: int
) -> None:
    job = make_job("Fit-4bits")
    with job.paths.locked():
        matrix = calibrating.job_matrix(job)
        assert matrix is not None
        whole = fitted_tiers.fitted_of(job, matrix)
        text = (job.paths.release / "sensitivity.json").read_text()
        (path,) = (tmp_path / "work" / "measures").rglob(FOUND)
        lines = path.read_text().splitlines(keepends=True)
        # as a kill leaves it: some whole lines and the beginning of one
        path.write_text("".join(lines[:kept]) + lines[kept][:40])
        (job.paths.release / "sensitivity.json").unlink()
        with job.workplace.ledger.writing() as db:  # a tier is known when it is wholly fitted
            db.execute("DELETE FROM work WHERE step = 'fit Fit-4bits'")
        assert fitted_tiers.fitted_of(job, matrix) == whole
        assert (job.paths.release / "sensitivity.json").read_text() == text
        assert sorted(path.read_text().splitlines(keepends=True)) == sorted(lines)
        (job.paths.release / "sensitivity.json").unlink()
        assert fitted_tiers.fitted_of(job, matrix) == whole  # known, and its file is not there
        assert (job.paths.release / "sensitivity.json").read_text() == text


@pytest.mark.parametrize(
    "line", ["{}", "[]", '{"probe": {"types": 3}}', '{"probe": {}, "x": 1}', "\0"]
)
def test_what_a_folder_holds_that_is_no_record_is_not_there(tmp_path: Path, line: str) -> None:
    good = '{"rounded": {"tensor": "a", "errors": {"Q4_K": 0.1}, "energy": 2.0}}\n'
    path = tmp_path / FOUND
    path.write_text(good + line + "\n" + good.replace('"a"', '"b"'))
    found = fitted_tiers.read_found(path)
    assert [*found] == ["a"]
    assert path.read_text() == good


def test_a_size_that_no_types_fit_into_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(SettingsError, match="the smallest types take"):
        make_job("Fit-0.001GB")


@pytest.mark.road
def test_a_text_that_is_too_short_is_named(make_job: MakeJob) -> None:
    job = make_job("Fit-5bits", chunks=1000, context=4096)
    with job.paths.locked():
        matrix = calibrating.job_matrix(job)
        assert matrix is not None
        with pytest.raises(SettingsError, match=r"not 1000; .*lower fit\.chunks"):
            fitted_tiers.fitted_of(job, matrix)
