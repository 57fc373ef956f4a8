"""How far a run is, on a local GitHub: words for states, and for what is odd."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from bot.actions.follow import Progress, exit_code, follow_run, missing, state, telling
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_client import connect
from bot.clients.github.github_replies import Runner, WorkflowRun
from tests.local_github.repository import Run
from tests.local_github.repository import Runner as LocalRunner
from tests.local_github.scripted import Script
from tests.local_github.server import TOKEN, GitHub
from tests.local_github.shapes import EXAMPLES

LOG = """\
2026-11-02T10:00:00.0000000Z ##[group]Run bot prepare
2026-11-02T10:00:00.1000000Z \x1b[36;1mbot prepare\x1b[0m
2026-11-02T10:00:00.2000000Z ##[endgroup]
2026-11-02T10:00:07.0000000Z quantizing 9 tiers
2026-11-02T10:00:08.0000000Z Error: 41.2 GB are needed in /data, 12.0 GB are free; make room
2026-11-02T10:00:08.1000000Z ##[error]Process completed with exit code 5.
"""


@pytest.fixture
def repository(github: GitHub) -> GithubRepository:
    return GithubRepository(connect(TOKEN, github.url, timeout=5), "me/builds")


def begun(github: GitHub, delivery: str = "a" * 16) -> Run:
    inputs = {"model": "lab/M", "revision": "c" * 40, "tiers": "", "delivery": delivery}
    return github.repository.begin("release.yml", "workflow_dispatch", {"inputs": inputs}, "main")


def looked(
    repository: GithubRepository, run: Run, *, later: float = 0.0, by_us: bool = False
) -> Progress:
    workflow_run = repository.run(run.id)
    return follow_run(repository, workflow_run, time.time() + later, patience=1_800, by_us=by_us)


@pytest.mark.parametrize(
    ("status", "conclusion", "expected"),
    [
        ("queued", None, "queued"),
        ("requested", None, "queued"),
        ("waiting", None, "queued"),
        ("pending", None, "queued"),
        ("in_progress", None, "running"),
        ("completed", "success", "succeeded"),
        ("completed", "neutral", "succeeded"),
        ("completed", "failure", "failed"),
        ("completed", "timed_out", "failed"),
        ("completed", "startup_failure", "failed"),
        ("completed", "action_required", "failed"),
        ("completed", "stale", "failed"),
        ("completed", "skipped", "failed"),
        ("completed", None, "failed"),
        ("completed", "cancelled", "cancelled"),
    ],
)
def test_states(status: str, conclusion: str | None, expected: str) -> None:
    fields = {**EXAMPLES["workflow-run"], "status": status, "conclusion": conclusion}
    assert state(WorkflowRun.model_validate(fields)) == expected


def test_a_run_that_ended_well(repository: GithubRepository, github: GitHub) -> None:
    run = begun(github)
    github.repository.wait()
    progress = looked(repository, run)
    assert (progress.state, progress.trouble, progress.failures) == ("succeeded", None, ())


def test_a_failed_step_is_named_with_what_its_log_tells(
    repository: GithubRepository, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "success", "quantize": "failure", "publish": "skipped"})
    script.log = LOG
    run = begun(github)
    github.repository.wait()
    progress = looked(repository, run)
    [failure] = progress.failures
    assert progress.state == "failed"
    assert progress.again
    assert (failure.job, failure.step, failure.exit_code) == ("quantize", "Run quantize", 5)
    assert failure.lines == ("Error: 41.2 GB are needed in /data, 12.0 GB are free; make room",)
    assert progress.trouble == f"quantize, Run quantize: {failure.lines[0]}"


def test_only_the_lines_of_the_failed_step_are_read(
    repository: GithubRepository, github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "failure"})
    run = begun(github)
    github.repository.wait()
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    run.started = run.updated = f"{stamp}Z"
    lines = (
        "2020-01-01T00:00:00.0Z Error: of a step before",
        f"{stamp}.5Z Error: of this step",
        "2099-01-01T00:00:00.0Z Error: of a step after",
    )
    github.repository.log(run).write_text("\n".join(lines))
    assert looked(repository, run).failures[0].lines == ("Error: of this step",)


def test_a_log_that_is_gone_and_a_failure_without_jobs(
    repository: GithubRepository, github: GitHub, script: Script
) -> None:
    script.results += [{"prepare": "failure"}, {"prepare": "success"}]
    run = begun(github)
    github.repository.wait()
    github.fail("GET", "logs$", "404")
    assert looked(repository, run).trouble == "prepare, Run prepare: its log says nothing"
    other = begun(github, "b" * 16)
    github.repository.wait()
    other.conclusion = "startup_failure"
    assert looked(repository, other).trouble == (
        "GitHub says startup_failure, and names no job that failed"
    )


def test_cancelled_by_us_by_somebody_and_by_nobody(
    repository: GithubRepository, github: GitHub
) -> None:
    with github.repository.held():
        run = begun(github)
        github.repository.cancel(run)
        nobody = looked(repository, run)
        ours = looked(repository, run, by_us=True)
    run.started = run.updated
    somebody = looked(repository, run)
    assert {progress.state for progress in (nobody, ours, somebody)} == {"cancelled"}
    assert "nobody asked for it" in (nobody.trouble or "")
    assert "`bot cancel`" in (ours.trouble or "")
    assert "somebody cancelled it on GitHub" in (somebody.trouble or "")
    assert (nobody.again, ours.again, somebody.again) == (True, False, False)


def test_a_run_queued_too_long_is_explained(repository: GithubRepository, github: GitHub) -> None:
    github.repository.runners = [LocalRunner(name="gpu-1", online=False)]
    run = begun(github)
    assert looked(repository, run, later=1_700).trouble is None
    offline = looked(repository, run, later=2_000)
    assert offline.state == "queued"
    assert offline.trouble == "prepare waits since 33 min: runner gpu-1 offline; start it again"
    github.repository.runners = [LocalRunner(name="cpu", labels=("self-hosted",))]
    assert "no runner of the repository has the labels self-hosted, gpu" in (
        looked(repository, run, later=2_000).trouble or ""
    )
    github.fail("GET", "runners$", "403")
    assert looked(repository, run, later=2_000).trouble == (
        "prepare waits for a runner since 33 min"
    )
    run.status = "waiting"
    assert "approve its environment" in (looked(repository, run, later=2_000).trouble or "")


def test_why_no_runner_takes_a_job() -> None:
    def runner(*, online: bool, busy: bool) -> Runner:
        fields = {"status": "online" if online else "offline", "busy": busy, "name": "one"}
        return Runner.model_validate({**EXAMPLES["runner"], **fields})

    labels = ("self-hosted",)
    assert "is busy" in missing(labels, (runner(online=True, busy=True),))
    assert "is free" in missing(labels, (runner(online=True, busy=False),))
    both = (runner(online=False, busy=False), runner(online=False, busy=False))
    assert missing(labels, both) == "runners one, one offline; start it again"
    assert "labels self-hosted" in missing(labels, ())


def test_words_of_a_log_do_nothing_to_a_terminal() -> None:
    assert telling(["\x1b[31mfatal: \x1b]0;owned\x07 x" + "y" * 999])[0].startswith("fatal: xyyy")
    assert len(telling(["fatal: " + "y" * 999])[0]) == 300
    assert telling(["a", "", "##[group]b", "c"]) == ("a", "c")
    assert telling([]) == ()
    assert exit_code(["##[error]Process completed with exit code 4."]) == 4
    assert exit_code(["exit code 4."]) is None
