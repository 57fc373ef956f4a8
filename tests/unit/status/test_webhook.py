"""The webhook receiver: a hint at most, whatever is sent how often by whom."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.status.webhook import LONGEST, VARIABLE
from tests.unit.status.status_page import SECRET, Page, running_page

COMMIT = "c" * 40


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv(VARIABLE, SECRET)
    with running_page(tmp_path, follow=["lab"]) as running:
        yield running


def payload(**changes: Any) -> dict[str, Any]:
    """What the Hub sends (hub-docs, docs/hub/webhooks.md)."""
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {
            "type": "model", "name": "lab/Model", "id": "621ffdc036468d709f17434d",
            "private": False, "headSha": COMMIT, "owner": {"id": "628b753283ef59b5be89e937"},
        },
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": "0" * 40, "newSha": COMMIT}],
        "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
    } | changes  # fmt: skip


def send(page: Page, body: Any, secret: str = SECRET) -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return page.ask("POST", "/webhook", data, {"X-Webhook-Secret": secret})[0]


def due(page: Page) -> list[str]:
    return [known.repo for known in page.sightings.due(time.time() + 1, 99)]


def test_a_hint_is_kept_once_however_often_it_comes(page: Page) -> None:
    assert [send(page, payload()) for _ in range(30)] == [202] + [200] * 29
    assert due(page) == ["lab/Model"]


def test_a_wrong_secret_or_none_is_refused_before_anything_is_read(page: Page) -> None:
    assert send(page, payload(), "wrong") == 403
    assert send(page, b"x" * 3_000_000, "wrong") == 403
    assert page.ask("POST", "/webhook", json.dumps(payload()).encode())[0] == 403
    assert due(page) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"event": {"action": "update", "scope": "discussion.comment"}},
        {"event": {"action": "delete", "scope": "repo"}},
        {"repo": {"type": "dataset", "name": "lab/Data"}},
        {"repo": {"type": "model", "name": "stranger/Model"}},
    ],
)
def test_what_is_of_no_interest_is_taken_and_forgotten(page: Page, changes: Any) -> None:
    assert send(page, payload(**changes)) == 200
    assert due(page) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{" * 60_000, 400),
        (b'{"event": 1, "repo": 2}', 400),
        (payload(repo={"type": "model", "name": "../../etc/passwd"}), 400),
        (payload(repo={"type": "model", "name": ["lab/Model"]}), 400),
        (b" " * (LONGEST + 1), 413),
    ],
)
def test_nonsense_is_refused(page: Page, body: Any, status: int) -> None:
    assert send(page, body) == status
    assert due(page) == []


def test_without_a_secret_there_is_no_receiver(tmp_path: Path) -> None:
    with running_page(tmp_path) as page:
        assert send(page, payload()) == 404
