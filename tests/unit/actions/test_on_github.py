"""The queue built by a local GitHub: no order is lost, none becomes two runs."""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.actions.on_github import OnGitHub, on_github
from bot.actions.trigger import titled
from bot.cli.text.boards import board_text
from bot.errors import AccessError, SettingsError
from bot.progress import Narrator
from bot.settings.policies import Policy
from bot.settings.running import GitHubSettings, WatchSettings
from bot.settings.settings import load
from bot.store.board import board
from bot.store.ledger import Ledger
from bot.store.queue import STARTING, Queue
from bot.store.queue_tables import QueuedRelease
from bot.store.sightings import Decided
from bot.watcher.assembly import Actor
from bot.watcher.dispatching import queue_turn
from bot.watcher.notify import VARIABLE, post
from bot.workplace.workplace import Workplace
from tests.hand_clock import HandClock
from tests.local_github.repository import Runner
from tests.local_github.scripted import Script
from tests.local_github.server import TOKEN, GitHub, Kind
from tests.unit.watcher.test_notify import receiver

EVERY = ("asked", "queued", "starting", "running", "published", "failed", "ignored")


class Desk:
    """A queue whose executor is the local GitHub."""

    def __init__(self, folder: Path, github: GitHub, **settings: object) -> None:
        self.github, self.clock = github, HandClock(time.time())
        self.ledger = Ledger(folder / "ledger")
        self.queue = Queue(self.ledger)
        values = {
            "repo": "me/builds", "api_url": github.url, "timeout_seconds": 1.0,
            "poll_seconds": 0.01, **settings,
        }  # fmt: skip
        self.settings = GitHubSettings.model_validate(values)
        self.said: list[str] = []
        self.executor = self.another()

    def another(self) -> OnGitHub:
        """Another watcher's executor on the same ledger."""
        return on_github(self.settings, self.ledger, self.said.append, self.clock)

    def release(self, letter: str) -> None:
        decided = Decided(
            repo=f"lab/{letter}", commit=letter * 40, kind="build", outcome="eligible",
            reason="r", until=None, look_at=None, weights=letter, weights_at=None, facts={},
        )  # fmt: skip
        self.queue.propose(decided, ("I-Mini",), self.clock.now(), needs_approval=False)

    def turn(self, executor: OnGitHub | None = None, *, attempts: int = 4) -> None:
        policy = Policy.model_validate({"at_once": 9, "per_hour": 99, "attempts": attempts})
        queue_turn(self.queue, executor or self.executor, policy, self.clock, Narrator(quiet=True))
        self.clock.time += 1

    @property
    def task(self) -> QueuedRelease:
        [found] = self.queue.tasks(EVERY)
        return found

    def until(self, state: str, turns: int = 20) -> QueuedRelease:
        """Turns of the queue, each after the runs ended, until the task is in a state."""
        for _ in range(turns):
            self.turn()
            self.github.repository.wait()
            if self.task.state == state:
                return self.task
            self.clock.time = max(self.clock.time + STARTING, self.task.due)
        raise AssertionError(self.task)


@pytest.fixture
def desk(tmp_path: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    return Desk(tmp_path, github)


def test_a_release_becomes_a_run_and_is_published(
    desk: Desk, github: GitHub, script: Script
) -> None:
    desk.release("a")
    done = desk.until("published")
    [run] = github.repository.runs
    assert done.link == f"{github.url}/me/builds/actions/runs/{run.id}"
    assert script.events[0]["inputs"]["model"] == "lab/a"
    assert script.events[0]["inputs"]["tiers"] == "I-Mini"


def test_a_failure_is_told_and_the_next_attempt_is_another_run(
    desk: Desk, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "failure"})
    script.log = "Error: the disk is full; make room\n##[error]Process completed with exit code 5."
    desk.release("a")
    failed = desk.until("queued")
    assert failed.error == "prepare, Run prepare: Error: the disk is full; make room"
    desk.until("published")
    first, second = github.repository.runs
    assert first.event["inputs"]["delivery"] != second.event["inputs"]["delivery"]


def test_a_model_that_cannot_be_used_is_given_up_at_once(desk: Desk, script: Script) -> None:
    script.results.append({"prepare": "failure"})
    script.log = "Error: it is no mixture\n##[error]Process completed with exit code 4."
    desk.release("a")
    assert desk.until("failed").attempts == 1


