"""The client against a local GitHub: what it asks, what it makes of trouble."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.clients.github import github_client
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_actions import LOG_BYTES
from bot.clients.github.github_client import Limited, Unanswered
from bot.clients.github.github_replies import RunJob, Runner, WorkflowRun
from bot.errors import AccessError, BotError, SettingsError, UnreachableError
from tests.hand_clock import HandClock
from tests.local_github.scripted import FILES, Script
from tests.local_github.server import BOT, TOKEN, GitHub, Kind, running_github
from tests.local_github.shapes import EXAMPLES, check

INPUTS = {"model": "lab/Some-MoE", "revision": "c" * 40, "tiers": "", "delivery": "d" * 16}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def repository(github: GitHub, clock: HandClock) -> GithubRepository:
    return seen(github, clock)


def seen(github: GitHub, clock: HandClock | None = None, token: str = TOKEN) -> GithubRepository:
    """The repository as the client sees it; patient for a second."""
    client = github_client.connect(token, github.url, timeout=1.0)
    return GithubRepository(client, github.repository.name, clock)


def begun(repository: GithubRepository) -> int:
    run_id = repository.start("release.yml", "main", INPUTS)
    assert run_id is not None
    return run_id


def test_the_examples_of_github_are_understood() -> None:
    for name, example in EXAMPLES.items():
        added = {"created_at": "2020-01-20T17:42:00Z"} if name == "job" else {}  # it has none there
        check(name, {**example, **added})
    assert WorkflowRun.model_validate(EXAMPLES["workflow-run"]).id == 30433642
    job = RunJob.model_validate(EXAMPLES["job"])
    assert (job.conclusion, len(job.steps)) == ("success", 10)
    assert Runner.model_validate(EXAMPLES["runner"]).takes(("SELF-hosted",))


def test_a_run_is_started_followed_and_its_jobs_are_listed(
    repository: GithubRepository, github: GitHub
) -> None:
    run_id = begun(repository)
    github.repository.wait()
    run = repository.run(run_id)
    assert (run.status, run.conclusion, run.run_attempt) == ("completed", "success", 1)
    assert run.display_title == f"apex-bot {'d' * 16} lab/Some-MoE"
    assert repository.runs("release.yml", 0.0) == (run,)
    assert repository.runs("release.yml", run.created_at.timestamp() + 1) == ()
    assert [job.name for job in repository.jobs(run_id)] == ["prepare", "quantize", "publish"]
    assert [runner.name for runner in repository.runners()] == ["gpu-1"]
    sent = next(request for request in github.asked if request.path.endswith("/dispatches"))
    assert sent.headers["X-GitHub-Api-Version"] == github_client.API_VERSION
    assert json.loads(sent.body)["inputs"] == INPUTS


def test_an_event_starts_the_workflow_too(repository: GithubRepository, github: GitHub) -> None:
    repository.dispatch("apex-bot-release", INPUTS)
    repository.dispatch("something-else", INPUTS)
    github.repository.wait()
    [run] = repository.runs("release.yml", 0.0)
    assert (run.event, run.display_title.split()[1]) == ("repository_dispatch", "d" * 16)


def test_more_runs_than_a_page_are_listed(repository: GithubRepository, github: GitHub) -> None:
    with github.repository.held():
        event = {"inputs": INPUTS}
        begin = github.repository.begin
        run_ids = {begin("release.yml", "workflow_dispatch", event, "main").id for _ in range(105)}
        assert {run.id for run in repository.runs("release.yml", 0.0)} == run_ids
        assert len(repository.runs("release.yml", 0.0, limit=7)) == 7


def test_an_enterprise_server_which_does_not_tell_the_run(tmp_path: Path) -> None:
    with running_github(tmp_path, Script(), prefix="/api/v3") as github:
        github.repository.push(FILES)
        github.fail("POST", "dispatches$", "422-details", times=2)
        repository = seen(github)
        assert repository.start("release.yml", "main", INPUTS) is None
        github.repository.wait()
        assert len(repository.runs("release.yml", 0.0)) == 1
        issue = repository.open_issue("t", "b", "l")
        assert repository.editors(issue.number).viewer == BOT


def test_cancel_and_rerun(repository: GithubRepository, github: GitHub, script: Script) -> None:
    with github.repository.held():
        run_id = begun(repository)
        repository.cancel(run_id)
        assert repository.run(run_id).conclusion == "cancelled"
        with pytest.raises(SettingsError, match="409"):
            repository.cancel(run_id, force=True)
    script.results.append({"prepare": "failure"})
    repository.rerun(run_id, failed=False)
    github.repository.wait()
    assert repository.run(run_id).conclusion == "failure"
    repository.rerun(run_id, failed=True)
    github.repository.wait()
    assert (repository.run(run_id).conclusion, repository.run(run_id).run_attempt) == ("success", 3)
    with pytest.raises(AccessError, match="no failed jobs"):
        repository.rerun(run_id, failed=True)


def test_the_end_of_a_log_is_read_where_github_signs_it_without_the_token(
    repository: GithubRepository, github: GitHub, script: Script
) -> None:
    script.log = "x" * 600_000 + "the end"
    run_id = begun(repository)
    github.repository.wait()
    log = repository.log(repository.jobs(run_id)[0].id)
    assert log.endswith("the end")
    assert len(log) == LOG_BYTES
    signed = next(request for request in github.asked if request.path.startswith("/signed/"))
    assert "Authorization" not in signed.headers
    github.fail("GET", "logs$", "404")
    assert repository.log(1) == ""


def test_issues_are_opened_listed_and_edited(repository: GithubRepository, github: GitHub) -> None:
    issue = repository.open_issue("Title", "text", "apex-bot")
    github.repository.issues[0].state = "closed"
    repository.open_issue("Other", "", "other")
    assert [i.number for i in repository.issues("apex-bot")] == [issue.number]
    assert repository.edit_issue(issue.number, "new").body == "new"
    github.edit("writer", str.upper)
    edited = repository.issue(issue.number)
    assert (edited.body, edited.author, edited.open) == ("NEW", BOT, False)
    editors = repository.editors(issue.number)
    assert [edit.login for edit in editors.edits] == ["writer", BOT]
    assert repository.may_write("writer")
    assert repository.may_write("owner")
    assert not repository.may_write("reader")
    assert not repository.may_write("../../user")


# ── trouble ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("401", AccessError, "renew GITHUB_TOKEN"),
        ("403", AccessError, "not accessible by personal access token"),
        ("404", AccessError, "look at `github`"),
        ("403-secondary", Limited, "for 2 s"),
        ("403-used-up", Limited, "no more requests"),
        ("429", Limited, "for 60 s"),
        ("500", Unanswered, "in trouble"),
        ("502-html", Unanswered, "in trouble"),
        ("timeout", Unanswered, "did not answer"),
        ("cut", Unanswered, "did not answer"),
        ("cut-before", Unanswered, "did not answer"),
    ],
)
def test_what_goes_wrong_with_a_post_is_told_and_it_is_sent_once(
    repository: GithubRepository, github: GitHub, kind: Kind, error: type[BotError], words: str
) -> None:
    github.fail("POST", "dispatches$", kind)
    with pytest.raises(error, match=words) as caught:
        repository.start("release.yml", "main", INPUTS)
    assert github.count("POST", "dispatches$") == 1
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(("kind", "times"), [("500", 3), ("502-html", 2), ("cut-before", 1)])
def test_a_get_is_repeated(
    repository: GithubRepository, github: GitHub, kind: Kind, times: int
) -> None:
    github.fail("GET", "runners$", kind, times)
    assert len(repository.runners()) == 1
    assert github.count("GET", "runners$") == times + 1


def test_nothing_is_asked_while_github_wants_silence(
    repository: GithubRepository, github: GitHub, clock: HandClock
) -> None:
    github.fail("GET", "runners$", "403-secondary")
    for _ in range(3):
        with pytest.raises(Limited):
            repository.runners()
    assert github.count("GET", "") == 1
    clock.sleep(3)
    repository.runners()


def test_silence_grows_where_github_names_no_time(
    repository: GithubRepository, github: GitHub, clock: HandClock
) -> None:
    github.fail("GET", "runners$", "429", times=3)
    waits = []
    for _ in range(3):
        with pytest.raises(Limited) as caught:
            repository.runners()
        waits.append(caught.value.until - clock.now())
        clock.sleep(waits[-1] + 1)
    assert waits == [60.0, 120.0, 240.0]
    repository.runners()
    github.fail("GET", "runners$", "429")
    with pytest.raises(Limited) as caught:
        repository.runners()
    assert caught.value.until - clock.now() == 60.0


def test_what_github_refuses_is_told_in_its_words(repository: GithubRepository) -> None:
    with pytest.raises(SettingsError, match="No ref found for: nowhere"):
        repository.start("release.yml", "nowhere", INPUTS)
    with pytest.raises(SettingsError, match=r'Unexpected inputs provided: \["x"\]'):
        repository.start("release.yml", "main", {**INPUTS, "x": "y"})
    with pytest.raises(AccessError, match="bot init"):
        repository.start("other.yml", "main", INPUTS)


def test_an_answer_of_another_kind_is_not_believed(
    repository: GithubRepository, github: GitHub
) -> None:
    github.fail("GET", "runners$", "html")
    with pytest.raises(UnreachableError, match="not understood"):
        repository.runners()
    github.repository.runners[0].name = "x" * 500
    with pytest.raises(UnreachableError, match="not understood"):
        repository.runners()


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def heard() -> Iterator[Callable[[], str]]:
    """All that any library logs, at debug level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield stream.getvalue
    root.removeHandler(handler)
    root.setLevel(before)


def test_no_token_and_no_signature_is_logged(
    github: GitHub, script: Script, heard: Callable[[], str]
) -> None:
    repository = seen(github)
    script.log = "some words"
    github.fail("GET", "^/signed/", "500")  # what repeats a question tells its address, too
    run_id = begun(repository)
    github.repository.wait()
    repository.log(repository.jobs(run_id)[0].id)
    github.fail("POST", "dispatches$", "timeout")
    with pytest.raises(UnreachableError):
        begun(repository)
    logging.getLogger("github3").debug("Authorization: token %s", TOKEN)
    log = heard()
    assert "POST " in log
    assert log.count("/signed/") >= 3
    assert TOKEN not in log
    assert "SIGNATURE" not in log
    assert TOKEN[:8] not in repr(repository) + repr(vars(repository)["_actions"])
