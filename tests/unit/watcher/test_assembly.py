"""The watcher put together: one look, turns whose trouble is said, decisions in words and JSON."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot.actions.executing import Here
from bot.actions.on_github import OnGitHub
from bot.clock import SystemClock
from bot.errors import SettingsError
from bot.progress import Narrator
from bot.records.releases import Build, Decision, Release, Wait
from bot.settings.settings import load
from bot.store.board import HEARTBEAT
from bot.store.queue import Queue
from bot.watcher.assembly import (
    Actor,
    StoppableClock,
    Stopped,
    chosen_executor,
    once,
    turns_of,
    watcher_of,
)
from bot.watcher.explaining import as_line, decision_json
from bot.workplace.workplace import Workplace
from tests.unit.watcher.world import World

RELEASE = Release(repo_id="lab/Model", commit="c" * 40)
Make = Callable[..., Workplace]


@pytest.fixture
def workplace_of(tmp_path: Path) -> Make:
    def made(url: str, out: io.StringIO | None = None, **given: Any) -> Workplace:
        settings = load(workdir=tmp_path / "work", hub={"endpoint": url}, **given)
        return Workplace(settings, Narrator(out or io.StringIO()), None)

    return made


def test_one_look_decides_and_queues(
    world: World, workplace_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ample = SimpleNamespace(total=1 << 50, used=0, free=1 << 50)  # for a model of any size
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: ample)
    moe, dense = world.model(), world.model(moe=False)
    workplace, decisions = workplace_of(world.hub.url), list[Decision]()
    once(workplace, decisions.append)
    assert {decision.release.repo_id for decision in decisions} == {moe.name, dense.name}
    assert [task.repo for task in Queue(workplace.ledger).tasks(("queued",))] == [moe.name]
    assert workplace.ledger.remembered(HEARTBEAT) is not None
    decisions.clear()
    once(workplace, decisions.append)
    assert decisions == []


def test_turns_of_a_watcher_that_was_stopped_end_quietly(workplace_of: Make) -> None:
    out = io.StringIO()
    workplace, clock = workplace_of("http://127.0.0.1:1", out), StoppableClock()
    watcher = watcher_of(workplace, lambda _decision: None, clock)
    turns = turns_of(workplace, watcher, Actor(workplace, watcher.queue, None, clock))
    assert [turn.name for turn in turns] == ["look", "again", "trending", "sweep", "act", "prune"]
    assert [turn.lane for turn in turns] == ["looking"] * 4 + ["acting"] * 2
    clock.stop()
    for turn in turns:
        turn.work()
    assert out.getvalue() == ""


def test_trouble_of_a_turn_is_said_and_ends_no_watcher(world: World, workplace_of: Make) -> None:
    out = io.StringIO()
    workplace, clock = workplace_of(world.hub.url, out), StoppableClock()
    watcher = watcher_of(workplace, lambda _decision: None, clock)
    actor = Actor(workplace, watcher.queue, None, clock)
    [look] = [turn for turn in turns_of(workplace, watcher, actor) if turn.name == "look"]
    workplace.folders.ledger.write_bytes(b"no ledger, and long enough to be looked at" * 40)
    look.work()
    assert "ledger.sqlite" in out.getvalue()
    assert out.getvalue().count("\n") == 1


def test_the_same_complaint_is_made_once(
    workplace_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    workplace = workplace_of("http://hub", out)
    actor = Actor(workplace, Queue(workplace.ledger), None, SystemClock())
    for address, lines in (("ftp://x", 1), ("ftp://x", 1), ("", 1), ("ftp://x", 2)):
        monkeypatch.setenv("BOT_NOTIFY_URL", address)
        actor.turn()
        assert out.getvalue().count("BOT_NOTIFY_URL is no web address") == lines


def test_nobody_sleeps_on_a_clock_that_was_stopped() -> None:
    clock = StoppableClock()
    clock.sleep(0.0)
    woken = threading.Event()

    def asleep() -> None:
        try:
            clock.sleep(3600.0)
        except Stopped:
            woken.set()

    thread = threading.Thread(target=asleep)
    thread.start()
    clock.stop()
    thread.join()
    assert woken.is_set()


def test_who_builds_follows_from_the_settings(
    workplace_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "token-of-builds")
    named = {"text": "t.txt", "tasks": ["t.tsv"]}
    here = workplace_of("http://hub", evaluation=named, calibration={"texts": ["c.txt"]})
    assert isinstance(chosen_executor(here, None, SystemClock()), Here)
    there = workplace_of("http://hub", github={"repo": "me/builds"})
    assert isinstance(chosen_executor(there, None, SystemClock()), OnGitHub)
    with pytest.raises(SettingsError, match="demo"):
        chosen_executor(workplace_of("http://hub"), None, SystemClock())


def test_decisions_for_people_and_machines() -> None:
    wait = Wait(release=RELEASE, reason="rests", outcome="settling", until=1_790_000_000.0)
    assert as_line(wait) == "Wait   lab/Model  rests"
    document = json.loads(decision_json(wait))
    assert document["until"].startswith("2026-09-2")
    assert json.loads(decision_json(Build(release=RELEASE, reason="8 experts"))) == {
        "decision": "build", "repo_id": "lab/Model", "commit": "c" * 40, "outcome": "eligible",
        "reason": "8 experts", "until": None,
    }  # fmt: skip
