"""The list of a release's stages: what each needs is made before it, of the kind it asks for."""

from __future__ import annotations

from inspect import signature
from typing import Any, get_type_hints

import pytest

from bot.release import road
from bot.release.road import BY_NAME, STAGES, Request, Stage, needed

KINDS = {stage.makes: get_type_hints(stage.work)["return"] for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.makes)
def test_what_a_stage_needs_is_made_before_it(stage: Stage) -> None:
    before = [one.makes for one in STAGES[: STAGES.index(stage)]]
    assert set(stage.needs) <= set(before)
    for work in (stage.work, *([stage.known] if stage.known else [])):
        hints = get_type_hints(work)
        for name in signature(work).parameters:
            assert hints[name] == (Request if name == "request" else KINDS[name]), name


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.makes)
def test_a_stage_is_called_as_what_it_makes(stage: Stage) -> None:
    assert stage.work.__name__ == stage.makes
    assert getattr(road, stage.makes) is stage.work
    assert stage.work.__doc__


def test_what_is_known_before_is_of_the_same_kind() -> None:
    for stage in STAGES:
        if stage.known is not None:
            assert get_type_hints(stage.known)["return"] == KINDS[stage.makes] | None


@pytest.mark.parametrize(
    ("value", "without"),
    [
        ("order", {"local", "job"}),
        ("model", {"job", "tiers"}),
        ("calibration", {"tiers", "results", "side_by_side"}),
        ("tiers", {"results", "repo_id", "published"}),
        ("results", {"looks", "repo_id", "files"}),
        ("verdict", {"published", "good", "side_by_side"}),
    ],
)
def test_a_verb_takes_no_stage_that_it_does_not_need(value: str, without: set[str]) -> None:
    found = [stage.makes for stage in needed(value)]
    assert found[-1] == value
    assert not without & set(found)
    assert found == [stage.makes for stage in STAGES if stage.makes in found]


def test_what_is_there_already_takes_no_stage_before_it() -> None:
    stages = [stage.makes for stage in needed("files", {"job", "repo_id", "begun"})]
    made = [
        "budget",
        "matrix",
        "calibration",
        "fitted",
        "tiers",
        "drafter",
        "results",
        "looks",
        "good",
        "files",
    ]
    assert stages == made


def test_publishing_takes_every_stage_but_what_only_verbs_and_jobs_ask_for() -> None:
    asked = {stage.makes for stage in needed("followed")}
    assert BY_NAME.keys() - asked == {"verdict", "reference"}


class Told(Exception):
    """A stage that was reached."""


def test_what_is_known_spares_all_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Any:
        raise Told

    stages = (
        Stage(makes="fetched", lane="network", work=never),
        Stage(makes="built", lane="cpu", work=lambda fetched: fetched, known=lambda: "kept"),
        Stage(makes="after", lane="cpu", work=lambda built: f"{built} and more"),
    )
    monkeypatch.setattr(road, "STAGES", stages)
    monkeypatch.setattr(road, "BY_NAME", {stage.makes: stage for stage in stages})
    made = road.Road(Request(workplace=None, model="m"), {"job": None})  # type: ignore[arg-type]
    assert made.value("after") == "kept and more"
    assert made.value("built") == "kept"
    with pytest.raises(Told):
        made.value("fetched")


def test_what_took_long_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine may have finished meanwhile."""
    seen: list[str] = []

    def known() -> str | None:
        seen.append("asked")
        return "theirs" if "long" in seen else None

    def long() -> str:
        seen.append("long")
        return "made"

    stages = (
        Stage(makes="long", lane="cpu", work=long, long=True),
        Stage(makes="card", lane="cpu", work=lambda: seen.append("card"), after=("long",)),
        Stage(makes="sent", lane="network", work=lambda: "ours", known=known, after=("card",)),
        Stage(makes="after", lane="cpu", work=lambda sent: f"{sent} and more"),
    )
    monkeypatch.setattr(road, "STAGES", stages)
    monkeypatch.setattr(road, "BY_NAME", {stage.makes: stage for stage in stages})
    made = road.Road(Request(workplace=None, model="m"), {"job": None})  # type: ignore[arg-type]
    assert made.value("after") == "theirs and more"
    assert seen == ["asked", "long", "asked"]


def test_who_may_not_hand_it_on_is_told_so_though_it_is_published() -> None:
    known = BY_NAME["published"].known
    assert known is not None
    assert "allowed" in signature(known).parameters
