"""A repository on GitHub: its workflows' runs, their jobs and logs, its runners, its issues.

A GET is repeated by itself; of anything else, whoever asks has to look first whether it was done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from github3 import GitHub
from github3.exceptions import GitHubException, NotFoundError
from pydantic import ValidationError
from requests.exceptions import RequestException

from bot.clients import bounds
from bot.clients.github.github_actions import LISTED, Actions
from bot.clients.github.github_client import MOST_PATIENCE, ODD, PATIENCE, Limited, explained
from bot.clients.github.github_replies import Editors, Issue, RunJob, Runner, WorkflowRun
from bot.clock import Clock, SystemClock
from bot.errors import BotError

LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?")

P = ParamSpec("P")
R = TypeVar("R")


def asked(
    doing: str,
) -> Callable[
    [Callable[Concatenate[GithubRepository, P], R]],
    Callable[Concatenate[GithubRepository, P], R],
]:
    """Decorates a request to GitHub: refused while its rate limit holds, failures as our errors."""

    def wrap(
        question: Callable[Concatenate[GithubRepository, P], R],
    ) -> Callable[Concatenate[GithubRepository, P], R]:
        @wraps(question)
        def careful(self: GithubRepository, /, *args: P.args, **kwargs: P.kwargs) -> R:
            self.require_allowed(doing)
            try:
                with bounds.one_question():
                    answer = question(self, *args, **kwargs)
            except (GitHubException, RequestException, ValidationError, *ODD) as error:
                raise self.failed(error, doing) from error
            self.allowed()
            return answer

        return careful

    return wrap


class GithubRepository:
    """A repository on GitHub, as far as releases need it.

    Every method raises AccessError, SettingsError, Limited, Unanswered or UnreachableError.
    """

    def __init__(self, client: GitHub, name: str, clock: Clock | None = None) -> None:
        self.name = name
        self._owner, _, self._repo = name.partition("/")
        self._client, self._clock = client, clock or SystemClock()
        self._actions = Actions({"owner": self._owner, "repo": self._repo}, client)
        self._silent_until, self._patience = 0.0, PATIENCE
        self._cached_repository: Any = None

    def require_allowed(self, doing: str) -> None:
        """Raise Limited while GitHub's rate limit holds: it bans those who go on."""
        wait = self._silent_until - self._clock.now()
        if wait > 0:
            text = f"GitHub allows no more requests for {int(wait) + 1} s ({doing}); wait"
            raise Limited(text, self._silent_until)

    def allowed(self) -> None:
        """Reset the back-off after an answer."""
        self._patience = PATIENCE

    def failed(self, error: Exception, doing: str) -> BotError:
        """The error to raise; after a rate limit no request is sent until it ends."""
        refusal = explained(error, doing, self._clock.now(), self._patience)
        if isinstance(refusal, Limited):
            self._silent_until = refusal.until
            self._patience = min(2 * self._patience, MOST_PATIENCE)
        return refusal

    # ── runs ────────────────────────────────────────────────────────────────────────────────

    @asked("starting a workflow")
    def start(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        """Start a workflow of the branch `ref`; the run's id where this GitHub tells it."""
        return self._actions.start(workflow, ref, inputs)

    @asked("sending an event")
    def dispatch(self, event: str, payload: Mapping[str, Any]) -> None:
        """Send a repository_dispatch event."""
        self._actions.dispatch(event, payload)

    @asked("a workflow's runs")
    def runs(self, workflow: str, since: float, limit: int = LISTED) -> tuple[WorkflowRun, ...]:
        """Runs of a workflow that began at `since` (POSIX seconds) or later, latest first.

        Never filtered by GitHub: its filters ask a search index, which lags.
        """
        started: list[WorkflowRun] = []
        rows = self._actions.rows("workflow_runs", "actions", "workflows", workflow, "runs")
        for row in rows:
            run = WorkflowRun.model_validate(row)
            if run.created_at.timestamp() < since or len(started) >= limit:
                break
            started.append(run)
        return tuple(started)

    @asked("a run")
    def run(self, run_id: int) -> WorkflowRun:
        """One run."""
        return WorkflowRun.model_validate(self._actions.one("actions", "runs", run_id))

    @asked("a run's jobs")
    def jobs(self, run_id: int) -> tuple[RunJob, ...]:
        """Jobs of a run's latest attempt."""
        rows = self._actions.rows("jobs", "actions", "runs", run_id, "jobs")
        return tuple(RunJob.model_validate(row) for row in rows)

    @asked("a job's log")
    def log(self, job_id: int) -> str:
        """The end of a job's log; empty where GitHub has none."""
        return self._actions.log(job_id)

    @asked("the runners")
    def runners(self) -> tuple[Runner, ...]:
        """The repository's own runners. Needs the right to administer it."""
        rows = self._actions.rows("runners", "actions", "runners")
        return tuple(Runner.model_validate(row) for row in rows)

    @asked("cancelling a run")
    def cancel(self, run_id: int, *, force: bool = False) -> None:
        """Cancel a run; `force` also those that do not react."""
        verb = "force-cancel" if force else "cancel"
        self._actions.do(self._actions.address("actions", "runs", run_id, verb))

    @asked("running again")
    def rerun(self, run_id: int, *, failed: bool) -> None:
        """Run a run's jobs again, under its id: all, or those that failed and what follows."""
        verb = "rerun-failed-jobs" if failed else "rerun"
        self._actions.do(self._actions.address("actions", "runs", run_id, verb))

    # ── issues ──────────────────────────────────────────────────────────────────────────────

    @property
    def _github3(self) -> Any:
        if self._cached_repository is None:
            self._cached_repository = self._client.repository(self._owner, self._repo)
        return self._cached_repository

    @asked("its issues")
    def issues(self, label: str) -> tuple[Issue, ...]:
        """Issues with a label, open or closed, oldest first; no pull requests."""
        every = self._github3.issues(
            labels=label, state="all", sort="created", direction="asc", number=LISTED
        )
        return tuple(_issue(issue) for issue in every if not issue.pull_request_urls)

    @asked("an issue")
    def issue(self, number: int) -> Issue:
        """One issue."""
        return _issue(self._github3.issue(number))

    @asked("opening an issue")
    def open_issue(self, title: str, body: str, label: str) -> Issue:
        """Open an issue."""
        return _issue(self._github3.create_issue(title, body, labels=[label]))

    @asked("editing an issue")
    def edit_issue(self, number: int, body: str) -> Issue:
        """Give an issue another text."""
        issue = self._github3.issue(number)
        issue.edit(body=body)
        return _issue(issue)

    @asked("an issue's history")
    def editors(self, number: int) -> Editors:
        """Whose token this is, and the latest fifty edits of an issue's text."""
        return Editors.of(self._actions.edits(number))

    @asked("somebody's rights")
    def may_write(self, login: str) -> bool:
        """Whether somebody may write to the repository."""
        if not LOGIN.fullmatch(login):
            return False
        try:
            permission = self._actions.one("collaborators", login, "permission")
        except NotFoundError:
            return False  # there is no such person
        return permission.get("permission") in ("admin", "maintain", "write")


def _issue(found: Any) -> Issue:
    return Issue.model_validate(
        {
            "number": found.number,
            "title": found.title,
            "body": found.body or "",
            "open": found.state == "open",
            "author": found.user.login,
            "html_url": found.html_url,
            "updated_at": found.updated_at,
        }
    )
