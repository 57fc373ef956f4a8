"""GitHub over HTTP: the only module that knows github3.

Version 2022-11-28 of the API is asked for by name: later ones leave out keys that github3.py
4.0.1 needs. What that version cannot ask, `Actions` adds to it: workflows, runs, jobs, logs,
runners. A GET is repeated by itself; of anything else, whoever asks has to look first whether
it was done.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from github3 import GitHub
from github3.exceptions import (
    GitHubError,
    GitHubException,
    NotFoundError,
    TransportError,
    UnprocessableResponseBody,
    error_for,
)
from github3.models import GitHubCore
from github3.session import GitHubSession
from pydantic import ValidationError
from requests.exceptions import RequestException
from urllib3.util import Retry

from bot import secrecy
from bot.clients import bounds
from bot.clients.github.github_replies import Editors, Issue, RunJob, Runner, WorkflowRun
from bot.clients.wire import require_private
from bot.clock import Clock, SystemClock
from bot.errors import AccessError, BotError, SettingsError, UnreachableError
from bot.legible import legible

API_VERSION = "2022-11-28"
TIMEOUT = 30.0  # seconds without an answer
LISTED = 1_000  # runs, jobs or runners of a listing that are read
# what github3, and taking its answers apart, raises at those of another form than GitHub's:
# nothing else happens between a question and its answer
ODD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
DETAILS = "return_run_details"  # of a workflow_dispatch: have its run's id answered
LOG_BYTES = 512 * 1024  # of a log's end that are kept
PATIENCE, MOST_PATIENCE = 60.0, 3_600.0  # seconds after a refusal that names none
LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?")
EDITS = """
query Edits($owner: String!, $name: String!, $number: Int!) {
  viewer { login }
  repository(owner: $owner, name: $name) {
    issue(number: $number) {
      userContentEdits(last: 50) { nodes { editedAt editor { login } } }
    }
  }
}
"""

P = ParamSpec("P")
R = TypeVar("R")


class Unanswered(UnreachableError):
    """GitHub said nothing of use: whether it did what it was asked is not known."""


class Unclear(Unanswered):
    """A refusal that GitHub's API does not give for what was asked: of a proxy, for example."""


class Limited(UnreachableError):
    """GitHub wants no requests until `until`, in POSIX seconds; nothing was done."""

    def __init__(self, text: str, until: float) -> None:
        super().__init__(text)
        self.until = until


@dataclass(frozen=True)
class Redaction(logging.Filter):
    """Keeps a token, and the signatures of a log's address, out of other libraries' records."""

    token: str

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without secrets."""
        message = record.getMessage()
        clean = message.replace(self.token, "[token]") if self.token else message
        clean = re.sub(r"([?&](?:sig|signature|token)=)[^&\s\"']+", r"\1[…]", clean)
        if clean != message:
            record.msg, record.args = clean, ()
        return True


def connect(token: str | None, api_url: str, timeout: float = TIMEOUT) -> GitHub:
    """A client for the GitHub at `api_url`: github.com, an Enterprise server, or a local one."""
    if token:
        require_private(api_url, "GITHUB_TOKEN")
    session = GitHubSession(default_connect_timeout=5, default_read_timeout=timeout)
    session.base_url = api_url.rstrip("/")
    retry = Retry(
        total=3,
        connect=1,
        read=1,
        allowed_methods=("GET",),
        status_forcelist=(500, 502, 503, 504),
        backoff_factor=0.3,
        respect_retry_after_header=False,
        raise_on_status=False,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, bounds.Adapter(max_retries=retry))
    for name in ("github3", "urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(Redaction(token or ""))
    return GitHub(token=token or "", session=session, api_version=API_VERSION)


def token() -> str | None:
    """GITHUB_TOKEN of the environment."""
    return secrecy.value("GITHUB_TOKEN") or None


def api_url() -> str:
    """GITHUB_API_URL of the environment (set on every runner), else github.com's."""
    return os.environ.get("GITHUB_API_URL", "https://api.github.com")


