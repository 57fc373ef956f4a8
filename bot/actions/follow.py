"""How far a run on GitHub is, in this bot's words; why it stands still, why it failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.clients.github.github import GithubRepository
from bot.clients.github.github_replies import RunJob, Runner, RunStep, WorkflowRun
from bot.clock import iso, span
from bot.errors import AccessError
from bot.legible import legible

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

TELLING = 5  # lines of a log
LONGEST = 300  # letters of a line
LOGS = 3  # failed jobs whose logs are read
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z ?")
EXIT = re.compile(r"^##\[error\]Process completed with exit code (\d+)\.?$")
FAILED = ("failure", "timed_out", "startup_failure", "action_required", "stale")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that failed: where in it, with which exit code, and what its log says."""

    job: str
    step: str | None
    exit_code: int | None
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """In one line: job, step, and the last line of its log."""
        where = f"{self.job}, {self.step}" if self.step else self.job
        why = self.lines[-1] if self.lines else "its log says nothing"
        return f"{where}: {why}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. `trouble` says in a line why it stands still or ended badly."""

    run: WorkflowRun
    state: State
    trouble: str | None = None
    failures: tuple[Failure, ...] = ()
    again: bool = True  # whether another attempt may do better


def state(run: WorkflowRun) -> State:
    """GitHub's status and conclusion as one of five states."""
    if run.status == "in_progress":
        return "running"
    if run.status != "completed":
        return "queued"  # also requested, waiting, pending
    if run.conclusion in ("success", "neutral"):
        return "succeeded"
    return "cancelled" if run.conclusion == "cancelled" else "failed"


def follow_run(
    repository: GithubRepository,
    run: WorkflowRun,
    now: float,
    *,
    patience: float,
    by_us: bool = False,
) -> Progress:
    """How far a run is; asks for jobs, runners and logs where something is odd.

    `patience`: seconds that a job may wait for a runner. `by_us`: the run was cancelled by
    `bot cancel`.
    """
    match state(run):
        case "succeeded":
            return Progress(run=run, state="succeeded")
        case "cancelled":
            return _cancelled(repository, run, by_us=by_us)
        case "failed":
            return _failed(repository, run)
        case open_state:
            overdue = now - run.created_at.timestamp() > patience
            trouble = _standing_still(repository, run, now, patience) if overdue else None
            return Progress(run=run, state=open_state, trouble=trouble)


def _cancelled(repository: GithubRepository, run: WorkflowRun, *, by_us: bool) -> Progress:
    if by_us:
        text, may_retry = "it was cancelled by `bot cancel`", False
    elif any(job.runner_name for job in repository.jobs(run.id)):
        text, may_retry = (
            "somebody cancelled it on GitHub while it ran; `bot retry` queues it",
            False,
        )
    else:
        # GitHub does this to the older of two runs that wait in a group, and after 24 hours
        text = "cancelled, and nobody asked for it: GitHub gave it up before a runner took it"
        may_retry = True
    return Progress(run=run, state="cancelled", trouble=text, again=may_retry)


def _failed(repository: GithubRepository, run: WorkflowRun) -> Progress:
    broken = [job for job in repository.jobs(run.id) if job.conclusion in FAILED]
    failures = tuple(_failure(repository, job) for job in broken[:LOGS])
    if failures:
        more = f" (and {len(broken) - 1} more jobs)" if len(broken) > 1 else ""
        text = failures[0].text + more
    else:
        text = f"GitHub says {run.conclusion}, and names no job that failed"
    return Progress(run=run, state="failed", trouble=text, failures=failures)


def _failure(repository: GithubRepository, job: RunJob) -> Failure:
    step = next((step for step in job.steps if step.conclusion in FAILED), None)
    if job.conclusion == "timed_out":
        return Failure(job=_plain(job.name), step=None, exit_code=None, lines=("it timed out",))
    lines = _within(repository.log(job.id).splitlines(), step)
    return Failure(
        job=_plain(job.name),
        step=_plain(step.name) if step else None,
        exit_code=exit_code(lines),
        lines=telling(lines),
    )


def _within(lines: Sequence[str], step: RunStep | None) -> list[str]:
    """The lines of one step: GitHub's logs of a job go through all, each line with its time."""
    if step is None or step.started_at is None or step.completed_at is None:
        return list(lines)
    first, last = (iso(time.timestamp()) or "" for time in (step.started_at, step.completed_at))
    inside = [line for line in lines if STAMP.match(line) and first[:19] <= line[:19] <= last[:19]]
    return inside or list(lines)


def exit_code(lines: Iterable[str]) -> int | None:
    """The exit code that a step's log ends with."""
    codes = [match[1] for line in lines if (match := EXIT.match(_plain(line)))]
    return int(codes[-1]) if codes and len(codes[-1]) < 4 else None


def telling(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines of a log that tell why it failed: its errors, else its last words."""
    log_lines = [line for line in map(_plain, lines) if line and not EXIT.match(line)]
    errors = [
        line.removeprefix("##[error]")
        for line in log_lines
        if line.startswith(("##[error]", "Error:", "error:", "fatal:")) or "Error: " in line
    ]
    last = [line for line in log_lines if not line.startswith("##[")]
    return tuple(line[:LONGEST] for line in (errors or last)[-TELLING:])


def _plain(line: str) -> str:
    """A log line without its timestamp and control characters."""
    return legible(STAMP.sub("", line.removeprefix("\ufeff")))


def _standing_still(
    repository: GithubRepository, run: WorkflowRun, now: float, patience: float
) -> str | None:
    if run.status == "waiting":
        return "it waits for somebody to approve its environment on GitHub"
    waiting = [
        (job, now - (job.created_at or run.created_at).timestamp())
        for job in repository.jobs(run.id)
        if job.status in ("queued", "pending")
    ]
    overdue = [(job, age) for job, age in waiting if age > patience]
    if not overdue:
        return "it waits for another run of the same model" if run.status == "pending" else None
    job, age = overdue[0]
    try:
        runners = repository.runners()
    except AccessError:  # it takes an administrator's token
        return f"{_plain(job.name)} waits for a runner since {span(age)}"
    return f"{_plain(job.name)} waits since {span(age)}: {missing(job.labels, runners)}"


def missing(labels: tuple[str, ...], runners: Sequence[Runner]) -> str:
    """Why no runner takes a job that wants these labels."""
    label_names = ", ".join(_plain(label) for label in labels) or "no labels"
    able_runners = [runner for runner in runners if runner.takes(labels)]
    online = [runner for runner in able_runners if runner.online]
    if not able_runners:
        return f"no runner of the repository has the labels {label_names}"
    if not online:
        names = ", ".join(_plain(runner.name) for runner in able_runners[:5])
        return (
            f"{'runner' if len(able_runners) == 1 else 'runners'} {names} offline; start it again"
        )
    if all(runner.busy for runner in online):
        return f"every runner with the labels {label_names} is busy"
    return f"a runner with the labels {label_names} is free, GitHub will hand it over"
