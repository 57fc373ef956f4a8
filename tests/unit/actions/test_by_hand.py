"""Runs on a local GitHub that a person orders, looks at, stops and repeats."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.actions.by_hand import Desk, numbered, order_run, run_text, runs_text
from bot.actions.trigger import UNLISTED
from bot.clients.hub.hub import Hub as Client
from bot.errors import AccessError, SettingsError, SourceError
from bot.progress import Narrator
from bot.settings.settings import load
from bot.workplace.workplace import Workplace
from tests.hand_clock import HandClock
from tests.local_github.repository import Runner
from tests.local_github.scripted import Script
from tests.local_github.server import TOKEN, GitHub
from tests.local_hub.server import Hub

MODEL = "lab/Model"


@pytest.fixture
def workplace(
    tmp_path: Path, hub: Hub, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> Workplace:
    """Settings that name a Hub with a release and a GitHub with the workflows."""
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    maker = Client(hub.url, SecretStr(hub.token))
    maker.create_private(MODEL)
    card = tmp_path / "README.md"
    card.write_text("a model")
    maker.commit(MODEL, {"README.md": card}, "Release", maker.head(MODEL))
    maker.make_public(MODEL)
    settings = load(
        None,
        workdir=tmp_path / "work",
        hub={"endpoint": hub.url},
        github={"repo": "me/builds", "api_url": github.url, "poll_seconds": 60},
    )
    return Workplace(settings, Narrator(io.StringIO()), None)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(time.time())


@pytest.fixture
def desk(workplace: Workplace, clock: HandClock) -> Desk:
    return Desk(workplace, clock)


def test_an_order_is_of_the_commit_and_of_tiers_that_there_are(workplace: Workplace) -> None:
    order = order_run(workplace, MODEL, "main", ("I-Mini",))
    assert order.revision == workplace.hub.release(MODEL).commit
    assert order == numbered(order, 0)
    assert len({numbered(order, number).delivery for number in range(3)}) == 3
    with pytest.raises(SettingsError):
        order_run(workplace, MODEL, "main", ("I-None",))
    with pytest.raises(SourceError):
        order_run(workplace, "lab/None", "main", ())


def test_the_same_order_is_one_run_until_it_fails(
    desk: Desk, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "failure"})
    with github.repository.held():
        first = desk.dispatch(MODEL, "main", ())
        waiting = desk.dispatch(MODEL, "main", ())
    github.repository.wait()
    assert (first.new, waiting.new) == (True, False)
    assert first.run is not None
    assert waiting.run is not None
    assert waiting.run.id == first.run.id
    second = desk.dispatch(MODEL, "main", ())
    github.repository.wait()
    assert second.new
    assert second.order.delivery != first.order.delivery
    third = desk.dispatch(MODEL, "main", ())
    assert (third.new, third.run and third.run.state) == (False, "succeeded")
    assert desk.dispatch(MODEL, "main", (), again=True).new
    github.repository.wait()
    assert len(github.repository.runs) == 3


def test_a_run_is_found_by_its_number_its_delivery_and_its_model(
    desk: Desk, github: GitHub
) -> None:
    ordered = desk.dispatch(MODEL, "main", ())
    github.repository.wait()
    (run,) = github.repository.runs
    for name in (str(run.id), ordered.order.delivery, MODEL):
        assert desk.run(name).id == run.id
    with pytest.raises(SourceError, match="has no run of lab/Other"):
        desk.run("lab/Other")


def test_what_failed_is_told_with_lines_of_its_log(
    desk: Desk, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "success", "quantize": "failure"})
    script.log = "Error: the disk is full; make room\n##[error]Process completed with exit code 5."
    desk.dispatch(MODEL, "main", ())
    github.repository.wait()
    listed, jobs = desk.examined(MODEL)
    assert listed.state == "failed"
    assert listed.lines == ("quantize: Error: the disk is full; make room",)
    text = run_text(listed, jobs)
    assert text.splitlines()[0] == f"{listed.link}: failed"
    assert text.splitlines()[-1] == listed.lines[0]
    assert {job.name for job in jobs} >= {"prepare", "quantize"}


def test_runs_are_listed_with_why_they_stand_still(
    desk: Desk, github: GitHub, clock: HandClock
) -> None:
    desk.dispatch(MODEL, "main", ())
    github.repository.wait()
    github.repository.runners = [Runner(name="gpu-1", online=False)]
    desk.dispatch(MODEL, "main", ("I-Mini",))
    clock.time += 86_400
    waiting, done = desk.runs(None, 9)
    assert (waiting.state, done.state) == ("queued", "succeeded")
    assert "runner gpu-1 offline" in (waiting.trouble or "")
    assert done.trouble is None
    assert desk.runs(MODEL, 1) == (waiting,)
    assert desk.runs("lab/Other", 9) == ()
    rows = runs_text((waiting, done), clock.now()).splitlines()
    assert [row.split()[1] for row in rows[-2:]] == ["queued", "succeeded"]


def test_a_run_is_cancelled_once_and_known_as_cancelled_by_us(desk: Desk, github: GitHub) -> None:
    with github.repository.held():
        desk.dispatch(MODEL, "main", ())
        assert desk.cancel(MODEL).state == "cancelled"
    github.repository.wait()
    assert "`bot cancel`" in (desk.examined(MODEL)[0].trouble or "")
    with pytest.raises(SourceError, match="nothing is cancelled"):
        desk.cancel(MODEL)


def test_a_run_that_is_over_runs_again_under_its_number(
    desk: Desk, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "failure"})
    with github.repository.held():
        desk.dispatch(MODEL, "main", ())
        with pytest.raises(SourceError, match="is not over"):
            desk.rerun(MODEL, failed=True)
    github.repository.wait()
    before = desk.run(MODEL)
    desk.rerun(MODEL, failed=True)
    github.repository.wait()
    after = desk.run(MODEL)
    assert (after.id, after.run_attempt) == (before.id, 2)
    with pytest.raises(SourceError, match="nothing of run"):
        desk.rerun(MODEL, failed=True)


def test_a_run_is_followed_through_failing_answers_to_its_end(
    desk: Desk, github: GitHub, clock: HandClock
) -> None:
    ordered = desk.dispatch(MODEL, "main", ())
    github.repository.wait()
    github.fail("GET", "/runs$", "403-secondary")
    ended = desk.follow(ordered, lambda _line: None)
    assert ended.state == "succeeded"
    assert clock.slept


def test_a_run_that_github_never_lists_is_given_up(
    desk: Desk, github: GitHub, clock: HandClock
) -> None:
    ordered = desk.dispatch(MODEL, "main", ())
    github.repository.wait()
    github.hidden.update(run.id for run in github.repository.runs)
    began = clock.now()
    with pytest.raises(AccessError, match="GitHub lists no run"):
        desk.follow(ordered, lambda _line: None)
    assert clock.now() - began > UNLISTED
