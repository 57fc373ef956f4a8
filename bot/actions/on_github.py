"""Builds on GitHub: an executor whose attempts are workflow runs, and the dashboard beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from bot.actions import dashboard
from bot.actions.executing import Attempt, NotStarted
from bot.actions.follow import Progress, follow_run
from bot.actions.trigger import UNLISTED, DispatchOrder, delivery_of, find_run, titled, trigger
from bot.clients.github import github_client
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_replies import WorkflowRun
from bot.clock import Clock, SystemClock
from bot.errors import (
    FOR_GOOD,
    OF_THE_DAY,
    AccessError,
    BotError,
    BuildError,
    BusyError,
    SettingsError,
    SourceError,
    UnreachableError,
)
from bot.records.releases import HALF
from bot.settings.running import GitHubSettings
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import QueuedRelease

SHOWN_EVERY = 60.0  # seconds between looks at the dashboard
RUN = re.compile(r"/actions/runs/([0-9]{1,18})$")
PUBLISHING = ("publish", "release")  # jobs of the workflows, by name


def builds_repository(settings: GitHubSettings, clock: Clock | None = None) -> GithubRepository:
    """The repository of the settings, seen with GITHUB_TOKEN."""
    token = github_client.token()
    if settings.repo is None:
        raise SettingsError("github.repo is not set; name the repository that has the workflows")
    if token is None:
        raise AccessError("GITHUB_TOKEN is not set; make a token that may write Actions and Issues")
    address = settings.api_url or github_client.api_url()
    client = github_client.connect(token, address, settings.timeout_seconds)
    return GithubRepository(client, settings.repo, clock)


def cancelled_by_us(run_id: int) -> str:
    """The name under which the ledger keeps that `bot cancel` cancelled a run."""
    return f"cancelled:{run_id}"


class OnGitHub:
    """Runs of a workflow. An attempt has a delivery, which its run carries in the title."""

    def __init__(
        self,
        repository: GithubRepository,
        settings: GitHubSettings,
        ledger: Ledger,
        clock: Clock,
        say: Callable[[str], None],
        hub: str,
    ) -> None:
        self._repository, self._settings, self._ledger = repository, settings, ledger
        self._clock, self._say, self._hub = clock, say, hub
        self._ids: dict[str, int] = {}  # run ids by delivery
        self._seen: dict[
            str, tuple[float, Attempt]
        ] = {}  # when a run was looked at, and what it was
        self._troubles: dict[str, str] = {}  # by task
        self._shown, self._complaint = 0.0, ""

    def find(self, task: QueuedRelease) -> Attempt | None:
        """The run of the task's present attempt; None where there is none.

        Raises UnreachableError and AccessError, when that cannot be said.
        """
        delivery = delivery_of_task(task)
        at, last_attempt = self._seen.get(delivery, (0.0, None))
        if last_attempt is not None and self._clock.now() - at < self._settings.poll_seconds:
            return last_attempt
        run = self._run(task, delivery)
        if run is None:
            fresh = self._clock.now() - task.changed < UNLISTED
            return Attempt(good=None, link=task.link) if task.state == "running" and fresh else None
        by_us = self._ledger.remembered(cancelled_by_us(run.id)) is not None
        progress = follow_run(
            self._repository, run, self._clock.now(),
            patience=self._settings.queued_minutes * 60, by_us=by_us,
        )  # fmt: skip
        attempt = as_run(progress)
        if attempt.good:
            attempt = replace(attempt, page=published_at(self._repository, run.id, self._hub))
        self._tell(task, attempt)
        if attempt.good is None:
            self._seen[delivery] = self._clock.now(), attempt
        else:
            self._seen.pop(delivery, None)
        return attempt

    def start(self, task: QueuedRelease) -> str | None:
        """Start the present attempt; returns the address of its run."""
        delivery = delivery_of_task(task)
        order = DispatchOrder(
            model=task.repo, revision=task.commit, tiers=task.tiers, delivery=delivery
        )
        try:
            order.inputs()
        except (SourceError, SettingsError) as error:
            raise NotStarted(str(error)) from error
        run = trigger(self._repository, self._settings, order, self._ledger, self._clock)
        if run is not None:
            self._ids[delivery] = run.id
        return run.html_url if run is not None else None

    def show(self) -> None:
        """Do what the dashboard's boxes say, and bring it up to date; its trouble is said once."""
        now = self._clock.now()
        if not self._settings.dashboard or now - self._shown < SHOWN_EVERY:
            return
        self._shown = now
        running = {task.id for task in Queue(self._ledger).running()}
        troubles = {task: trouble for task, trouble in self._troubles.items() if task in running}
        try:
            outcomes = dashboard.dashboard_turn(
                self._repository, self._ledger, self._clock, troubles
            )
        except BotError as error:
            if str(error) != self._complaint:
                self._say(f"the dashboard: {error}")
            self._complaint = str(error)
            return
        self._complaint = ""
        for outcome in outcomes:
            self._say(
                f"the dashboard: {outcome.command.verb} {outcome.command.repo}: {outcome.text}"
            )

    def _run(self, task: QueuedRelease, delivery: str) -> WorkflowRun | None:
        match = RUN.search(task.link or "")
        run_id = self._ids.get(delivery) or (int(match[1]) if match else None)
        if run_id is not None:
            try:
                run = self._repository.run(run_id)
            except AccessError:  # deleted, or a link to another repository
                run = None
            if run is not None and titled(run)[0] == delivery and run.conclusion != "cancelled":
                return run
        # a cancelled one may be the twin of one that works: GitHub delivers twice at times
        run = find_run(self._repository, self._settings, delivery, task.created)
        if run is not None:
            self._ids[delivery] = run.id
        return run

    def _tell(self, task: QueuedRelease, run: Attempt) -> None:
        """Say that a run stands still, or goes on: once each, whatever watchers see it."""
        trouble, queue = run.error if run.good is None else None, Queue(self._ledger)
        name, now = f"stalled:{task.id}", self._clock.now()
        stalled = self._ledger.remembered(name)
        if trouble is None:
            self._troubles.pop(task.id, None)
            if stalled is not None:
                self._ledger.forget(name)
                if run.good is None:
                    queue.say(now, "goes_on", "a runner has it", task.repo, run.link)
            return
        last_trouble = self._troubles.get(task.id)
        if last_trouble is None or _kind(last_trouble) != _kind(trouble):
            self._say(f"{task.repo}: {trouble}")
            self._troubles[task.id] = trouble
        if stalled is None or stalled[0] != _kind(trouble):
            self._ledger.remember(name, _kind(trouble), now)
            queue.say(now, "stalled", trouble, task.repo, run.link)


