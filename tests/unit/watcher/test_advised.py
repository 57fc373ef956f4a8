"""Published releases with a known fault: marked once, queued, asked about or left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.cli.text.boards import board_text
from bot.clients.hub.hub import Hub as Client
from bot.settings.advisories import Advisory
from bot.settings.policies import Policy
from bot.settings.settings import load
from bot.store.board import board
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.sightings import Decided
from bot.watcher.advised import mark_stale
from tests.local_hub.server import Hub, regular

NOW = 1_790_000_000.0
ROPE = Advisory(id="rope", before="0.3.36", families=("qwen3*",), wrong="rotary factors are lost")
MADE = {"tools": {"llama_cpp_python": "0.3.30"}, "architecture": {"family": "qwen3moe"}}


def published(hub: Hub, ledger: Ledger, name: str, results: Any) -> None:
    """A release that a watcher published, and what its repository says of itself."""
    repo_id, queue = hub.create(f"{name}-GGUF"), Queue(ledger)
    content = results if isinstance(results, bytes) else json.dumps(results).encode()
    assert hub.commit(repo_id, regular("results.json", content)).status == 200
    decided = Decided(
        repo=f"lab/{name}", commit=name * 20, kind="build", outcome="eligible", reason="r",
        until=None, look_at=None, weights=name, weights_at=NOW, facts={},
    )  # fmt: skip
    queue.propose(decided, (), NOW, needs_approval=False)
    task = queue.claim(NOW, at_once=99, per_hour=99)
    assert task is not None
    queue.started(task, None, NOW)
    queue.published(queue.running()[0], f"{hub.url}/{repo_id}", NOW)


@pytest.fixture
def ledger(hub: Hub, tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "l.sqlite")
    published(hub, made, "aa", MADE)
    published(hub, made, "bb", {**MADE, "tools": {"llama_cpp_python": "0.3.36"}})
    published(hub, made, "cc", {**MADE, "architecture": {"family": "llama"}})
    published(hub, made, "dd", {"tools": 3})
    published(hub, made, "ee", b"[")
    return made


def mark(hub: Hub, ledger: Ledger, stale: str, *advisories: Advisory) -> int:
    said: list[str] = []
    policy = Policy.model_validate({"stale": stale})
    client = Client(hub.url, SecretStr(hub.token), pause=0.01)
    count = mark_stale(client, ledger, policy, advisories, NOW + 9, said.append)
    assert len(said) == count
    return count


@pytest.mark.parametrize(
    ("stale", "state"), [("leave", "published"), ("ask", "asked"), ("rebuild", "queued")]
)
def test_what_is_concerned_is_marked_once(stale: str, state: str, hub: Hub, ledger: Ledger) -> None:
    assert mark(hub, ledger, stale) == 0
    assert mark(hub, ledger, stale, ROPE) == 1
    queue = Queue(ledger)
    (task,) = (task for task in queue.tasks((state,)) if task.repo == "lab/aa")
    assert (task.stale, task.attempts) == (ROPE.wrong, 0 if stale != "leave" else 1)
    others = [task.repo for task in queue.tasks(("published",)) if task.stale is None]
    assert sorted(others) == ["lab/bb", "lab/cc", "lab/dd", "lab/ee"]
    (event,) = (event for event in queue.events(20) if event.kind == "stale")
    assert event.text == ROPE.wrong
    assert "stale: rotary factors are lost" in board_text(board(ledger, load(None), NOW + 20))
    assert mark(hub, ledger, stale, ROPE) == 0
    if stale == "rebuild":
        again = queue.claim(NOW + 30, at_once=9, per_hour=99)
        assert again is not None
        queue.started(again, None, NOW + 31)
        queue.published(queue.running()[0], None, NOW + 32)
        assert all(task.stale is None for task in queue.tasks(("published",)))
