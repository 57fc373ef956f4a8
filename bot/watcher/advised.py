"""Published releases of which an advisory says that something is wrong: found, marked, queued.

Asked when the advisories are others than last time: each published repository says itself, in its
results.json, of which family it is and which llama.cpp made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.clients.hub.hub import Hub
from bot.errors import SourceError
from bot.records.coding import digest
from bot.records.releases import REPO_ID
from bot.settings.advisories import Advisory, concerning
from bot.settings.policies import Policy
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import QueuedRelease

RESULTS = "results.json"
LARGEST = 4 << 20  # bytes
ADVISORIES = "advisories"
MOST = 10_000  # published releases


def mark_stale(
    hub: Hub, ledger: Ledger, policy: Policy, advisories: Sequence[Advisory], now: float,
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """Mark what is published and concerned, where the advisories are new; how many there were.

    Raises UnreachableError, and is then asked again as a whole.
    """
    value = digest([advisory.model_dump(mode="json") for advisory in advisories])
    before = ledger.remembered(ADVISORIES)
    if before is not None and before[0] == value:
        return 0
    queue, count = Queue(ledger), 0
    for task in _published(queue) if advisories else ():
        found = concerning(advisories, *_made_with(hub, task))
        if found:
            wrong = "; ".join(one.wrong for one in found)
            queue.stale(task, wrong, policy.terms(task.repo).stale, now)
            say(f"{task.repo} is stale: {wrong}")
            count += 1
    ledger.remember(ADVISORIES, value, now)
    return count


def _published(queue: Queue) -> list[QueuedRelease]:
    """The latest task of each model, where it is published."""
    latest: dict[str, QueuedRelease] = {}
    for task in queue.tasks(("published",), MOST):
        if task.repo not in latest or task.created > latest[task.repo].created:
            latest[task.repo] = task
    return list(latest.values())


def _made_with(hub: Hub, task: QueuedRelease) -> tuple[str, str]:
    """llama-cpp-python's version and the family of what a task published; empty where unknown."""
    address = next((a for a in (task.page, task.link) if a and a.startswith(hub.endpoint)), "")
    repo_id = address.removeprefix(hub.endpoint).strip("/")
    if not REPO_ID.fullmatch(repo_id):
        return "", ""
    try:
        results = hub.read_json(repo_id, "main", RESULTS, LARGEST) or {}
        return str(results["tools"]["llama_cpp_python"]), str(results["architecture"]["family"])
    except (SourceError, KeyError, TypeError):
        return "", ""
