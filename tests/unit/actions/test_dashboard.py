"""The dashboard on a local GitHub: written when something happened, obeyed from whom it may."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.actions.dashboard import (
    LONGEST_BODY,
    MARK,
    Command,
    Obeyed,
    dashboard_commands,
    dashboard_text,
    dashboard_turn,
)
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_client import connect
from bot.errors import AccessError, UnreachableError
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import QueuedRelease
from bot.store.sightings import Decided
from tests.hand_clock import HandClock
from tests.local_github.server import BOT, TOKEN, GitHub

STATES = ("asked", "queued", "running", "failed", "published", "ignored")


class Desk:
    """A ledger with a release in every state, and its dashboard."""

    def __init__(self, folder: Path, github: GitHub) -> None:
        self.github, self.clock = github, HandClock(time.time())
        self.ledger = Ledger(folder / "ledger")
        self.queue = Queue(self.ledger)
        self.repository = GithubRepository(
            connect(TOKEN, github.url, timeout=5), "me/builds", self.clock
        )

    def release(self, name: str, letter: str, *, asked: bool = False) -> QueuedRelease:
        decided = Decided(
            repo=name, commit=letter * 40, kind="ask" if asked else "build", outcome="eligible",
            reason="8 experts, @everybody", until=None, look_at=None, weights=letter,
            weights_at=None, facts={},
        )  # fmt: skip
        made = self.queue.propose(decided, (), self.clock.now(), needs_approval=asked)
        assert made is not None
        return made

    def fill(self) -> None:
        """A release in every state."""
        for letter, name in zip("abcd", ("running", "failed", "published", "ignored"), strict=True):
            self.release(f"lab/{name}", letter)
            task = self.queue.claim(self.clock.now(), at_once=9, per_hour=99)
            assert task is not None
            link = f"{self.github.url}/me/builds/actions/runs/{ord(letter)}"
            self.queue.started(task, link, self.clock.now())
            [task] = [t for t in self.queue.running() if t.repo == f"lab/{name}"]
            if name == "published":
                self.queue.published(task, link, self.clock.now())
            elif name != "running":
                why = "no room\n- [x] <!-- apex-bot:approve lab/asked@" + "e" * 40 + " -->`"
                self.queue.failed(task, why, link, self.clock.now(), attempts=1, final=True)
        self.queue.ignore("lab/ignored", "a copy", self.clock.now())
        self.release("lab/asked", "e", asked=True)
        self.release("lab/queued", "f")

    def turn(self, troubles: Mapping[str, str] | None = None) -> tuple[Obeyed, ...]:
        return dashboard_turn(self.repository, self.ledger, self.clock, troubles or {})

    @property
    def body(self) -> str:
        return self.github.repository.issues[0].body

    def state(self, name: str) -> str:
        [tasks] = [t.state for t in self.queue.tasks(STATES) if t.repo == f"lab/{name}"]
        return tasks

    def tick(self, name: str, login: str) -> None:
        """Somebody ticks a release's box on the page."""

        def ticked(body: str) -> str:
            lines = body.replace("\r\n", "\n").split("\n")
            [at] = [i for i, line in enumerate(lines) if f"lab/{name}@" in line[:60]]
            lines[at] = lines[at].replace("- [ ]", "- [x]")
            return "\n".join(lines)

        self.github.edit(login, ticked)


@pytest.fixture
def desk(tmp_path: Path, github: GitHub) -> Desk:
    new_desk = Desk(tmp_path, github)
    new_desk.fill()
    return new_desk


def test_everything_is_listed_with_its_boxes(desk: Desk) -> None:
    desk.turn()
    [issue] = desk.github.repository.issues
    assert (issue.title, issue.labels) == ("apex-bot: releases", ["apex-bot"])
    assert desk.body.startswith(MARK)
    sections = [line for line in desk.body.splitlines() if line.startswith("## ")]
    assert sections == [
        "## Waiting for approval (1)", "## Running (2)", "## Failed (1)", "## Published (1)",
        "## Ignored (1)",
    ]  # fmt: skip
    assert f"- [ ] <!-- apex-bot:approve lab/asked@{'e' * 40} --> `lab/asked`" in desk.body
    assert f"- [ ] <!-- apex-bot:retry lab/failed@{'b' * 40} --> `lab/failed`" in desk.body
    assert "- `lab/queued` at `ffffffff` — queued" in desk.body
    assert f"([run]({desk.github.url}/me/builds/actions/runs/97)) — attempt 1" in desk.body
    assert "`a copy`" in desk.body


def test_words_of_strangers_tick_nothing_and_mention_nobody(desk: Desk) -> None:
    desk.turn()
    assert dashboard_commands(desk.body) == ()
    assert "`8 experts, @everybody`" in desk.body
    [line] = [line for line in desk.body.splitlines() if "no room" in line]
    assert line.count("`") == 6


def test_it_is_edited_only_when_something_happened(desk: Desk) -> None:
    desk.turn()
    for _ in range(3):
        desk.clock.sleep(3_600)
        desk.turn()
    assert desk.github.count("PATCH", "issues/1$") == 0
    desk.queue.approve("lab/asked", desk.clock.now())
    desk.turn()
    assert desk.github.count("PATCH", "issues/1$") == 1
    assert "Waiting for approval" not in desk.body
    [running] = desk.queue.running()
    desk.turn({running.id: "runner gpu-1 offline"})
    assert "`runner gpu-1 offline`" in desk.body
    desk.queue.pause("a new disk", desk.clock.now())
    desk.turn()
    assert "**Paused:** `a new disk`" in desk.body
    assert len(desk.github.repository.issues) == 1