def test_what_another_bot_works_on_is_ordered_anew_without_counting(
    desk: Desk, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "failure"})
    script.log = "Error: another bot works on it\n##[error]Process completed with exit code 10."
    desk.release("a")
    desk.turn()
    github.repository.wait()
    desk.turn()
    assert (desk.task.state, desk.task.attempts) == ("queued", 0)
    assert desk.until("published").attempts == 1
    assert len(github.repository.runs) == 2


def test_a_release_that_failed_for_good_is_built_when_somebody_says_retry(
    desk: Desk, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "failure"})
    desk.release("a")
    desk.turn(attempts=1)
    github.repository.wait()
    desk.turn(attempts=1)
    assert desk.task.state == "failed"
    desk.queue.retry("lab/a", desk.clock.now())
    desk.until("published")
    assert len(github.repository.runs) == 2


def test_a_run_that_was_run_again_by_hand_settles_its_task(
    desk: Desk, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "success", "quantize": "failure", "publish": "success"})
    desk.release("a")
    desk.until("queued")
    [run] = github.repository.runs
    github.repository.again(run)
    assert desk.queue.resumed(desk.task.link or "", desk.clock.now()) is not None
    desk.until("published")
    assert [run.attempt for run in github.repository.runs] == [2]
    assert desk.queue.resumed("http://other", 0.0) is None


@pytest.mark.parametrize("event", ["workflow_dispatch", "repository_dispatch"])
@pytest.mark.parametrize(
    "kind",
    ["401", "403", "403-secondary", "403-used-up", "429", "500", "502-html", "after-500",
     "timeout", "cut", "cut-before", "unlisted"],
)  # fmt: skip
def test_no_trouble_of_an_order_loses_it_or_doubles_it(
    desk: Desk, github: GitHub, kind: Kind, event: str
) -> None:
    desk = Desk(desk.ledger.path.parent / "another", github, event=event)
    github.fail("POST", "dispatches$", kind)
    desk.release("a")
    desk.turn()
    github.repository.wait()
    desk.turn()
    github.hidden.clear()
    desk.until("published")
    assert len(github.repository.runs) == 1
    assert desk.task.attempts == 1


def test_a_watcher_that_dies_after_an_order_is_followed_by_one_that_finds_it(
    desk: Desk, github: GitHub
) -> None:
    desk.release("a")
    claimed = desk.queue.claim(desk.clock.now(), at_once=1, per_hour=9)
    assert claimed is not None
    desk.executor.start(claimed)  # and never says so
    desk.clock.time += STARTING + 1
    desk.turn(desk.another())
    github.repository.wait()
    desk.turn(desk.another())
    assert desk.task.state == "published"
    assert len(github.repository.runs) == 1


def test_of_two_deliveries_by_github_the_one_that_works_counts(desk: Desk, github: GitHub) -> None:
    desk.release("a")
    with github.repository.held():
        github.fail("POST", "dispatches$", "duplicate")
        desk.turn()
        first, second = github.repository.runs
        assert first.event == second.event
        github.repository.cancel(first)  # as GitHub does with the older in a group
    github.repository.wait()
    desk.turn()
    assert desk.task.state == "published"
    assert (desk.task.link or "").endswith(str(second.id))
    assert len(github.repository.runs) == 2


@pytest.mark.road
def test_many_orders_through_a_bad_day(desk: Desk, github: GitHub) -> None:
    """Half of all orders and some of all questions fail in one way or another."""
    chance = random.Random(8)  # noqa: S311 - the same bad day every time
    kinds: list[Kind] = ["500", "after-500", "cut", "cut-before", "429", "403-secondary"]
    letters = "abcdef"
    for letter in letters:
        desk.release(letter)
        github.fail("POST", "dispatches$", chance.choice(kinds))
        github.fail("GET", "runs", chance.choice(["429", "403-secondary"]))
    for _ in range(60):
        desk.turn(desk.another() if chance.random() < 0.2 else None)
        github.repository.wait()
        desk.clock.time += 100
        if desk.queue.counts() == {"published": len(letters)}:
            break
    assert desk.queue.counts() == {"published": len(letters)}
    models = Counter(run.event["inputs"]["model"] for run in github.repository.runs)
    assert models == {f"lab/{letter}": 1 for letter in letters}


