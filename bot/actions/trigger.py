"""Orders for a workflow run: checked, sent, and found again by their delivery.

A delivery is a number of sixteen hexadecimal digits that stands in the run's title
(`run-name: apex-bot <delivery> …`). Before an order is sent the ledger says so, and it is sent by
whoever could write that down. GitHub lists a run when it likes, and whoever sent it may be dead: as
long as a run that began then may still appear, everybody else looks for it and sends nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.clients.github.github import GithubRepository
from bot.clients.github.github_client import Unanswered
from bot.clients.github.github_replies import WorkflowRun
from bot.clock import Clock, span
from bot.errors import BotError, SettingsError, SourceError, UnreachableError
from bot.records.coding import digest
from bot.records.releases import REPO_ID
from bot.settings.running import GitHubSettings
from bot.store.ledger import Ledger

# github.com's own limits: "Create a repository dispatch event", "Create a workflow dispatch event"
KEYS = 10
BYTES = 65_535
COMMIT = re.compile(r"[0-9a-f]{40}")
TIER = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
DELIVERY = re.compile(r"[0-9a-f]{16}")
TITLE = re.compile(r"apex-bot ([0-9a-f]{16})(?![0-9a-f])(?: +(\S+))?")
ON_ITS_WAY, TAKEN = "on its way", "taken"  # what the ledger says of an order
LISTED_WITHIN = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between looks for a run just ordered
UNLISTED = 600.0  # seconds that a run which GitHub took may stay out of its listings
SKEW = 86_400.0  # seconds that this machine's clock may be ahead of GitHub's


@dataclass(frozen=True, kw_only=True)
class DispatchOrder:
    """What a run shall build: the workflow's inputs."""

    model: str  # ORG/NAME
    revision: str  # commit of 40 hexadecimal digits
    tiers: tuple[str, ...]  # none: all
    delivery: str

    def inputs(self) -> dict[str, str]:
        """As the workflow takes them. Raises SourceError for what is no order.

        The workflow looks at each of them once more: what arrives there may be anybody's.
        """
        for name, pattern, value in (
            ("a model is ORG/NAME", REPO_ID, self.model),
            ("a revision is a commit of 40 digits", COMMIT, self.revision),
            ("a delivery has 16 digits", DELIVERY, self.delivery),
            *(("a tier has a name of letters and digits", TIER, tier) for tier in self.tiers),
        ):
            if not pattern.fullmatch(value):
                raise SourceError(f"{value[:100]!r} is not sent to GitHub: {name}; correct it")
        payload = {
            "model": self.model,
            "revision": self.revision,
            "tiers": ",".join(self.tiers),
            "delivery": self.delivery,
        }
        require_small(payload)
        return payload


def require_small(payload: Mapping[str, Any]) -> None:
    """Raises SettingsError for what GitHub would refuse: too many keys, or too long."""
    size = len(json.dumps(payload).encode())
    if len(payload) > KEYS:
        raise SettingsError(f"{len(payload)} values are sent, GitHub takes {KEYS}; send less")
    if size > BYTES:
        raise SettingsError(f"the order has {size} bytes, GitHub takes {BYTES}; name less tiers")


def delivery_of(*parts: object) -> str:
    """The delivery that follows from these parts: the same parts, the same delivery."""
    return digest([str(part) for part in parts])[:16]


def titled(run: WorkflowRun) -> tuple[str | None, str | None]:
    """Delivery and model that a run's title names."""
    match = TITLE.search(run.display_title)
    if match is None:
        return None, None
    model = match[2] if match[2] and REPO_ID.fullmatch(match[2]) else None
    return match[1], model


def chosen_workflow(runs: Iterable[WorkflowRun], delivery: str) -> WorkflowRun | None:
    """The run of a delivery.

    GitHub may deliver twice. Of two runs the one that succeeded counts, else one that is not
    over, else the latest: the workflow sees to it that only one of them works.
    """
    candidates = [run for run in runs if titled(run)[0] == delivery]

    def rank(run: WorkflowRun) -> tuple[bool, bool, int]:
        return run.conclusion == "success", run.status != "completed", run.id

    return max(candidates, key=rank, default=None)


def find_run(
    repository: GithubRepository, settings: GitHubSettings, delivery: str, since: float
) -> WorkflowRun | None:
    """The run of a delivery that was sent at `since` (POSIX seconds) or later."""
    return chosen_workflow(repository.runs(settings.workflow, since - SKEW), delivery)


def trigger(
    repository: GithubRepository,
    settings: GitHubSettings,
    order: DispatchOrder,
    ledger: Ledger,
    clock: Clock,
) -> WorkflowRun | None:
    """Send an order, once; its run, or None where GitHub took it and does not list it yet.

    Raises UnreachableError when it cannot be said whether GitHub took it: whoever asks again
    looks first, and sends it no more for `UNLISTED` seconds.
    """
    inputs, began, name = order.inputs(), clock.now(), sent_name(order.delivery)
    sent_at = ledger.remember_first(name, ON_ITS_WAY, began, since=began - UNLISTED)
    if sent_at is not None:
        return _sent_by_another(repository, settings, order, ledger, sent_at, clock)
    try:
        run_id = _send(repository, settings, inputs)
    except Unanswered as error:
        run = _look(repository, settings, order.delivery, began, clock)
        if run is None:
            raise _in_doubt(order, UNLISTED - (clock.now() - began)) from error
        return run
    except BotError:  # in GitHub's own words: nothing was done
        ledger.forget(name)
        raise
    ledger.remember(name, TAKEN, began)
    try:
        if run_id is not None:
            return repository.run(run_id)
        return _look(repository, settings, order.delivery, began, clock)
    except BotError:
        return None  # it was taken, whatever GitHub says of it now


def sent_name(delivery: str) -> str:
    """The name under which the ledger keeps that an order was sent, or was about to be."""
    return f"ordered:{delivery}"


def _sent_by_another(
    repository: GithubRepository,
    settings: GitHubSettings,
    order: DispatchOrder,
    ledger: Ledger,
    sent: float,
    clock: Clock,
) -> WorkflowRun | None:
    """The run of an order that somebody sent at `sent`, or died over."""
    run = _look(repository, settings, order.delivery, sent, clock)
    if run is not None:
        return run
    order_state = ledger.remembered(sent_name(order.delivery))
    if order_state is not None and order_state[0] == TAKEN:
        return None
    raise _in_doubt(order, UNLISTED - (clock.now() - sent))


def _in_doubt(order: DispatchOrder, seconds_left: float) -> UnreachableError:
    return UnreachableError(
        f"whether GitHub took order {order.delivery} is not known, and it lists no run of it; "
        f"run it again in {span(max(seconds_left, 60.0))}: until then it is looked for and not sent"
    )


def _send(
    repository: GithubRepository, settings: GitHubSettings, inputs: dict[str, str]
) -> int | None:
    if settings.event == "repository_dispatch":
        name = settings.workflow.rpartition(".")[0]  # release.yml listens to apex-bot-release
        repository.dispatch(f"apex-bot-{name}", inputs)
        return None
    return repository.start(settings.workflow, settings.ref, inputs)


def _look(
    repository: GithubRepository,
    settings: GitHubSettings,
    delivery: str,
    since: float,
    clock: Clock,
) -> WorkflowRun | None:
    began = clock.now()
    for wait in LISTED_WITHIN:
        run = find_run(repository, settings, delivery, since)
        if run is not None:
            return run
        if clock.now() - began > sum(LISTED_WITHIN):
            return None  # slow answers: whoever starts a task has it for a limited time only
        clock.sleep(wait)
    return find_run(repository, settings, delivery, since)
