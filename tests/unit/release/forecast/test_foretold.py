"""A release foretold: its tasks, their times, disk and line; and held beside what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.errors import SettingsError
from bot.evaluate.costing.measure_costs import UnknownPaceError
from bot.measures.logits import base_bytes
from bot.progress import Narrator
from bot.quantize.tier_files import passes
from bot.release.forecast.foreseeing import forecast_here, forecast_on
from bot.release.forecast.planned import planned_tasks
from bot.release.timeline import PastTimeline, Timeline, read_timeline, timeline_text
from bot.settings.settings import load
from bot.store.paces import SEND, PastWork, keep_pace
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.models import model_of

TIERS = ("Balanced", "I-Compact")
BOX = {"price_hour": 2.0, "down_mbit": 80.0, "up_mbit": 8.0}


def workplace_in(folder: Path, *, reference: str = "auto", **more: Any) -> Workplace:
    settings = load(
        workdir=folder,
        llama={"threads": 1, "gpu_layers": 0},
        calibration={"context": 128, "chunks": 4},
        evaluation={"context": 128, "chunks": 4, "task_count": 4, "reference": reference},
        runners={"box": BOX},
        **more,
    )
    return Workplace(settings, Narrator(quiet=True), None)


def test_on_a_runner_of_settings_nothing_is_loaded(demo_model: Path, tmp_path: Path) -> None:
    workplace = workplace_in(tmp_path)
    plan = make_plan(workplace, model_of(workplace, str(demo_model)), TIERS)
    forecast = forecast_on(workplace, plan, "box")
    sixteen = demo_model.stat().st_size
    sizes = [plan.predicted(recipe) for recipe in plan.distinct]
    assert forecast.sent_bytes == sum(sizes)
    assert forecast.fetched_bytes == sixteen
    assert forecast.unknown == ()
    seconds = {task.name: task.seconds for task in forecast.tasks}
    assert seconds["send Balanced"] == pytest.approx(sizes[0] / 1e6)
    assert seconds["local"] > sixteen / 1e7, "it is fetched, and its size converted"
    assert forecast.disk_bytes > 2 * sixteen + sum(sizes)
    begun, _ = forecast.times["importance matrix"]
    assert begun >= seconds["local"]
    assert forecast.seconds == max(end for _, end in forecast.times.values())
    with pytest.raises(SettingsError, match="runners has no other \\(it has box\\)"):
        forecast_on(workplace, plan, "other")
    one_by_one = {**BOX, "disk_gb": 0.05}
    small = workplace_in(tmp_path, quantize={"together": 1})
    small = small.with_settings(load(
        **{**small.settings.model_dump(exclude_unset=True), "runners": {"box": one_by_one}}
    ))  # fmt: skip
    later = forecast_on(small, plan, "box").times
    assert later["make I-Compact"][0] >= later["send Balanced"][1], "the disk holds one at a time"


@pytest.mark.road
def test_without_anything_known_nothing_is_foretold_but_after_a_trial(
    demo_model: Path, tmp_path: Path
) -> None:
    workplace = workplace_in(tmp_path)
    plan = make_plan(workplace, model_of(workplace, str(demo_model)), TIERS)
    with pytest.raises(UnknownPaceError, match="nobody knows how fast"):
        forecast_here(workplace, plan, tries=False)
    forecast = forecast_here(workplace, plan)
    assert forecast.unknown == ("send Balanced", "send I-Compact"), "nothing was sent from here"
    sent = PastWork(kind=SEND, units=1_000_000, seconds=1.0)
    keep_pace(workplace.ledger, "some", sent)
    known = forecast_here(workplace, plan, tries=False)
    assert known.unknown == ()
    planned = planned_tasks(
        plan, passes(plan, None), one_lane=True, one_by_one=False, sends=True)  # fmt: skip
    names = [task.name for task in known.tasks]
    assert names == [*(task.name for task in planned), "results", "files", "published"]
    measured = {task.name: task.seconds for task in known.tasks}
    assert all(measured[name] > 0 for name in names if name.startswith(("make", "measure")))
    freeing = workplace_in(tmp_path, publish={"free": "always"})
    freed = forecast_here(freeing, plan, tries=False)
    assert freed.times["make I-Compact"][0] >= freed.times["send Balanced"][1], "it needs its room"
    assert known.times["make I-Compact"][0] < known.times["send Balanced"][1]
    sizes = {recipe.tier: plan.predicted(recipe) for recipe in plan.distinct}
    assert known.disk_bytes - freed.disk_bytes == min(sizes.values())
    written = base_bytes(plan.model.architecture.vocabulary, 128, 4)
    assert known.disk_bytes == sum(sizes.values()) + written, "the reference's file lies beside"
    beside = workplace_in(tmp_path, reference="beside")
    assert forecast_here(beside, plan, tries=False).disk_bytes == sum(sizes.values())


def test_a_timeline_holds_what_was_foreseen_beside_what_it_took(tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    for run in (1, 2):
        timeline = Timeline()
        timeline.keep_in(path)
        assert timeline.is_first == (run == 1)
        timeline.foresee({"make a": 90.0 * run}, 100.0 * run)
        with timeline.on("make a", "cpu"):
            pass
        with timeline.on("send a", "network"):
            pass
    past = read_timeline(path)
    assert [(seen.run, seen.seconds, seen.whole) for seen in past.foreseen] == [
        (1, {"make a": 90.0}, 100.0), (2, {"make a": 180.0}, 200.0)]  # fmt: skip
    lines = timeline_text(past, 80).splitlines()
    assert lines[0].split() == ["start", "seconds", "predicted", "on"]
    assert lines[1].split()[2:4] == ["180.0", "cpu"]
    assert lines[2].split()[2] == "network", "of which nothing was foreseen"
    assert lines[-1].startswith("predicted   200.0 s for what took 0.0 s")
    plain = timeline_text(PastTimeline(spans=past.spans), 80)
    assert "predicted" not in plain
