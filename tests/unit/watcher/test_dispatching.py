"""Turns of the queue, with an executor that dies, fails and forgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.actions.executing import Attempt
from bot.errors import UnreachableError
from bot.progress import Narrator
from bot.settings.policies import Policy
from bot.store.ledger import Ledger
from bot.store.queue import AGREED, STARTING, Queue
from bot.store.queue_tables import QueuedRelease
from bot.store.sightings import Decided
from bot.watcher.dispatching import queue_turn
from tests.hand_clock import HandClock


class Outside:
    """Another system: what it was asked to start stays there, whoever asks."""

    def __init__(self) -> None:
        self.runs: dict[str, Attempt] = {}
        self.started: list[str] = []
        self.die_after_start = self.away = False

    def find(self, task: QueuedRelease) -> Attempt | None:
        if self.away:
            raise UnreachableError("away; try again")
        return self.runs.get(f"{task.repo} {task.attempts}")

    def start(self, task: QueuedRelease) -> str | None:
        self.started.append(f"{task.repo} {task.attempts}")
        self.runs[self.started[-1]] = Attempt(good=None, link="http://run")
        if self.die_after_start:
            raise KeyboardInterrupt
        return "http://run"


class Desk:
    """A queue with three tasks and all that a turn needs."""

    def __init__(self, folder: Path) -> None:
        self.queue, self.clock, self.outside = Queue(Ledger(folder / "l")), HandClock(), Outside()
        for letter in "abc":
            self.propose(letter)

    def propose(self, letter: str, size: float | None = None) -> None:
        """A task of so many TB."""
        decided = Decided(
            repo=f"maker/{letter}", commit=letter * 40, kind="build", outcome="eligible",
            reason="r", until=None, look_at=None, weights=letter, weights_at=None, facts={},
            bytes=None if size is None else int(size * 1e12),
        )  # fmt: skip
        self.queue.propose(decided, (), self.clock.now(), needs_approval=False)
        self.clock.time += 1

    def turn(self, **policy: int) -> None:
        chosen = Policy.model_validate({"at_once": 9, "per_hour": 99, **policy})
        queue_turn(self.queue, self.outside, chosen, self.clock, Narrator(quiet=True))

    def states(self) -> str:
        every = ("queued", "starting", "running", "published", "failed")
        return " ".join(t.state for t in sorted(self.queue.tasks(every), key=lambda t: t.repo))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_tasks_are_started_followed_and_noted(desk: Desk) -> None:
    desk.turn(at_once=2)
    assert desk.outside.started == ["maker/a 1", "maker/b 1"]
    assert desk.states() == "running running queued"
    desk.turn(at_once=2)
    desk.outside.runs["maker/a 1"] = Attempt(good=True, link="http://hub/a")
    desk.turn(at_once=2)
    assert desk.states() == "published running running"
    assert desk.queue.tasks(("published",))[0].link == "http://hub/a"


def test_a_watcher_that_dies_after_the_start_is_followed_by_one_that_finds_it(
    desk: Desk,
) -> None:
    desk.outside.die_after_start = True
    with pytest.raises(KeyboardInterrupt):
        desk.turn(at_once=1)
    desk.outside.die_after_start = False
    desk.turn(at_once=1)
    assert desk.states() == "starting queued queued"
    desk.clock.time += STARTING
    desk.turn(at_once=1)
    assert desk.states() == "running queued queued"
    assert desk.outside.started == ["maker/a 1"]


def test_an_outside_that_is_away_starts_nothing_twice(desk: Desk) -> None:
    desk.outside.away = True
    desk.turn()
    assert desk.states() == "starting starting starting"
    desk.outside.away = False
    desk.clock.time += STARTING
    desk.turn()
    assert desk.states() == "running running running"
    desk.outside.away = True
    desk.turn()
    assert desk.states() == "running running running"
    assert len(desk.outside.started) == 3


def test_failures_come_again_and_end(desk: Desk) -> None:
    for _ in range(3):
        desk.turn(at_once=3, attempts=2)
        for key in desk.outside.started:
            desk.outside.runs[key] = Attempt(good=False, error="no room")
        desk.turn(at_once=3, attempts=2)
        desk.clock.time += 86_400
    assert desk.states() == "failed failed failed"
    assert len(desk.outside.started) == 6
    assert desk.queue.tasks(("failed",))[0].error == "no room"


def test_what_llama_says_twice_is_final(desk: Desk) -> None:
    for number in range(3):
        desk.turn(at_once=3, attempts=9)
        for key in desk.outside.started:
            same = key.startswith("maker/a")
            said = "no tensor" if same else f"no tensor {number}"
            desk.outside.runs[key] = Attempt(
                good=False, refused=not key.startswith("maker/c"), error=said
            )
        desk.turn(at_once=3, attempts=9)
        desk.clock.time += 86_400
    assert desk.states() == "failed queued queued"
    assert desk.outside.started.count("maker/a 3") == 0


def test_a_run_that_vanished_is_a_failure(desk: Desk) -> None:
    desk.turn(at_once=1)
    desk.outside.runs.clear()
    desk.turn(at_once=1)
    assert desk.queue.tasks(("queued",))[0].error == "its run has vanished"


def test_work_elsewhere_is_asked_for_again_later(desk: Desk) -> None:
    desk.turn(at_once=1)
    desk.outside.runs["maker/a 1"] = Attempt(good=False, elsewhere=True)
    desk.turn(at_once=1)
    [task] = [task for task in desk.queue.tasks(("queued",)) if task.repo == "maker/a"]
    assert (task.attempts, task.error) == (0, None)


def test_what_waits_for_a_person_is_looked_at_again_and_they_are_asked_once(desk: Desk) -> None:
    pull = "http://hub/me/model/discussions/1"
    desk.turn()
    for letter in "bc":
        desk.outside.runs[f"maker/{letter} 1"] = Attempt(good=True, link="http://hub")
    for times in range(1, 4):
        assert desk.outside.started.count("maker/a 1") == times
        desk.outside.runs["maker/a 1"] = Attempt(good=False, waiting=True, link=pull)
        desk.turn()
        [task] = desk.queue.tasks(("queued",))
        assert (task.attempts, task.link) == (0, pull)
        assert task.error == f"waits for a person: merge {pull} to publish, or close it"
        assert task.due == desk.clock.now() + AGREED
        del desk.outside.runs["maker/a 1"]  # the next attempt is another
        desk.clock.time += AGREED
        desk.turn()
    asked = [event for event in desk.queue.events(99) if event.kind == "asked"]
    assert [(event.repo, event.link) for event in asked] == [("maker/a", pull)]
    desk.outside.runs["maker/a 1"] = Attempt(good=True, link="http://hub/me/model")
    desk.turn()
    assert desk.states() == "published published published"


def test_small_releases_go_first_and_keep_a_place_as_the_policy_says(desk: Desk) -> None:
    desk.turn()
    for key in desk.outside.started:
        desk.outside.runs[key] = Attempt(good=True, link="http://hub")
    for letter, size in (("d", 2.0), ("e", 1.4), ("f", 0.06)):
        desk.propose(letter, size)
    desk.outside.started.clear()
    desk.turn(at_once=2)
    assert desk.outside.started == ["maker/f 1", "maker/e 1"]
    desk.outside.runs["maker/f 1"] = Attempt(good=True, link="http://hub")
    desk.turn(at_once=2)
    assert desk.outside.started[2:] == []  # the second place is kept
    desk.turn(at_once=2, small_gb=0)
    assert desk.outside.started[2:] == ["maker/d 1"]


def test_first_come_is_first_served_where_the_policy_says_so(desk: Desk) -> None:
    desk.turn()
    for key in desk.outside.started:
        desk.outside.runs[key] = Attempt(good=True, link="http://hub")
    for letter, size in (("d", 2.0), ("e", 0.06)):
        desk.propose(letter, size)
    desk.turn(at_once=1, hours_per_tb=0)
    assert desk.outside.started[3:] == ["maker/d 1"]