def delivery_of_task(task: QueuedRelease) -> str:
    """The delivery of a task's present attempt."""
    return delivery_of(task.id, task.attempts, repr(task.created))


def as_run(progress: Progress) -> Attempt:
    """A run's progress as the queue takes it."""
    link = progress.run.html_url
    if progress.state in ("queued", "running"):
        return Attempt(good=None, link=link, error=progress.trouble)
    if progress.state == "succeeded":
        return Attempt(good=True, link=link)
    codes = {failure.exit_code for failure in progress.failures}
    final = not progress.again or bool(FOR_GOOD & codes)
    return Attempt(
        good=False,
        link=link,
        error=progress.trouble,
        final=final,
        refused=codes == {BuildError.exit_code},
        passing=not final and bool(OF_THE_DAY & codes),
        elsewhere=codes == {BusyError.exit_code},
    )


def published_at(repository: GithubRepository, run_id: int, hub: str) -> str | None:
    """The address on a Hub that the log of a run's job `publish` tells, if it does.

    Without it a release is published as well: what hinders the look is passed over.
    """
    try:
        logs = [repository.log(job.id) for job in repository.jobs(run_id) if job.name in PUBLISHING]
    except (AccessError, UnreachableError):
        return None
    url_pattern = re.compile(rf"\burl=({re.escape(hub)}/{HALF}/{HALF})(?![\w./-])")
    return next((match[1] for log in logs for match in url_pattern.finditer(log)), None)


def on_github(
    settings: GitHubSettings,
    ledger: Ledger,
    say: Callable[[str], None],
    clock: Clock | None = None,
    *,
    hub: str = "https://huggingface.co",
) -> OnGitHub:
    """The executor of the settings' repository, which publishes to `hub`.

    Raises SettingsError without github.repo, AccessError without GITHUB_TOKEN.
    """
    clock = clock or SystemClock()
    return OnGitHub(builds_repository(settings, clock), settings, ledger, clock, say, hub)


def _kind(trouble: str) -> str:
    """A trouble without its numbers: how long it lasts is no news."""
    return re.sub(r"(?<!\d)\d{1,9} (?:s|min|h|d)\b", "", trouble)