def requests_left(client: GitHub) -> int:
    """How many requests the hour still allows.

    Raises AccessError for a refused token, UnreachableError when nothing answers.
    """
    with asking("telling its limits"):
        return int(client.rate_limit()["resources"]["core"]["remaining"])


@contextmanager
def asking(doing: str) -> Iterator[None]:
    """One question to GitHub, its failures put in our words. `doing` is what it is asked for."""
    try:
        with bounds.one_question():
            yield
    except (GitHubException, RequestException, *ODD) as error:
        raise explained(error, doing, SystemClock().now()) from error


def explained(error: Exception, doing: str, now: float, patience: float = PATIENCE) -> BotError:
    """An exception of github3 in this bot's words. `doing` is what GitHub was asked for."""
    code = getattr(error, "code", None)
    if isinstance(error, GitHubError) and code is not None and int(code) >= 400:
        return _refusal(error, int(code), doing, now, patience)
    if isinstance(error, TransportError | RequestException):
        return Unanswered(f"GitHub did not answer ({doing}); look at GITHUB_API_URL")
    return Unanswered(
        f"GitHub's answer is not understood ({doing}); is GITHUB_API_URL an address of its API?"
    )


def _refusal(error: Any, code: int, doing: str, now: float, patience: float) -> BotError:
    reason = _words(error.msg)
    if code >= 500:
        return Unanswered(f"GitHub is in trouble ({code}, {doing}); try again")
    until = _limited(error, code, now, patience)
    if until is not None:
        wait = max(int(until - now), 1)
        return Limited(f"GitHub allows no more requests for {wait} s ({doing}); wait", until)
    if isinstance(error.msg, bytes):  # github3's sign of a body that is not in GitHub's own form
        return Unclear(
            f"something refused ({code}, {doing}): {reason}; try again, or look at the proxy"
        )
    if code == 401:
        return AccessError(f"GitHub refused the token ({code}); renew GITHUB_TOKEN")
    if code == 403:
        return AccessError(f"GITHUB_TOKEN may not do this ({doing}: {reason}); give it the right")
    if code == 404:
        return AccessError(
            f"GitHub has no such thing, or GITHUB_TOKEN may not see it ({doing}); look at `github` "
            "in bot.yaml and whether `bot init` was merged"
        )
    if code in (409, 422):  # the only ones that tell of what was sent, and of nothing done
        return SettingsError(
            f"GitHub refused ({code}, {doing}): {reason}; `bot init --upgrade` may help"
        )
    return Unclear(f"GitHub refused ({code}, {doing}): {reason}; try again, or look at the proxy")


def _limited(error: Any, code: int, now: float, patience: float) -> float | None:
    """Until when a 403 or 429 wants silence; None where it is about something else.

    The rules are those of GitHub's "Rate limits for the REST API": Retry-After, else the reset
    of a limit that is used up, else a minute and ever longer.
    """
    headers = error.response.headers
    after, reset = headers.get("Retry-After", ""), headers.get("X-RateLimit-Reset", "")
    if code not in (403, 429):
        return None
    if after.isdecimal():
        return now + int(after)
    if headers.get("X-RateLimit-Remaining") == "0" and reset.isdecimal():
        return max(float(reset), now + 1)
    return now + patience if code == 429 or "rate limit" in _words(error.msg).lower() else None


def _words(message: object) -> str:
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message or "")
    return legible(text, 200)


