"""Runs on GitHub that people start, look at, stop and repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from bot.actions.follow import Progress, State, follow_run, state
from bot.actions.on_github import builds_repository, cancelled_by_us
from bot.actions.trigger import (
    UNLISTED,
    DispatchOrder,
    chosen_workflow,
    delivery_of,
    titled,
    trigger,
)
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_actions import LISTED
from bot.clients.github.github_client import Limited, Unanswered
from bot.clients.github.github_replies import RunJob, WorkflowRun
from bot.clock import Clock, SystemClock, iso, span
from bot.errors import AccessError, BotError, SourceError, UnreachableError
from bot.legible import legible
from bot.plan.profiles import load_profiles
from bot.settings.running import GitHubSettings
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.wording.columns import table
from bot.workplace.pinning import as_repo
from bot.workplace.workplace import Workplace


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run as `bot runs` prints it, as text or JSON."""

    id: int
    state: State
    model: str | None
    delivery: str | None
    attempt: int
    began: str | None
    link: str
    trouble: str | None = None
    lines: tuple[str, ...] = ()  # of the logs of what failed


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """An order, and the run that it has; `new` is false where it had one already."""

    order: DispatchOrder
    new: bool
    run: ListedRun | None


def order_run(
    workplace: Workplace, model: str, revision: str, tiers: Sequence[str]
) -> DispatchOrder:
    """An order for a model of the Hub at the commit that `revision` is now."""
    if tiers:
        load_profiles(workplace.settings.profiles, tiers)
    release = workplace.hub.release(as_repo(model), revision)
    order = DispatchOrder(
        model=release.repo_id, revision=release.commit, tiers=tuple(tiers), delivery="0" * 16
    )
    return numbered(order, 0)


def numbered(order: DispatchOrder, number: int) -> DispatchOrder:
    """The same order for the first time, the second and so on: each has a delivery of its own."""
    order_parts = (order.model, order.revision, *order.tiers)
    return replace(order, delivery=delivery_of("by hand", number, *order_parts))


