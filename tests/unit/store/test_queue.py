"""The queue: one task a commit, one start an attempt, whatever dies or comes twice."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.errors import SourceError
from bot.store.ledger import Ledger
from bot.store.pruning import prune
from bot.store.queue import STARTING, Queue
from bot.store.queue_tables import QueuedRelease
from bot.store.sightings import Decided, Sightings

NOW = 1_790_000_000.0


def decided(
    repo: str = "maker/Model", commit: str = "a", weights: str = "w", made: str | None = None
) -> Decided:
    facts: dict[str, Any] = {"n": 1} | ({"listed": {"created_at": made}} if made else {})
    return Decided(
        repo=repo, commit=commit * 40, kind="build", outcome="eligible", reason="8 experts",
        until=None, look_at=None, weights=weights, weights_at=NOW, facts=facts,
    )  # fmt: skip


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(Ledger(tmp_path / "l.sqlite"))


def propose(
    queue: Queue, *, asked: bool = False, now: float = NOW, **changes: str
) -> QueuedRelease | None:
    return queue.propose(decided(**changes), ("I-Mini",), now, needs_approval=asked)


def claim(
    queue: Queue, now: float = NOW, at_once: int = 9, per_hour: int = 99
) -> QueuedRelease | None:
    return queue.claim(now, at_once=at_once, per_hour=per_hour)


def states(queue: Queue) -> dict[str, str]:
    every = ("asked", "queued", "starting", "running", "published", "failed", "ignored")
    return {task.commit[0]: task.state for task in queue.tasks(every)}


def running(queue: Queue, now: float = NOW) -> QueuedRelease:
    task = claim(queue, now)
    assert task is not None
    queue.started(task, "http://run", now)
    [found] = queue.running()
    return found


def test_a_commit_is_queued_once_and_its_weights_once_under_any_name(queue: Queue) -> None:
    first = propose(queue)
    assert first is not None
    assert (first.state, first.tiers, first.attempts) == ("queued", ("I-Mini",), 0)
    assert propose(queue) is None
    assert propose(queue, repo="maker/Renamed") is None
    assert propose(queue, repo="mirror/Model", commit="b") is None  # the same weights
    assert propose(queue, repo="other/Model", commit="c", weights="v") is not None


def test_a_newer_commit_takes_the_place_of_one_that_was_not_started(queue: Queue) -> None:
    propose(queue)
    propose(queue, commit="b", weights="v")
    assert states(queue) == {"a": "ignored", "b": "queued"}


@pytest.mark.parametrize("commit", ["a", "b"])  # a copy may have its original's commits
def test_a_twin_that_failed_blocks_nobody(queue: Queue, commit: str) -> None:
    propose(queue)
    queue.failed(running(queue), "no", None, NOW, attempts=1, final=True)
    assert queue.memory("other/Model", commit * 40, "w").same is None
    assert propose(queue, repo="other/Model", commit=commit) is not None
    memory = queue.memory("third/Model", commit * 40, "w")
    assert memory.same is not None
    assert memory.same.repo == "other/Model"


EARLY, LATE = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


def test_a_copy_that_was_not_started_gives_way_to_its_original(queue: Queue) -> None:
    propose(queue, repo="copy/Model", made=LATE)
    assert queue.memory("maker/Model", "b" * 40, "w").same_created == LATE
    assert propose(queue, commit="b", made=EARLY) is not None
    assert states(queue) == {"a": "ignored", "b": "queued"}
    [copy] = queue.tasks(("ignored",))
    assert copy.error == "its original maker/Model took its place"
    assert propose(queue, repo="copy/Model", commit="c", made=LATE) is None


def test_a_copy_that_runs_is_not_stopped(queue: Queue) -> None:
    propose(queue, repo="copy/Model", made=LATE)
    running(queue)
    assert propose(queue, commit="b", made=EARLY) is None
    assert states(queue) == {"a": "running"}


def test_a_decision_and_its_task_are_kept_together(queue: Queue) -> None:
    propose(queue)
    [past] = Sightings(queue.ledger).history("maker/Model")
    assert (past.kind, past.reason) == ("build", "8 experts")
    assert Sightings(queue.ledger).facts(past.id) == {"n": 1}


def test_limits_at_once_and_an_hour(queue: Queue) -> None:
    for letter in "abcd":
        propose(queue, repo=f"maker/{letter}", commit=letter, weights=letter)
    assert claim(queue, at_once=1) is not None
    assert claim(queue, at_once=1) is None
    assert claim(queue, at_once=2, per_hour=1) is None
    assert claim(queue, at_once=2, per_hour=2) is not None
    assert claim(queue, NOW + 3601, at_once=3, per_hour=1) is not None


GB, HOUR = 10**9, 3600.0


def sized(queue: Queue, name: str, size: int | None, now: float = NOW) -> None:
    """A task of so many 10^9 bytes; None: as an older bot kept it."""
    release = replace(
        decided(f"maker/{name}", weights=name), commit=name.rjust(40, "0"), bytes=size and size * GB
    )
    queue.propose(release, (), now, needs_approval=False)


def claimed(
    queue: Queue, now: float, *, at_once: int = 9, hours_per_tb: float, small_gb: float = 0
) -> str:
    """All that may start now, in order."""
    names = []
    while (
        task := queue.claim(
            now, at_once=at_once, per_hour=99, hours_per_tb=hours_per_tb, small_gb=small_gb
        )
    ) is not None:
        names.append(task.repo.removeprefix("maker/"))
        queue.started(task, None, now)
    return " ".join(names)


@pytest.mark.parametrize(
    ("hours_per_tb", "order"),
    [
        (0, "a b c d"),  # first come, first served
        (10, "a c b d"),  # a terabyte goes before what comes more than ten hours after it
        (1e6, "a c d b"),  # shortest first
    ],
)
def test_large_tasks_stand_further_behind(queue: Queue, hours_per_tb: float, order: str) -> None:
    sized(queue, "a", 70)
    sized(queue, "b", 1_000)
    sized(queue, "c", 70, NOW + 9 * HOUR)
    sized(queue, "d", 80, NOW + 11 * HOUR)
    assert claimed(queue, NOW + 12 * HOUR, hours_per_tb=hours_per_tb) == order


def test_tasks_of_an_older_bot_stand_by_their_time_alone(queue: Queue) -> None:
    sized(queue, "a", 70)
    sized(queue, "b", None, NOW + HOUR)
    [task] = [task for task in queue.tasks(("queued",)) if task.repo == "maker/b"]
    assert task.bytes is None
    assert claimed(queue, NOW + HOUR, hours_per_tb=100, small_gb=50) == "b a"


def test_a_giant_is_overtaken_for_its_hours_and_no_longer(queue: Queue) -> None:
    """One place, and a small release every hour, more than the place can take."""
    sized(queue, "giant", 2_000)
    for hour in range(20):
        now = NOW + hour * HOUR
        sized(queue, f"{hour:02}", 25, now)
        if claimed(queue, now, at_once=1, hours_per_tb=5) == "giant":
            break
        [task] = queue.running()
        queue.published(task, None, now)
    assert hour == 10  # two terabytes


def test_one_of_several_places_is_kept_for_small_tasks(queue: Queue) -> None:
    sized(queue, "a", 2_000)
    sized(queue, "b", 1_000)
    assert claimed(queue, NOW, at_once=2, hours_per_tb=10, small_gb=500) == "b"
    sized(queue, "c", 500, NOW + HOUR)
    assert claimed(queue, NOW + HOUR, at_once=2, hours_per_tb=10, small_gb=500) == "c"
    sized(queue, "d", 50, NOW + HOUR)
    assert claimed(queue, NOW + HOUR, at_once=3, hours_per_tb=10, small_gb=500) == "d"


def test_a_kept_place_is_given_to_a_large_task_once_its_hours_are_over(queue: Queue) -> None:
    sized(queue, "a", 1_000)
    sized(queue, "b", 2_000)
    now = NOW + 20 * HOUR
    assert claimed(queue, now - 1, at_once=2, hours_per_tb=10, small_gb=500) == "a"
    assert claimed(queue, now, at_once=2, hours_per_tb=10, small_gb=500) == "b"


def test_of_one_place_none_is_kept(queue: Queue) -> None:
    sized(queue, "a", 2_000)
    assert claimed(queue, NOW, at_once=1, hours_per_tb=10, small_gb=500) == "a"


def test_what_waits_for_a_person_takes_no_place_of_a_large_task(queue: Queue) -> None:
    sized(queue, "a", 2_000)
    assert claimed(queue, NOW, at_once=2, hours_per_tb=10, small_gb=500) == "a"
    [task] = queue.running()
    queue.waits(task, "http://pull/1", NOW)
    sized(queue, "b", 1_000, NOW + 2 * HOUR)
    names = claimed(queue, NOW + 2 * HOUR, at_once=2, hours_per_tb=10, small_gb=500)
    assert names == "b a"  # the second is the look whether somebody merged


def test_a_task_whose_starter_died_is_given_to_the_next_without_a_new_attempt(
    queue: Queue,
) -> None:
    propose(queue)
    first = claim(queue)
    assert claim(queue, NOW + STARTING - 1) is None
    again = claim(queue, NOW + STARTING)
    assert first is not None
    assert again is not None
    assert (again.id, again.attempts) == (first.id, 1)


def test_failures_wait_ever_longer_and_are_given_up(queue: Queue) -> None:
    propose(queue)
    now, waits = NOW, []
    for attempt in range(1, 4):
        task = running(queue, now)
        assert task.attempts == attempt
        queue.failed(task, "the disk is full", "http://log", now, attempts=3, final=False)
        [after] = queue.tasks(("queued", "failed"))
        waits.append(after.due - now)
        assert claim(queue, after.due - 1) is None
        now = after.due
    assert waits == [600, 2400, 9600]
    assert (after.state, after.error, after.link) == ("failed", "the disk is full", "http://log")
    assert [event.kind for event in queue.events(2)] == ["gave_up", "started"]
    retried = queue.retry("maker/Model", now)
    assert retried is not None
    assert (retried.state, retried.attempts, retried.error) == ("queued", 0, None)


def test_a_failure_that_would_come_again_is_not_tried_again(queue: Queue) -> None:
    propose(queue)
    queue.failed(running(queue), "not a mixture", None, NOW, attempts=9, final=True)
    assert states(queue) == {"a": "failed"}


def test_what_ends_in_the_same_words_twice_is_given_up_where_it_would_again(queue: Queue) -> None:
    propose(queue)
    now = NOW
    for said in ("no tensor x", "no tensor y", "no tensor y"):
        assert states(queue) == {"a": "queued"}
        task = running(queue, now)
        queue.failed(task, said, None, now, attempts=9, final=False, repeats=True)
        now += 86_400
    assert states(queue) == {"a": "failed"}
    assert "failure" not in queue.events(2)[0].text
    # again by hand, and the first failure after it is the first
    queue.retry("maker/Model", now)
    task = running(queue, now)
    queue.failed(task, "no tensor y", None, now, attempts=9, final=False, repeats=True)
    assert states(queue) == {"a": "queued"}


def test_what_is_no_fault_of_a_release_is_tried_until_patience_ends(queue: Queue) -> None:
    propose(queue)
    now = NOW
    for _ in range(20):
        task = running(queue, now)
        queue.failed(task, "no Hub", None, now, attempts=2, final=False, patience=8 * 86_400)
        [after] = queue.tasks(("queued", "failed"))
        if after.state == "failed":
            break
        now = after.due
    assert (after.state, after.faults) == ("failed", 0)
    assert now - NOW >= 8 * 86_400
    queue.retry("maker/Model", now)
    for _ in range(2):
        task = running(queue, now)
        queue.failed(task, "it broke", None, now, attempts=2, final=False)
        now += 86_400
    assert states(queue) == {"a": "failed"}


def test_what_failed_is_queued_again_by_news_only(queue: Queue) -> None:
    propose(queue)
    queue.failed(running(queue), "no", None, NOW + 5, attempts=9, final=True)
    for news in (None, NOW, NOW + 5):
        queue.propose(decided(), (), NOW + 9, needs_approval=False, news=news)
        assert states(queue) == {"a": "failed"}
    queue.propose(decided(), (), NOW + 9, needs_approval=False, news=NOW + 6)
    [task] = queue.tasks(("queued",))
    assert (task.attempts, task.faults, task.error) == (0, 0, None)


@pytest.mark.road
@pytest.mark.parametrize("waiting", [4, 12])
def test_what_waits_for_a_person_takes_no_turn_of_a_build(queue: Queue, waiting: int) -> None:
    """Each look lasts five minutes; a release every quarter of an hour begins at once."""
    for number in range(waiting):
        propose(
            queue,
            repo=f"maker/W{number}",
            commit=str(number),
            weights=f"w{number}",
            now=NOW - 7_200,
        )
        task = claim(queue, NOW - 7_200)
        assert task is not None
        queue.waits(task, f"http://pull/{number}", NOW - 3_600 + number)
    now, looked, lately = NOW, set[str](), 0.0
    working: list[tuple[float, QueuedRelease]] = []
    for step in range(8 * 60):  # minutes
        now = NOW + step * 60
        for item in [item for item in working if item[0] <= now]:
            working.remove(item)
            if item[1].look:
                queue.waits(item[1], item[1].link or "", now)
            else:
                queue.published(item[1], None, now)
        if step % 15 == 0:
            name = f"{step:04}"
            queue.propose(
                Decided(**{**vars(decided()), "repo": f"new/{name}", "commit": name.rjust(40, "e"),
                           "weights": name}),
                (), now, needs_approval=False,
            )  # fmt: skip
        while (task := claim(queue, now, at_once=1, per_hour=4)) is not None:
            if task.look:
                looked.add(task.repo)
            else:
                lately = max(lately, now - task.created)
            queue.started(task, None, now)
            working.append((now + 300, replace(task, state="running")))
    assert lately <= 60
    assert len(looked) == waiting


def test_looks_whether_another_bot_is_done_are_no_starts(queue: Queue) -> None:
    propose(queue)
    now = NOW
    for _ in range(6):
        task = claim(queue, now, at_once=1, per_hour=2)
        assert task is not None
        queue.elsewhere(task, now)
        now += 301
    propose(queue, repo="new/Model", commit="b", weights="v", now=now)
    names = {claim(queue, now, at_once=2, per_hour=2), claim(queue, now, at_once=2, per_hour=2)}
    assert {task.repo for task in names if task} == {"maker/Model", "new/Model"}


def test_what_is_old_is_forgotten_but_not_what_counts(queue: Queue) -> None:
    sightings = Sightings(queue.ledger)
    propose(queue)
    sightings.record([replace(decided(), reason="another")], NOW + 1)
    skip = replace(decided(), repo="maker/Dense", kind="skip", outcome="not_moe")
    sightings.record([skip], NOW)
    for name in ("ordered:1", "paused"):
        queue.ledger.remember(name, "x", NOW)
    prune(queue.ledger, NOW + 10)
    assert [past.reason for past in sightings.history("maker/Model")] == ["another"]
    assert sightings.history("maker/Dense") == []
    assert sightings.is_known("maker/Dense")
    assert queue.events(9) == []
    assert states(queue) == {"a": "queued"}
    assert queue.ledger.remembered("ordered:1") is None
    assert queue.ledger.remembered("paused") is not None


def test_work_elsewhere_is_no_attempt(queue: Queue) -> None:
    propose(queue)
    queue.elsewhere(running(queue), NOW)
    [task] = queue.tasks(("queued",))
    assert task.attempts == 0
    assert task.due > NOW


def test_an_attempt_after_a_retry_or_work_elsewhere_is_known_as_another(queue: Queue) -> None:
    """Executors know an attempt by its number and the time; the number is the same again."""
    propose(queue)
    queue.elsewhere(running(queue), NOW + 1)
    second = running(queue, NOW + 1_000)
    assert (second.attempts, second.created) == (1, NOW + 1)
    queue.failed(second, "no room", None, NOW + 1_000, attempts=1, final=False)
    queue.retry("maker/Model", NOW + 2_000)
    third = running(queue, NOW + 2_000)
    assert (third.attempts, third.created) == (1, NOW + 2_000)


def test_what_failed_runs_again_with_its_link(queue: Queue) -> None:
    propose(queue)
    queue.failed(running(queue), "no room", "http://run", NOW, attempts=1, final=False)
    assert queue.resumed("http://other", NOW) is None
    again = queue.resumed("http://run", NOW)
    assert again is not None
    assert (again.state, again.attempts) == ("running", 1)
    assert queue.resumed("http://run", NOW) is None
    assert queue.events(1)[0].text == "runs again"


def test_an_outcome_that_another_watcher_noted_already_is_noted_once(queue: Queue) -> None:
    propose(queue)
    task = running(queue)
    queue.published(task, "http://hub/x", NOW)
    queue.failed(task, "late", None, NOW, attempts=9, final=False)
    queue.published(task, "http://hub/x", NOW)
    assert states(queue) == {"a": "published"}
    assert [event.kind for event in queue.events(9)] == ["published", "started", "queued"]


def test_what_people_say(queue: Queue) -> None:
    propose(queue, asked=True)
    assert claim(queue) is None
    assert queue.approve("maker/Model", NOW).state == "queued"
    with pytest.raises(SourceError, match="nothing was asked"):
        queue.approve("maker/Model", NOW)
    queue.pause("a new disk", NOW)
    assert claim(queue) is None
    queue.resume()
    queue.ignore("maker/Model", "not this one", NOW)
    assert claim(queue) is None
    assert queue.memory("maker/Model", "", None).ignored == "not this one"
    queue.retry("maker/Model", NOW)
    assert queue.memory("maker/Model", "", None).ignored is None
    assert claim(queue) is not None
    with pytest.raises(SourceError, match="never seen"):
        queue.retry("nobody/Nothing", NOW)


def test_an_approval_that_is_not_needed_any_more(queue: Queue) -> None:
    propose(queue, asked=True)
    propose(queue, asked=False)
    assert states(queue) == {"a": "queued"}


def test_events_are_told_once_and_only_while_they_are_news(queue: Queue) -> None:
    propose(queue)
    [event] = queue.untold(("queued",), NOW - 1, 9)
    assert queue.untold(("asked",), NOW - 1, 9) == []
    assert queue.untold(("queued",), NOW + 1, 9) == []
    queue.told(event.id)
    assert queue.untold(("queued",), NOW - 1, 9) == []


def _claim_all(path: str, found: Any) -> None:
    queue = Queue(Ledger(Path(path)))
    while (task := queue.claim(NOW, at_once=999, per_hour=999)) is not None:
        found.put(task.id)
    found.put(None)


def test_processes_that_claim_side_by_side_never_get_the_same(queue: Queue) -> None:
    for number in range(40):
        propose(queue, repo=f"maker/{number}", commit=f"{number:040}"[-1:], weights=str(number))
    commits = {task.commit for task in queue.tasks(("queued",))}
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    path = str(queue.ledger.path)
    workers = [context.Process(target=_claim_all, args=(path, found)) for _ in range(3)]
    for worker in workers:
        worker.start()
    claimed, ended = [], 0
    while ended < len(workers):
        task = found.get(timeout=60)
        ended += task is None
        claimed += [task] if task else []
    for worker in workers:
        worker.join()
    assert len(claimed) == len(set(claimed)) == len(commits)
