"""A budget: refused where it says nothing, settled once, then plain settings with numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.errors import BuildError, SettingsError
from bot.evaluate.costing import budgeting
from bot.evaluate.costing.budgeting import budget_line, budget_of, settled, times_within
from bot.evaluate.costing.measure_costs import MeasureCost
from bot.evaluate.data import find_tasks
from bot.evidence import CHUNKS, LEVEL, TASKS, fewest_chunks, pairs
from bot.release.road import Request, Road
from bot.settings.settings import load
from bot.store.ledger import Ledger
from bot.store.paces import PACES, Pace, PastWork, host_of, keep_pace
from bot.workplace.job import Job, tools_of
from bot.workplace.workplace import Workplace
from tests.models import workplace_in

PACE = Pace(seconds=2.0, deviation=0.5, samples=3, origin="measured")
TEXT = MeasureCost(
    measure="PPL and KLD, wiki", files=2, unit="chunks", units=200, tokens=102_400, pace=PACE,
    setting="evaluation.chunks", least=12, step=4,
)  # fmt: skip
REFERENCE = replace(TEXT, measure="reference, wiki", files=1)
SET = MeasureCost(
    measure="HellaSwag", files=3, unit="tasks", units=400, tokens=40_000, pace=PACE.times(0.5),
    setting="evaluation.task_count", least=100,
)  # fmt: skip
NOISE = MeasureCost(
    measure="noise floor", files=1, unit="chunks", units=16, tokens=8_192, pace=PACE
)
COSTS = (REFERENCE, TEXT, NOISE, SET)


def test_a_budget_is_kept_to_and_its_numbers_are_those_of_the_rule() -> None:
    budget = budget_of(COSTS, 20.0)
    text, tasks = budget.shares
    assert (text.measures, text.of, tasks.of) == (("reference, wiki", TEXT.measure), 200, 400)
    assert (text.setting, tasks.setting) == ("evaluation.chunks", "evaluation.task_count")
    assert budget.rest_seconds == 32.0
    assert 12 <= text.taken <= 200
    assert text.taken % 4 == 0
    assert text.seconds == pytest.approx(6 * text.taken)
    assert tasks.seconds == pytest.approx(3 * tasks.taken)
    assert text.seconds + tasks.seconds + 32 <= 1_200
    assert text.seconds + tasks.seconds + 32 > 1_200 - 6 * 4 - 3
    # n / sqrt(N / c): 200 chunks of 6 seconds, 400 tasks of 3
    ratio = (text.taken / (200 / 6) ** 0.5) / (tasks.taken / (400 / 3) ** 0.5)
    assert ratio == pytest.approx(1, abs=0.06)
    assert budget.origin == "measured"
    assert budget_line(budget) == (
        f"20 minutes to measure in: {text.taken} of 200 chunks of wiki, {tasks.taken} of 400 "
        "tasks of HellaSwag"
    )


def test_more_than_enough_takes_all_there_is() -> None:
    assert [share.taken for share in budget_of(COSTS, 1e6).shares] == [200, 400]


def test_what_says_nothing_is_refused_with_what_it_would_take() -> None:
    # 12 chunks of 6 s, 100 tasks of 3 s, and 32 s: 404 s
    with pytest.raises(SettingsError) as refused:
        budget_of(COSTS, 6.7)
    words = str(refused.value)
    assert "evaluation.budget_minutes: 6.7 is too little" in words
    assert "takes 6.7 (12 chunks of PPL and KLD, wiki: 1.2, 100 tasks of HellaSwag: 5.0" in words
    assert words.endswith("set 6.8 or more, or measure less")
    assert [share.taken for share in budget_of(COSTS, 6.8).shares] == [12, 100]


def test_the_fewest_chunks_can_tell_one_pair_of_all() -> None:
    assert [fewest_chunks(pairs(rows) * 3) for rows in (0, 1, 2, 9)] == [CHUNKS, CHUNKS, 10, 13]
    for claims in (1, 20, 108, 300):
        n = fewest_chunks(claims)
        assert 2 * claims / 2**n < LEVEL
        assert n == CHUNKS or 2 * claims / 2 ** (n - 1) >= LEVEL
    assert fewest_chunks(10**6) == 15
    assert TASKS == 100


def test_settled_settings_name_the_numbers_and_have_no_budget(tmp_path: Path) -> None:
    data = {
        name: {"kind": kind, "path": "x", "sha256": "0" * 64, "licence": "MIT", **more}
        for name, kind, more in (
            ("arc", "multiple-choice", {"count": 900}),
            ("chats", "conversations", {}),
        )
    }
    evaluation = {
        "budget_minutes": 20, "tasks": ["arc"], "chunks": 300,
        "domains": {"chat": {"data": "chats", "chunks": 64, "context": 1024}},
    }  # fmt: skip
    settings = load(None, workdir=tmp_path, data=data, evaluation=evaluation)
    of_set = replace(SET, setting="data.arc.count", units=900)
    of_chat = replace(TEXT, measure="PPL and KLD, chat", setting="evaluation.domains.chat.chunks")
    budget = budget_of((REFERENCE, TEXT, of_chat, of_set), 20.0)
    text, chat, arc = (share.taken for share in budget.shares)
    new = settled(settings, budget)
    assert new.evaluation.budget_minutes is None
    assert (new.evaluation.chunks, new.data["arc"].count) == (text, arc)
    assert (new.evaluation.domains["chat"].chunks, new.evaluation.domains["chat"].context) == (
        chat,
        1024,
    )
    assert new.evaluation.task_count == settings.evaluation.task_count
    assert new.data["chats"] == settings.data["chats"]


def test_times_are_cut_to_what_a_budget_has_room_for() -> None:
    whole = times_within(COSTS, None)
    assert (whole.costs, whole.budget) == (COSTS, None)
    cut = times_within(COSTS, 20.0)
    assert cut.budget is not None
    counts = {share.setting: share.taken for share in cut.budget.shares}
    assert [cost.units for cost in cut.costs] == [
        counts["evaluation.chunks"], counts["evaluation.chunks"], 16,
        counts["evaluation.task_count"],
    ]  # fmt: skip
    assert sum(cost.seconds for cost in cut.costs) <= 1_200
    assert cut.costs[3].tokens == 100 * cut.costs[3].units
    assert TEXT.deviation == 2 * 200 * 0.5


# ── of a job ────────────────────────────────────────────────────────────────────────────────


def at_work(folder: Path, minutes: float = 3.0, **evaluation: Any) -> Workplace:
    return workplace_in(
        folder,
        llama={"threads": 2, "gpu_layers": 0},
        evaluation={"context": 128, "budget_minutes": minutes, "noise_chunks": 0, **evaluation},
        demo_texts=True,
    )


def walk(workplace: Workplace, model: Path) -> Road:
    return Road(Request(workplace=workplace, model=str(model), tiers=("Balanced", "Compact")))


def pace(workplace: Workplace, family: str, *, chunk: float, task: float) -> None:
    """As if such files had been measured here before."""
    host = host_of(tools_of(workplace.settings), workplace.settings.llama)
    common = {"family": family, "data": None, "context": 128, "host": host}
    for kind, seconds in (("perplexity", chunk), ("divergence", chunk)):
        work = PastWork(kind=kind, units=10, seconds=10 * seconds, **common)  # type: ignore[arg-type]
        keep_pace(workplace.ledger, "before", work)
    data = find_tasks(workplace)[0]
    of_set = {**common, "data": data.text.sha256, "kind": data.label}
    keep_pace(workplace.ledger, "before", PastWork(units=10, seconds=10 * task, **of_set))  # type: ignore[arg-type]


@pytest.fixture
def job(tmp_path: Path, demo_model: Path) -> Iterator[Job]:
    """A job of the demo's model, on a machine whose paces are known."""
    workplace = at_work(tmp_path)
    with walk(workplace, demo_model) as road:
        made: Job = road.value("job")
        pace(workplace, made.plan.model.source.sha256, chunk=0.5, task=0.2)
        yield made