def test_what_is_no_order_is_given_up_and_stops_nobody(desk: Desk, github: GitHub) -> None:
    desk.queue.propose(
        Decided(
            repo='lab/x"; touch PWNED; "', commit="e" * 40, kind="build", outcome="eligible",
            reason="r", until=None, look_at=None, weights="e", weights_at=None, facts={},
        ),
        (), desk.clock.now(), needs_approval=False,
    )  # fmt: skip
    desk.turn()
    assert desk.task.state == "failed"
    assert "a model is ORG/NAME" in (desk.task.error or "")
    assert github.count("POST", "") == 0
    assert not Path("PWNED").exists()


# ── standing still, ending early ────────────────────────────────────────────────────────────────


def test_an_offline_runner_is_said_once_and_shown(desk: Desk, github: GitHub) -> None:
    github.repository.runners = [Runner(name="gpu-1", online=False)]
    desk.release("a")
    for _ in range(3):
        desk.turn()
        desk.clock.time += 3_600
    [text] = desk.said
    assert text.startswith("lab/a: prepare waits since")
    assert text.endswith("runner gpu-1 offline; start it again")
    desk.executor.show()
    assert "runner gpu-1 offline" in github.repository.issues[0].body
    assert desk.task.state == "running"


def test_standing_still_is_notified_once_per_change_whatever_watchers_look(
    desk: Desk, github: GitHub
) -> None:
    """Each turn is a watcher of its own, as on a schedule: what was told is in the ledger."""

    def told() -> list[tuple[str, str]]:
        found = desk.queue.untold(("stalled", "goes_on"), 0.0, 100)
        return [(event.kind, event.text.rpartition(": ")[2]) for event in found]

    gone = [Runner(name="gpu-1", online=False)]
    github.repository.runners = gone
    desk.release("a")
    for _ in range(4):
        desk.turn(desk.another())
        desk.clock.time += 3_600
    offline = ("stalled", "runner gpu-1 offline; start it again")
    assert told() == [offline]
    github.repository.runners = []
    for _ in range(2):
        desk.turn(desk.another())
    no_runner = ("stalled", "no runner of the repository has the labels self-hosted, gpu")
    assert told() == [offline, no_runner]
    [run] = github.repository.runs
    run.status = "in_progress"
    for _ in range(2):
        desk.turn(desk.another())
    assert told() == [offline, no_runner, ("goes_on", "a runner has it")]
    run.status, github.repository.runners = "queued", gone
    desk.turn(desk.another())
    assert told()[3:] == [offline]
    clock = desk.clock
    with receiver(200) as (url, got):
        sent = post(desk.queue, WatchSettings(), SecretStr(url), clock)
        assert (sent, len(got)) == (3, 3)  # `goes_on` only where settings say so
    assert got[0]["text"].startswith("`lab/a` stands still: `prepare waits since")
    assert got[0]["text"].endswith(f"/actions/runs/{run.id}")


@pytest.mark.parametrize(
    ("line", "page"),
    [
        ("2026-11-25T01:00:00.0000000Z url=https://huggingface.co/me/a-GGUF", True),
        ("url=https://huggingface.co.evil.example/me/a-GGUF", False),
        ("url=https://huggingface.co/me/a-GGUF/../../x", False),
        ("url=javascript:alert(1)", False),
        ("", False),
    ],
)
def test_what_was_published_is_linked_where_the_run_tells(
    desk: Desk, github: GitHub, script: Script, line: str, page: bool
) -> None:
    script.log = line
    desk.release("a")
    done = desk.until("published")
    address = "https://huggingface.co/me/a-GGUF"
    assert done.page == (address if page else None)
    desk.executor.show()
    body = github.repository.issues[0].body
    assert (f"[repository]({address})" in body) is page
    assert f"[run]({done.link})" in body
    table_text = board_text(board(desk.ledger, load(None), desk.clock.now()))
    assert (address in table_text) is page
    assert str(done.link) in table_text