class Desk:
    """Runs of the settings' repository, as `bot dispatch`, `runs`, `cancel` and `rerun` use it."""

    def __init__(
        self,
        workplace: Workplace,
        clock: Clock | None = None,
        repository: GithubRepository | None = None,
    ) -> None:
        self._workplace, self._clock = workplace, clock or SystemClock()
        self._repository = repository or builds_repository(workplace.settings.github, self._clock)

    @property
    def _settings(self) -> GitHubSettings:
        return self._workplace.settings.github

    @property
    def _ledger(self) -> Ledger:
        return self._workplace.ledger

    def dispatch(
        self, model: str, revision: str, tiers: Sequence[str], *, again: bool = False
    ) -> Ordered:
        """Have a model built, once: what is ordered, runs or is done already is not sent again.

        A failed run, and with `again` any that is over, is followed by another.
        """
        runs = self._repository.runs(self._settings.workflow, 0.0)
        first = order_run(self._workplace, model, revision, tiers)
        for number in count():
            order = numbered(first, number)
            run = chosen_workflow(runs, order.delivery)
            if run is None:
                sent = trigger(self._repository, self._settings, order, self._ledger, self._clock)
                return Ordered(order=order, new=True, run=listed_runs(sent) if sent else None)
            if state(run) in ("queued", "running") or (state(run) == "succeeded" and not again):
                return Ordered(order=order, new=False, run=listed_runs(run))
        raise AssertionError  # there is always a next number

    def runs(self, model: str | None, limit: int) -> tuple[ListedRun, ...]:
        """The latest runs, of one model or of all; why, where one stands still."""
        listed: list[ListedRun] = []
        fetch_limit = limit if model is None else LISTED
        for run in self._repository.runs(self._settings.workflow, 0.0, fetch_limit):
            if model is None or titled(run)[1] == model:
                waits = state(run) in ("queued", "running")
                listed.append(listed_runs(run, self._progress(run) if waits else None))
            if len(listed) == limit:
                break
        return tuple(listed)

    def run(self, name: str) -> WorkflowRun:
        """A run by its id, its delivery, or the model whose latest it is."""
        if name.isdecimal() and len(name) != 16:
            return self._repository.run(int(name))
        for run in self._repository.runs(self._settings.workflow, 0.0):
            if name in titled(run):
                return run
        raise SourceError(f"{self._repository.name} has no run of {name}; see `bot runs`")

    def examined(self, name: str) -> tuple[ListedRun, tuple[RunJob, ...]]:
        """A run with its jobs, and the log lines of what failed."""
        run = self.run(name)
        return listed_runs(run, self._progress(run)), self._repository.jobs(run.id)

    def cancel(self, name: str, *, force: bool = False) -> ListedRun:
        """Cancel a run. Raises SourceError when it is over."""
        run = self.run(name)
        if run.status == "completed":
            raise SourceError(f"run {run.id} is over ({run.conclusion}); nothing is cancelled")
        self._ledger.remember(cancelled_by_us(run.id), name, self._clock.now())
        try:
            self._repository.cancel(run.id, force=force)
        except BotError:
            if self._repository.run(run.id).status != "completed":
                raise
        return listed_runs(self._repository.run(run.id))

    def rerun(self, name: str, *, failed: bool) -> ListedRun:
        """Run a run's jobs again, once: all, or those that failed. Its task runs again, too."""
        run = self.run(name)
        if run.status != "completed":
            raise SourceError(f"run {run.id} is not over; wait, or `bot cancel {run.id}`")
        if failed and run.conclusion == "success":
            raise SourceError(f"nothing of run {run.id} failed; leave --failed out to repeat it")
        try:
            self._repository.rerun(run.id, failed=failed)
        except Unanswered:
            if self._repository.run(run.id).run_attempt == run.run_attempt:
                raise
        self._ledger.forget(cancelled_by_us(run.id))
        Queue(self._ledger).resumed(run.html_url, self._clock.now())
        return listed_runs(self._repository.run(run.id))

    def follow(self, ordered: Ordered, say: Callable[[str], None]) -> ListedRun:
        """Wait for the end of a run. Failing answers of GitHub are waited out."""
        delivery, last_line = ordered.order.delivery, ""
        for run in self._polled(delivery):
            if run.state in ("succeeded", "failed", "cancelled"):
                return run
            line = f"{run.link} is {run.state}" + (f": {run.trouble}" if run.trouble else "")
            if line != last_line:
                say(line)
            last_line = line
        raise AssertionError  # looks never end

    def _polled(self, delivery: str) -> Iterator[ListedRun]:
        """The run of a delivery, polled for ever; UnreachableError is waited out."""
        began, run_id = self._clock.now(), None
        while True:
            try:
                if run_id is None:
                    run = chosen_workflow(
                        self._repository.runs(self._settings.workflow, 0.0), delivery
                    )
                else:
                    run = self._repository.run(run_id)
                if run is not None:
                    run_id = run.id
                    yield listed_runs(run, self._progress(run))
                elif self._clock.now() - began > UNLISTED:
                    raise AccessError(f"GitHub lists no run {delivery}; see `bot runs`")
            except UnreachableError as error:
                self._workplace.narrator.say(str(error))
                if isinstance(error, Limited):
                    self._clock.sleep(max(error.until - self._clock.now(), 0.0))
            self._clock.sleep(self._settings.poll_seconds)

    def _progress(self, run: WorkflowRun) -> Progress:
        by_us = self._ledger.remembered(cancelled_by_us(run.id)) is not None
        patience = self._settings.queued_minutes * 60
        return follow_run(self._repository, run, self._clock.now(), patience=patience, by_us=by_us)


def listed_runs(run: WorkflowRun, progress: Progress | None = None) -> ListedRun:
    """A run as it is listed; `progress` adds why it stands still or failed."""
    delivery, model = titled(run)
    failures = progress.failures if progress else ()
    return ListedRun(
        id=run.id,
        state=state(run),
        model=model,
        delivery=delivery,
        attempt=run.run_attempt,
        began=iso(run.created_at.timestamp()),
        link=run.html_url,
        trouble=progress.trouble if progress else None,
        lines=tuple(f"{f.job}: {line}" for f in failures for line in f.lines),
    )


def runs_text(runs: Sequence[ListedRun], now: float) -> str:
    """What `bot runs` prints of several runs."""
    rows = [
        (
            str(run.id),
            run.state,
            run.model or "?",
            str(run.attempt),
            span(now - datetime.fromisoformat(run.began).timestamp()) if run.began else "",
            (run.trouble or "")[:80],
        )
        for run in runs
    ]
    return table(("run", "state", "model", "attempt", "since", ""), rows, left=6)


def run_text(run: ListedRun, jobs: Sequence[RunJob]) -> str:
    """What `bot runs RUN` prints."""
    lines = [f"{run.link}: {run.state}", f"{run.model or '?'}, attempt {run.attempt}"]
    lines += [run.trouble] if run.trouble else []
    rows = [(job.name[:60], job.conclusion or job.status, job.runner_name or "") for job in jobs]
    log_lines = ("", *run.lines) if run.lines else ()
    head, tail = map(legible, lines), map(legible, log_lines)
    return "\n".join((*head, "", table(("job", "state", "runner"), rows, left=3), *tail))