def test_a_budget_is_settled_once_and_stands_whatever_the_machine_does(job: Job) -> None:
    before = job.key, job.order.asked, job.workplace.hub, job.workplace.ledger
    budget = budgeting.settle(job)
    assert budget is not None
    text, tasks = budget.shares
    # 3 files: 1.5 s a chunk, 0.6 s a task; the least is 10 and 100
    assert (text.of, tasks.of) == (205, 200)
    assert 10 <= text.taken < 205
    assert 100 <= tasks.taken < 200
    assert text.seconds + tasks.seconds <= 180
    assert (job.settings.evaluation.chunks, job.settings.evaluation.task_count) == (
        text.taken,
        tasks.taken,
    )
    assert job.workplace.settings is job.settings
    assert (job.key, job.order.asked, job.workplace.hub, job.workplace.ledger) == before
    assert budgeting.settle(job) == budget
    # the machine is ten times slower by now, and the run goes on
    again = at_work(job.workplace.folders.root.parent)
    assert again.settings.workdir == job.workplace.settings.workdir
    pace(again, job.plan.model.source.sha256, chunk=5.0, task=2.0)
    assert budgeting.settle(Job(again, job.plan)) == budget


def test_another_job_of_a_workflow_takes_it_over_and_never_chooses(
    job: Job, tmp_path: Path
) -> None:
    budget = budgeting.settle(job)
    settings = at_work(tmp_path).settings
    ledger = Ledger(tmp_path / "group.sqlite", root=job.workplace.folders.root)
    elsewhere = job.workplace.beside(settings, ledger)
    other = Job(elsewhere, job.plan, key=job.key)
    with pytest.raises(BuildError, match="did not settle its budget; rerun all jobs"):
        budgeting.settle(other, choosing=False)
    ledger.take(work for work in job.workplace.ledger.work() if work.job != PACES)
    assert budgeting.settle(other, choosing=False) == budget
    assert other.evaluation == job.evaluation
    assert other.order.asked == job.order.asked


def test_another_budget_is_another_job_and_its_numbers_are_in_every_key(
    job: Job, tmp_path: Path
) -> None:
    other = Job(at_work(tmp_path, minutes=4.0), job.plan)
    assert other.key != job.key
    unsettled = job.evaluation
    assert unsettled["minutes"] == 3.0
    budgeting.settle(job)
    assert "minutes" not in job.evaluation
    assert job.evaluation["chunks"] == job.settings.evaluation.chunks != unsettled["chunks"]
    more, less = budgeting.settle(other), job.budget
    assert more is not None
    assert less is not None
    assert sum(one.taken for one in more.shares) > sum(one.taken for one in less.shares)


def test_without_a_budget_nothing_is_settled(tmp_path: Path, job: Job) -> None:
    plain = workplace_in(tmp_path, evaluation={"context": 128}, demo_texts=True)
    other = Job(plain, job.plan)
    assert budgeting.settle(other) is None
    assert other.workplace is plain
    assert other.settings is plain.settings


def test_a_model_that_fits_no_budget_is_refused_before_it_is_measured(
    job: Job, tmp_path: Path
) -> None:
    other = Job(at_work(tmp_path, minutes=0.5), job.plan)
    with pytest.raises(SettingsError, match=r"takes 1\.2 \(10 chunks of PPL and KLD, eval.*: 0\.2"):
        budgeting.settle(other)
    assert json.loads(json.dumps(other.evaluation))["minutes"] == 0.5