def test_a_log_that_cannot_be_read_keeps_nothing_from_being_published(
    desk: Desk, github: GitHub
) -> None:
    github.fail("GET", "logs$", "403", times=5)
    desk.release("a")
    assert desk.until("published").page is None


def test_a_run_that_nobody_cancelled_is_ordered_again_and_one_that_we_did_is_not(
    desk: Desk, github: GitHub
) -> None:
    desk.release("a")
    with github.repository.held():
        desk.turn()
        github.repository.cancel(github.repository.runs[0])
        desk.turn()
        assert desk.task.state == "queued"
        assert "nobody asked for it" in (desk.task.error or "")
        desk.clock.time = desk.task.due
        desk.turn()
        second = github.repository.runs[1]
        desk.ledger.remember(f"cancelled:{second.id}", "by hand", desk.clock.now())
        github.repository.cancel(second)
        desk.turn()
    assert (desk.task.state, desk.task.error) == ("failed", "it was cancelled by `bot cancel`")


def test_a_run_that_vanished_is_a_failure_after_a_while(desk: Desk, github: GitHub) -> None:
    desk.release("a")
    with github.repository.held():
        desk.turn()
        github.repository.runs.clear()
        desk.turn()
        assert desk.task.state == "running"
        desk.clock.time += 700
        desk.turn()
    assert (desk.task.state, desk.task.error) == ("queued", "its run has vanished")


def test_a_run_is_asked_about_now_and_then(desk: Desk, github: GitHub) -> None:
    patient = Desk(desk.ledger.path.parent / "patient", github, poll_seconds=30)
    patient.release("a")
    with github.repository.held():
        for _ in range(10):
            patient.turn()
    assert github.count("GET", r"runs/\d+$") <= 3


def test_the_dashboards_trouble_is_said_once_and_stops_nothing(desk: Desk, github: GitHub) -> None:
    github.fail("GET", "issues$", "403", times=3)
    for _ in range(4):
        desk.executor.show()
        desk.clock.time += 61
    assert len(desk.said) == 1
    assert desk.said[0].startswith("the dashboard: GITHUB_TOKEN may not do this")
    assert len(github.repository.issues) == 1


def test_without_a_repository_or_a_token_there_is_nothing_to_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"github\.repo is not set"):
        on_github(GitHubSettings(), desk.ledger, print)
    monkeypatch.delenv("GITHUB_TOKEN")
    with pytest.raises(AccessError, match="GITHUB_TOKEN is not set"):
        desk.another()


def test_a_title_names_delivery_and_model(desk: Desk, github: GitHub) -> None:
    desk.release("a")
    desk.turn()
    github.repository.wait()
    [run] = desk.executor._repository.runs("release.yml", 0.0)
    assert titled(run)[1] == "lab/a"


def test_a_channel_that_fails_all_day_keeps_no_other_from_its_work(
    desk: Desk, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notifications are refused with 500; builds begin, the dashboard is there, it is said once."""
    out = io.StringIO()
    settings = load(None, workdir=desk.ledger.path.parent)
    workplace = Workplace(settings, Narrator(out), None, ledger=desk.ledger)
    actor = Actor(workplace, desk.queue, desk.executor, desk.clock)
    desk.release("a")
    with receiver(*[500] * 40) as (url, got):
        monkeypatch.setenv(VARIABLE, url)
        desk.queue.say(desk.clock.now(), "asked", "x", "lab/a")
        for _ in range(4):
            actor.turn()
            github.repository.wait()
            desk.clock.time += 6 * 3_600 - 60
        assert len(got) == 4
        assert "lab/a" in github.repository.issues[0].body
        assert desk.task.state == "published"
        assert out.getvalue().count("status 500") == 1


def test_github_that_is_away_keeps_no_notification(
    desk: Desk, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(None, workdir=desk.ledger.path.parent)
    workplace = Workplace(settings, Narrator(quiet=True), None, ledger=desk.ledger)
    actor = Actor(workplace, desk.queue, desk.executor, desk.clock)
    github.fail("GET", "", "500", times=999)
    github.fail("POST", "", "500", times=999)
    with receiver() as (url, got):
        monkeypatch.setenv(VARIABLE, url)
        desk.queue.say(desk.clock.now(), "asked", "x", "lab/a")
        actor.turn()
        assert len(got) == 1