class Actions(GitHubCore):  # type: ignore[misc]  # github3 has no types
    """A repository's workflows, runs, jobs, logs and runners: what github3.py 4.0.1 lacks."""

    def _update_attributes(self, named: Mapping[str, str]) -> None:
        self._home = ("repos", named["owner"], named["repo"])

    def address(self, *parts: object) -> str:
        """Of something within the repository."""
        return str(self._build_url(*self._home, *parts))

    def rows(self, key: str, *parts: object) -> Iterator[dict[str, Any]]:
        """A listing, page by page; `key` is where its rows are."""
        listing = self._iter(
            LISTED, self.address(*parts), dict, params={"per_page": 100}, list_key=key
        )
        yield from listing

    def one(self, *parts: object) -> dict[str, Any]:
        """One object."""
        answer: dict[str, Any] = self._json(self._get(self.address(*parts)), 200)
        return answer

    def do(self, url: str, data: Mapping[str, Any] | None = None) -> Any:
        """A POST: the body of its answer, None where there is none."""
        reply = self._post(url, data=data)
        if reply.status_code >= 400:
            raise error_for(reply)
        return _json_of(reply)

    def dispatch(self, event: str, payload: Mapping[str, Any]) -> None:
        """repository_dispatch; never tells which run it made. Answered with 204, nothing else."""
        body = {"event_type": event, "client_payload": payload}
        reply = self._post(self.address("dispatches"), data=body)
        if reply.status_code != 204:
            raise _not_taken(reply)

    def start(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        """workflow_dispatch; the run's id where this GitHub tells it, by 200 instead of 204.

        Sent once more only where GitHub named the wish for details as what it does not take:
        Enterprise servers up to 3.19 know no `return_run_details`. Any other refusal may have come
        from something in between, after the run began.
        """
        url = self.address("actions", "workflows", workflow, "dispatches")
        body = {"ref": ref, "inputs": inputs}
        reply = self._post(url, data={**body, DETAILS: True})
        if reply.status_code in (400, 422) and DETAILS in _message(reply):
            reply = self._post(url, data=body)
        if reply.status_code == 204:
            return None
        answer = _json_of(reply)
        if reply.status_code != 200 or not isinstance(answer, dict):
            raise _not_taken(reply)
        run_id = answer.get("workflow_run_id")
        return run_id if isinstance(run_id, int) else None

    def log(self, job_id: int) -> str:
        """The end of a job's log."""
        tail = bytearray()
        where = self.address("actions", "jobs", job_id, "logs")
        with bounds.within(bounds.LOG), self._get(where, stream=True) as reply:
            if reply.status_code in (404, 410):
                return ""  # not there yet, or not any more
            if reply.status_code >= 400:
                raise error_for(reply)
            for part in reply.iter_content(64 * 1024):
                tail += part
                del tail[:-LOG_BYTES]
        return tail.decode("utf-8", "replace")

    def edits(self, number: int) -> dict[str, Any]:
        """Who edited an issue's text: only GraphQL tells."""
        base = str(self.session.base_url)
        url = f"{base.removesuffix('/v3')}/graphql"
        variables = {"owner": self._home[1], "name": self._home[2], "number": number}
        answer = self.do(url, {"query": EDITS, "variables": variables})
        return answer if isinstance(answer, dict) else {}


def _json_of(reply: Any) -> Any:
    """An answer's JSON; None for anything else: it was done, and the rest can be looked up."""
    try:
        return reply.json() if reply.content else None
    except ValueError:
        return None


def _not_taken(reply: Any) -> GitHubException:
    """Why an answer does not say that an order was taken."""
    refused = reply.status_code >= 400
    error: GitHubException = (
        error_for(reply)
        if refused
        else UnprocessableResponseBody("no answer of GitHub's to an order", reply)
    )
    return error


def _message(reply: Any) -> str:
    """What a refusal says in GitHub's own form (`basic-error`); empty for any other."""
    answer = _json_of(reply)
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def asked(
    doing: str,
) -> Callable[
    [Callable[Concatenate[GithubRepository, P], R]],
    Callable[Concatenate[GithubRepository, P], R],
]:
    """A question to GitHub: kept back while it wants silence, its failures put in our words."""

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
        self._found: Any = None

    def require_allowed(self, doing: str) -> None:
        """Ask nothing while GitHub wants silence: it bans those who go on."""
        wait = self._silent_until - self._clock.now()
        if wait > 0:
            text = f"GitHub allows no more requests for {int(wait) + 1} s ({doing}); wait"
            raise Limited(text, self._silent_until)

    def allowed(self) -> None:
        """GitHub answered."""
        self._patience = PATIENCE

    def failed(self, error: Exception, doing: str) -> BotError:
        """Why GitHub did not answer; from now on silence, where it wants that."""
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
        if self._found is None:
            self._found = self._client.repository(self._owner, self._repo)
        return self._found

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
