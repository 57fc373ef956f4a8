"""A person's answer to a pull request, given at the machine of the Hub."""

from __future__ import annotations

import json

import pytest

from bot.errors import SourceError
from bot.localhub.reviewing import review_pull
from tests.local_hub.server import Hub, regular


@pytest.fixture
def repo(hub: Hub) -> str:
    """A repository with two pull requests on the same file."""
    repo = hub.create("tiny")
    header = {"key": "header", "value": {"summary": "Better"}}
    for text in (b"one", b"two"):
        lines = [header, regular("a.txt", text)]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        target = f"/api/models/{repo}/commit/main?create_pr=1"
        assert hub.ask("POST", target, body, token=hub.token).status == 200
    return repo


def status(hub: Hub, repo: str, number: int) -> str:
    return str(hub.ask("GET", f"/api/models/{repo}/discussions/{number}").json["status"])


def test_one_that_is_agreed_to_is_on_main(hub: Hub, repo: str) -> None:
    line = review_pull(hub.store, repo, 1, agreed=True)
    head = hub.ask("GET", f"/api/models/{repo}").json["sha"]
    assert line == f"{repo} #1 is merged: commit {head[:12]}"
    assert hub.ask("GET", f"/{repo}/resolve/main/a.txt").body == b"one"
    assert (status(hub, repo, 1), status(hub, repo, 2)) == ("merged", "open")


def test_one_that_is_not_is_closed(hub: Hub, repo: str) -> None:
    assert review_pull(hub.store, repo, 2, agreed=False) == f"{repo} #2 is closed"
    assert hub.ask("GET", f"/{repo}/resolve/main/a.txt").status == 404
    assert (status(hub, repo, 1), status(hub, repo, 2)) == ("open", "closed")


def test_there_is_one_answer(hub: Hub, repo: str) -> None:
    review_pull(hub.store, repo, 1, agreed=True)
    for agreed in (True, False):
        with pytest.raises(SourceError, match="Pull request 1 is merged; see the page"):
            review_pull(hub.store, repo, 1, agreed=agreed)
    with pytest.raises(SourceError, match="changed on main, too"):
        review_pull(hub.store, repo, 2, agreed=True)


def test_what_is_not_there_is_named(hub: Hub, repo: str) -> None:
    with pytest.raises(SourceError, match="has no pull request 9"):
        review_pull(hub.store, repo, 9, agreed=True)
    with pytest.raises(SourceError, match="this Hub has no alice/none; check the name"):
        review_pull(hub.store, "alice/none", 1, agreed=True)
