"""Orders to a local GitHub: sent once, whatever happens on the way."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bot.actions.trigger import (
    UNLISTED,
    DispatchOrder,
    chosen_workflow,
    delivery_of,
    find_run,
    require_small,
    titled,
    trigger,
)
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_client import Limited, connect
from bot.errors import AccessError, BotError, SettingsError, SourceError, UnreachableError
from bot.settings.running import GitHubSettings
from bot.store.ledger import Ledger
from tests.hand_clock import HandClock
from tests.local_github.scripted import Script
from tests.local_github.server import TOKEN, GitHub, Kind

ORDER = DispatchOrder(model="lab/Some-MoE", revision="c" * 40, tiers=("I-Mini",), delivery="ab" * 8)
BY_INPUTS = GitHubSettings(repo="me/builds")
BY_EVENT = GitHubSettings(repo="me/builds", event="repository_dispatch")


@pytest.fixture
def clock() -> HandClock:
    return HandClock(time.time())


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "l.sqlite")


@pytest.fixture
def repository(github: GitHub, clock: HandClock) -> GithubRepository:
    return GithubRepository(connect(TOKEN, github.url, timeout=1.0), "me/builds", clock)


@pytest.mark.parametrize("settings", [BY_INPUTS, BY_EVENT], ids=["inputs", "event"])
def test_an_order_becomes_a_run_that_carries_it(
    repository: GithubRepository, github: GitHub, script: Script, settings: GitHubSettings,
    clock: HandClock, ledger: Ledger,
) -> None:  # fmt: skip
    run = trigger(repository, settings, ORDER, ledger, clock)
    assert run is not None
    assert titled(run) == (ORDER.delivery, ORDER.model)
    github.repository.wait()
    [event] = script.events
    sent = event["inputs"] if settings is BY_INPUTS else event["client_payload"]
    assert sent == {
        "model": "lab/Some-MoE", "revision": "c" * 40, "tiers": "I-Mini", "delivery": "ab" * 8,
    }  # fmt: skip


@pytest.mark.parametrize("settings", [BY_INPUTS, BY_EVENT], ids=["inputs", "event"])
@pytest.mark.parametrize("kind", ["after-500", "timeout", "cut"])
def test_what_was_taken_without_an_answer_is_found_and_not_sent_again(
    repository: GithubRepository,
    github: GitHub,
    kind: Kind,
    settings: GitHubSettings,
    clock: HandClock,
    ledger: Ledger,
) -> None:
    github.fail("POST", "dispatches$", kind)
    run = trigger(repository, settings, ORDER, ledger, clock)
    assert run is not None
    assert run.id == github.repository.runs[0].id
    assert len(github.repository.runs) == github.count("POST", "dispatches$") == 1


@pytest.mark.parametrize("kind", ["500", "502-html", "cut-before"])
def test_what_was_not_taken_is_looked_for_a_minute_and_can_be_sent_again(
    repository: GithubRepository, github: GitHub, kind: Kind, clock: HandClock, ledger: Ledger
) -> None:
    github.fail("POST", "dispatches$", kind)
    with pytest.raises(UnreachableError, match="order abab"):
        trigger(repository, BY_INPUTS, ORDER, ledger, clock)
    assert sum(clock.slept) == 60.0
    assert github.repository.runs == []
    with pytest.raises(UnreachableError, match="run it again in"):  # it may be listed yet
        trigger(repository, BY_INPUTS, ORDER, ledger, clock)
    assert github.count("POST", "dispatches$") == 1
    clock.sleep(UNLISTED)
    assert trigger(repository, BY_INPUTS, ORDER, ledger, clock) is not None
    assert len(github.repository.runs) == 1


@pytest.mark.parametrize("kind", ["403-secondary", "429"])
def test_what_was_taken_is_no_failure_because_its_run_cannot_be_read(
    repository: GithubRepository, github: GitHub, kind: Kind, clock: HandClock, ledger: Ledger
) -> None:
    github.fail("GET", r"runs/\d+$", kind)
    assert trigger(repository, BY_INPUTS, ORDER, ledger, clock) is None
    assert len(github.repository.runs) == 1


@pytest.mark.parametrize("kind", ["403-secondary", "403-used-up", "429"])
def test_a_limit_means_that_nothing_was_sent(
    repository: GithubRepository, github: GitHub, kind: Kind, clock: HandClock, ledger: Ledger
) -> None:
    github.fail("POST", "dispatches$", kind)
    with pytest.raises(Limited) as error:
        trigger(repository, BY_INPUTS, ORDER, ledger, clock)
    assert github.count("GET", "") == 0
    clock.sleep(error.value.until - clock.now() + 1)
    assert trigger(repository, BY_INPUTS, ORDER, ledger, clock) is not None
    assert len(github.repository.runs) == 1


def test_a_run_that_is_not_listed_yet_is_none_and_found_later(
    repository: GithubRepository, github: GitHub, clock: HandClock, ledger: Ledger
) -> None:
    github.fail("POST", "dispatches$", "unlisted")
    began = clock.now()
    assert trigger(repository, BY_INPUTS, ORDER, ledger, clock) is None
    github.hidden.clear()
    assert find_run(repository, BY_INPUTS, ORDER.delivery, began) is not None
    assert find_run(repository, BY_INPUTS, "0" * 16, began) is None


def test_of_a_double_delivery_the_run_that_works_counts(
    repository: GithubRepository, github: GitHub, clock: HandClock, ledger: Ledger
) -> None:
    with github.repository.held():
        github.fail("POST", "dispatches$", "duplicate")
        trigger(repository, BY_INPUTS, ORDER, ledger, clock)
        first, second = github.repository.runs
        github.repository.cancel(first)
        chosen = find_run(repository, BY_INPUTS, ORDER.delivery, clock.now())
        assert chosen is not None
        assert chosen.id == second.id
    github.repository.wait()
    github.repository.cancel(first)
    second.conclusion = "failure"
    first.conclusion = "success"
    runs = repository.runs("release.yml", 0.0)
    chosen_run = chosen_workflow(runs, ORDER.delivery)
    assert chosen_run is not None
    assert chosen_run.id == first.id
    assert chosen_workflow(runs, "f" * 16) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": 'x"; touch PWNED; "'},
        {"model": 'lab/x"; touch PWNED; "'},
        {"model": "lab/$(touch PWNED)"},
        {"model": "lab/x\n"},
        {"model": "../secret"},
        {"revision": "main"},
        {"revision": "C" * 40},
        {"tiers": ("I-Mini,`touch PWNED`",)},
        {"tiers": ("",)},
        {"delivery": "1; touch PWNED"},
    ],
)
def test_what_is_no_order_is_not_sent(
    repository: GithubRepository, github: GitHub, clock: HandClock, ledger: Ledger,
    wrong: dict[str, str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="is not sent"):
        trigger(repository, BY_INPUTS, replace(ORDER, **wrong), ledger, clock)  # type: ignore[arg-type]  # also tuples
    assert github.asked == []
    assert not Path("PWNED").exists()


def test_what_github_would_find_too_large_is_not_sent(
    repository: GithubRepository, github: GitHub, clock: HandClock, ledger: Ledger
) -> None:
    tiers = tuple(f"I-Tier-{number:06}" for number in range(5_000))
    with pytest.raises(SettingsError, match="GitHub takes 65535"):
        trigger(repository, BY_INPUTS, replace(ORDER, tiers=tiers), ledger, clock)
    assert github.asked == []
    most = replace(ORDER, tiers=tiers[:4_600])
    assert len(str(most.inputs())) > 64_000
    trigger(repository, BY_INPUTS, most, ledger, clock)
    trigger(repository, BY_EVENT, replace(most, delivery="cd" * 8), ledger, clock)
    with pytest.raises(SettingsError, match="11 values"):
        require_small(dict.fromkeys("abcdefghijk", 1))


def test_a_delivery_is_of_its_parts() -> None:
    assert delivery_of("a", 1) == delivery_of("a", "1") != delivery_of("a", 2)
    assert len(delivery_of("a")) == 16


class Later(HandClock):
    """A clock at which GitHub lists what it took some seconds after it began."""

    def __init__(self, github: GitHub, seconds: float) -> None:
        super().__init__(time.time())
        self.github, self.at = github, self.time + seconds

    def sleep(self, seconds: float) -> None:
        """As before; the run may appear meanwhile."""
        super().sleep(seconds)
        if self.time >= self.at:
            self.github.hidden.clear()


AMBIGUOUS = ("after-500", "after-400", "timeout", "cut", "unlisted")


@pytest.mark.parametrize("settings", [BY_INPUTS, BY_EVENT], ids=["inputs", "event"])
@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        *((kind, late) for kind in AMBIGUOUS for late in (10, 80)),
        pytest.param("after-500", UNLISTED - 10, marks=pytest.mark.road),
    ],
)
def test_a_run_that_is_listed_late_is_the_only_one_however_often_it_is_ordered(
    github: GitHub, kind: Kind, seconds: float, settings: GitHubSettings, ledger: Ledger
) -> None:
    clock = Later(github, seconds)
    repository = GithubRepository(connect(TOKEN, github.url, timeout=0.3), "me/builds", clock)
    github.late = True
    github.fail("POST", "dispatches$", kind)
    found, asked = None, 0
    while found is None and asked < 20:
        asked += 1
        try:
            found = trigger(repository, settings, ORDER, ledger, clock)
        except UnreachableError:
            clock.sleep(5)
    assert found is not None
    assert len(github.repository.runs) == github.count("POST", "dispatches$") == 1


@pytest.mark.parametrize("kind", ["400", "403-html"])
def test_a_refusal_that_may_be_a_proxys_is_in_doubt(
    repository: GithubRepository, github: GitHub, kind: Kind, clock: HandClock, ledger: Ledger
) -> None:
    github.fail("POST", "dispatches$", kind)
    with pytest.raises(UnreachableError, match="is not known"):
        trigger(repository, BY_INPUTS, ORDER, ledger, clock)
    clock.sleep(UNLISTED)
    assert trigger(repository, BY_INPUTS, ORDER, ledger, clock) is not None
    assert len(github.repository.runs) == 1


@pytest.mark.parametrize("kind", ["401", "403", "404", "422-details"])
def test_a_refusal_of_githubs_own_means_that_nothing_was_sent(
    repository: GithubRepository, github: GitHub, kind: Kind, clock: HandClock, ledger: Ledger
) -> None:
    """Details are not asked for where the key is what is refused; other refusals are told."""
    github.fail("POST", "dispatches$", kind)
    if kind != "422-details":
        with pytest.raises(AccessError):
            trigger(repository, BY_INPUTS, ORDER, ledger, clock)
    assert trigger(repository, BY_INPUTS, ORDER, ledger, clock) is not None
    assert sum(clock.slept) == 0.0
    assert len(github.repository.runs) == 1


def test_a_sender_that_is_killed_before_or_after_it_sent_leaves_one_run(
    github: GitHub, ledger: Ledger, clock: HandClock
) -> None:
    class Killed(GithubRepository):
        def start(self, *given: object, **named: object) -> int | None:
            if after:
                super().start(*given, **named)  # type: ignore[arg-type]  # as they came
            raise KeyboardInterrupt

    github.late = True
    client = connect(TOKEN, github.url)
    repository = GithubRepository(client, "me/builds", clock)
    for after, order in ((True, ORDER), (False, replace(ORDER, delivery="cd" * 8))):
        runs = len(github.repository.runs)
        with pytest.raises(KeyboardInterrupt):
            trigger(Killed(client, "me/builds", clock), BY_INPUTS, order, ledger, clock)
        with pytest.raises(UnreachableError, match="looked for and not sent"):
            trigger(repository, BY_INPUTS, order, ledger, clock)
        github.hidden.clear()
        if not after:
            clock.sleep(UNLISTED)
        trigger(repository, BY_INPUTS, order, ledger, clock)
        assert len(github.repository.runs) == runs + 1


def test_of_many_senders_at_once_one_sends(github: GitHub, ledger: Ledger) -> None:
    github.late = True
    gate, told = threading.Barrier(4), list[object]()

    def send() -> None:
        clock = Later(github, 10)
        repository = GithubRepository(connect(TOKEN, github.url), "me/builds", clock)
        gate.wait()
        try:
            told.append(trigger(repository, BY_INPUTS, ORDER, ledger, clock))
        except BotError as error:
            told.append(error)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(github.repository.runs) == github.count("POST", "dispatches$") == 1
    assert len(told) == 4
