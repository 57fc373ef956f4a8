"""Pull requests over HTTP: listed, told, commented on, closed, opened again and merged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.local_hub.server import Hub, regular


@pytest.fixture
def repo(hub: Hub) -> str:
    return hub.create("tiny")


def propose(hub: Hub, repo: str, text: bytes, token: str | None = None) -> int:
    """Open a pull request that makes a.txt; returns its number."""
    lines = [{"key": "header", "value": {"summary": "Better"}}, regular("a.txt", text)]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    target = f"/api/models/{repo}/commit/main?create_pr=1"
    reply = hub.ask("POST", target, body, token=token or hub.token)
    assert reply.status == 200
    return int(reply.json["pullRequestUrl"].rpartition("/")[2])


def ask(hub: Hub, repo: str, path: str, body: Any = None, token: str | None = None) -> Any:
    method = "GET" if body is None else "POST"
    return hub.ask(method, f"/api/models/{repo}/discussions{path}", body, token=token or hub.token)


def test_a_pull_request_tells_all_that_happened(hub: Hub, repo: str) -> None:
    number = propose(hub, repo, b"1")
    assert ask(hub, repo, f"/{number}/comment", {"comment": "Why?"}).status == 200
    assert ask(hub, repo, f"/{number}/status", {"status": "closed"}).status == 200
    assert ask(hub, repo, f"/{number}/status", {"status": "open"}).status == 200
    assert ask(hub, repo, f"/{number}/merge", {}).status == 200
    discussion = ask(hub, repo, f"/{number}").json
    assert [event["type"] for event in discussion["events"]] == [
        "commit", "comment", "status-change", "status-change", "status-change"]  # fmt: skip
    assert [e["data"]["status"] for e in discussion["events"][2:]] == ["closed", "open", "merged"]
    assert discussion["events"][1]["data"]["latest"]["raw"] == "Why?"
    assert (
        discussion["changes"]["mergeCommitId"] == hub.ask("GET", f"/api/models/{repo}").json["sha"]
    )
    assert hub.ask("GET", f"/{repo}/resolve/main/a.txt").body == b"1"


def test_a_merged_one_stays_merged(hub: Hub, repo: str) -> None:
    number = propose(hub, repo, b"1")
    assert ask(hub, repo, f"/{number}/merge", {}).status == 200
    assert ask(hub, repo, f"/{number}/merge", {}).status == 400
    for status in ("open", "closed"):
        assert ask(hub, repo, f"/{number}/status", {"status": status}).status == 400
    assert ask(hub, repo, f"/{number}").json["status"] == "merged"


def test_of_two_that_make_one_file_the_second_conflicts(hub: Hub, repo: str) -> None:
    first, second = propose(hub, repo, b"1"), propose(hub, repo, b"2")
    assert ask(hub, repo, f"/{first}/merge", {}).status == 200
    assert ask(hub, repo, f"/{second}/merge", {}).status == 409
    assert ask(hub, repo, f"/{second}").json["status"] == "open"


def test_who_may_what(hub: Hub, repo: str) -> None:
    bob = hub.store.add_user("bob")
    number = propose(hub, repo, b"1")
    assert ask(hub, repo, f"/{number}/comment", {"comment": "Mine?"}, bob).status == 200
    for path, body in (("status", {"status": "closed"}), ("merge", {})):
        assert ask(hub, repo, f"/{number}/{path}", body, bob).status == 403
    target = f"/api/models/{repo}/discussions/{number}/comment"
    assert hub.ask("POST", target, {"comment": "x"}).status == 401
    assert ask(hub, repo, "", {"title": "A question"}).status == 400, "there are none here"


def test_lists_are_filtered(hub: Hub, repo: str) -> None:
    numbers = [propose(hub, repo, text) for text in (b"1", b"2", b"3")]
    ask(hub, repo, f"/{numbers[1]}/status", {"status": "closed"})

    def listed(query: str) -> list[int]:
        return [row["num"] for row in ask(hub, repo, f"?{query}").json["discussions"]]

    assert listed("") == numbers[::-1]
    assert listed("status=open") == [numbers[2], numbers[0]]
    assert listed("status=closed") == [numbers[1]]
    assert listed("type=pull_request&author=alice") == numbers[::-1]
    assert listed("type=discussion") == listed("author=bob") == listed("p=1") == []


@pytest.mark.parametrize("comment", ["", None, 7, "x" * 65_537])
def test_comments_are_bounded(hub: Hub, repo: str, comment: Any) -> None:
    number = propose(hub, repo, b"1")
    assert ask(hub, repo, f"/{number}/comment", {"comment": comment}).status == 400
    assert ask(hub, repo, "/9").status == 404