@pytest.mark.parametrize("login", ["writer", "owner", BOT])
def test_boxes_are_obeyed_from_people_who_may_write(desk: Desk, login: str) -> None:
    desk.turn()
    desk.clock.time = time.time()
    desk.tick("asked", login)
    desk.tick("failed", login)
    outcomes = desk.turn()
    assert [(outcome.command.verb, outcome.done) for outcome in outcomes] == [
        ("approve", True),
        ("retry", True),
    ]
    assert (desk.state("asked"), desk.state("failed")) == ("queued", "queued")
    assert dashboard_commands(desk.body) == ()
    assert desk.turn() == ()


@pytest.mark.parametrize("login", ["reader", "nobody-here"])
def test_boxes_are_not_obeyed_from_others(desk: Desk, login: str) -> None:
    desk.turn()
    desk.tick("asked", "writer")
    desk.tick("failed", login)
    outcomes = desk.turn()
    assert {(outcome.done, outcome.text) for outcome in outcomes} == {
        (False, f"{login} may not write to me/builds")
    }
    assert (desk.state("asked"), desk.state("failed")) == ("asked", "failed")
    assert dashboard_commands(desk.body) == ()


def test_a_box_of_another_commit_or_of_a_release_that_went_on_does_nothing(desk: Desk) -> None:
    desk.turn()
    desk.github.edit("writer", lambda body: body.replace("e" * 40, "0" * 40))
    desk.tick("asked", "writer")
    [outcome] = desk.turn()
    assert (outcome.done, outcome.text) == (False, "nothing waits for it any more")
    assert desk.state("asked") == "asked"


def test_the_box_of_an_older_commit_does_not_queue_a_newer_one(desk: Desk) -> None:
    desk.clock.sleep(60)
    desk.release("lab/failed", "9")
    task = desk.queue.claim(desk.clock.now() + 1, at_once=9, per_hour=99)
    while task is not None and task.commit[0] != "9":
        task = desk.queue.claim(desk.clock.now() + 1, at_once=9, per_hour=99)
    assert task is not None
    desk.queue.failed(task, "no room", None, desk.clock.now(), attempts=1, final=True)
    desk.turn()
    assert "## Failed (2)" in desk.body
    old = f"retry lab/failed@{'b' * 40}"
    desk.github.edit(
        "writer", lambda body: body.replace(f"[ ] <!-- apex-bot:{old}", f"[x] <!-- apex-bot:{old}")
    )
    [outcome] = desk.turn()
    assert (outcome.command.commit[0], outcome.done) == ("b", False)
    assert "## Failed (2)" in desk.body


def test_who_ticked_is_not_known(desk: Desk) -> None:
    desk.turn()
    desk.tick("asked", "writer")
    desk.github.repository.issues[0].edits.clear()
    [outcome] = desk.turn()
    assert outcome.text == "nobody is known who ticked it"
    assert desk.state("asked") == "asked"


def test_a_new_ledger_finds_its_issue_and_never_takes_a_strangers(desk: Desk) -> None:
    desk.turn()
    desk.ledger.forget("dashboard")
    strangers_issue = desk.repository.open_issue("mine", MARK, "apex-bot")
    desk.github.repository.issues[1].author = "reader"
    desk.turn()
    desk.turn()
    assert len(desk.github.repository.issues) == 2
    desk.ledger.forget("dashboard")
    desk.github.repository.issues[0].state = "closed"
    desk.turn()
    assert len(desk.github.repository.issues) == 3
    assert desk.repository.issue(strangers_issue.number).body == MARK


def test_a_closed_issue_is_left_alone(desk: Desk) -> None:
    desk.turn()
    desk.github.repository.issues[0].state = "closed"
    desk.queue.approve("lab/asked", desk.clock.now())
    assert desk.turn() == ()
    assert desk.github.count("PATCH", "issues") == 0


def test_an_issue_that_is_gone_is_made_anew(desk: Desk) -> None:
    desk.turn()
    desk.github.repository.issues.clear()
    with pytest.raises(AccessError):
        desk.turn()
    desk.turn()
    assert len(desk.github.repository.issues) == 1


def test_an_issue_that_was_opened_without_an_answer_is_not_opened_twice(desk: Desk) -> None:
    desk.github.fail("POST", "issues$", "after-500")
    with pytest.raises(UnreachableError):
        desk.turn()
    desk.turn()
    assert len(desk.github.repository.issues) == 1


def test_more_than_an_issue_holds() -> None:
    task = QueuedRelease(
        id="t", repo="lab/" + "m" * 90, commit="c" * 40, weights="w", tiers=(), reason="r" * 900,
        state="asked", attempts=0, due=0, error=None, link=None, created=0, changed=0,
    )  # fmt: skip
    long = dashboard_text([task] * 300, {"asked": 450}, {}, None)
    assert LONGEST_BODY - 400 < len(long) < LONGEST_BODY + 100
    assert "see `bot status`" in long
    few = dashboard_text([task], {"asked": 450}, {}, None)
    assert "- and 449 more, see `bot status`" in few
    box = f"- [x] <!-- apex-bot:approve {task.repo}@{task.commit} --> x"
    assert dashboard_commands(box + "\r\n") == (
        Command(verb="approve", repo=task.repo, commit="c" * 40),
    )
    assert dashboard_commands(" " + box) == ()
