"""What may not be handed on is known before any work; what another bot published, before ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.errors import GateError
from bot.gate import gating
from bot.progress import Narrator
from bot.records.coding import to_json
from bot.records.results import Results
from bot.settings.settings import load
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub, regular
from tests.models import model_of, workplace_in
from tests.unit.gate.test_verdicts import changed, sample

SOUND = {row.name: ("", None) for row in sample().tiers}


def test_a_file_without_a_licence_is_published_by_nobody(tmp_path: Path, demo_model: Path) -> None:
    with pytest.raises(GateError, match=r"names no licence.*--license.*--private"):
        gating.require_allowed(workplace_in(tmp_path), str(demo_model), "main")
    for settings in ({"source": {"license": "mit"}}, {"publish": {"private": True}}):
        gating.require_allowed(workplace_in(tmp_path, **settings), str(demo_model), "main")
    closed = workplace_in(tmp_path, source={"license": "cc-by-nd-4.0"})
    with pytest.raises(GateError, match="forbids"):
        gating.require_allowed(closed, str(demo_model), "main")


@pytest.fixture
def job(tmp_path: Path, hub: Hub, demo_model: Path) -> Job:
    """A job of a file, which publishes to a Hub."""
    settings = load(None, workdir=tmp_path / "work", hub={"endpoint": hub.url})
    workplace = Workplace(settings, Narrator(quiet=True), SecretStr(hub.token))
    job = Job(workplace, make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",)))
    job.paths.release.mkdir(parents=True)
    return job


def results_on(hub: Hub, repo: str, results: Results) -> None:
    assert hub.commit(repo, regular("results.json", to_json(results).encode())).status == 200


def test_results_that_another_bot_published_meanwhile_stop_the_release(job: Job, hub: Hub) -> None:
    repo = hub.create("M-GGUF")
    gating.note_before(job, repo)
    results_on(hub, repo, replace(sample(), name="of another bot"))
    with pytest.raises(GateError, match="got other results from another bot meanwhile"):
        gating.passed(job, sample(), SOUND, repo)
    assert "FAILED" in job.paths.gate.read_text()
    gating.note_before(job, repo)  # the next run knows of them, and replaces them
    assert gating.passed(job, sample(), SOUND, repo) == sample()


@pytest.mark.parametrize("meanwhile", [False, True])
def test_results_that_were_there_or_are_the_same_stop_nothing(
    job: Job, hub: Hub, meanwhile: bool
) -> None:
    repo = hub.create("M-GGUF")
    if not meanwhile:
        results_on(hub, repo, replace(sample(), name="of an earlier time"))
    gating.note_before(job, repo)
    if meanwhile:
        results_on(hub, repo, sample())
    assert gating.passed(job, sample(), SOUND, repo) == sample()


def test_results_without_the_tiers_that_are_left_out_are_those_of_the_file(
    job: Job, hub: Hub
) -> None:
    results = changed("I-Mini", mean=2.0)
    looks = {**SOUND, "Compact": ("speech", "repeats 'a' without end")}
    good = gating.passed(job, results, looks, hub.create("M-GGUF"))
    assert {row.tier for row in good.left_out} == {"I-Mini", "Compact"}
    assert {"I-Mini", "Compact"}.isdisjoint(row.name for row in good.tiers)
    assert job.paths.results.read_text() == to_json(good)
    assert "repeats 'a' without end" in job.paths.gate.read_text()
