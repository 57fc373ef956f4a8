"""Collections over HTTP: who makes and sees them, titles, items, pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_hub.server import Hub

LIST = "/api/collections"


def make(hub: Hub, title: Any, **more: Any) -> Any:
    return hub.ask("POST", LIST, {"title": title, "namespace": "alice"} | more, token=hub.token)


def add(hub: Hub, slug: str, repo: str, token: str | None = None, **more: Any) -> Any:
    body = {"item": {"type": "model", "id": repo}} | more
    return hub.ask("POST", f"{LIST}/{slug}/items", body, token=token or hub.token)


def test_a_title_is_made_once(hub: Hub) -> None:
    first, again = make(hub, "APEX quants"), make(hub, "APEX quants")
    assert (first.status, again.status) == (200, 409)
    assert first.json["slug"] == again.json["slug"]
    assert first.json["slug"].startswith("alice/apex-quants-")
    assert make(hub, "APEX quants", namespace="lab").json["slug"].startswith("lab/")


@pytest.mark.parametrize("title", ["", None, 7, "x" * 61])
def test_titles_are_bounded(hub: Hub, title: Any) -> None:
    assert make(hub, title).status == 400


def test_items_are_in_their_order_and_each_once(hub: Hub) -> None:
    slug = make(hub, "All").json["slug"]
    repos = [hub.create(name) for name in ("one", "two")]
    for repo in repos:
        assert add(hub, slug, repo, note=f"about {repo}").status == 200
    assert add(hub, slug, repos[0]).status == 409
    items = hub.ask("GET", f"{LIST}/{slug}").json["items"]
    assert [(item["id"], item["position"]) for item in items] == [(repos[0], 0), (repos[1], 1)]
    assert items[0]["note"] == {"text": "about alice/one"}
    for wrong in ({"item": None}, {"item": {"type": "dataset", "id": repos[0]}}):
        assert add(hub, slug, repos[0], **wrong).status == 400


def test_nobody_changes_or_sees_what_is_not_theirs(hub: Hub) -> None:
    public, private = (make(hub, t, private=t == "Mine").json["slug"] for t in ("All", "Mine"))
    hidden = hub.create("hidden", private=True)
    assert add(hub, public, hidden).status == 200
    bob = hub.store.add_user("bob")
    assert hub.ask("POST", LIST, {"title": "x", "namespace": "alice"}, token=bob).status == 403
    assert hub.ask("POST", LIST, {"title": "x"}).status == 401
    assert add(hub, public, hub.create("open"), bob).status == 403
    assert add(hub, public, hidden, bob).status == 404
    assert hub.ask("GET", f"{LIST}/{public}", token=bob).json["items"] == []
    assert hub.ask("GET", f"{LIST}/{private}", token=bob).status == 404
    rows_by_token = {
        token: hub.ask("GET", f"{LIST}?owner=alice", token=token).json for token in (None, bob)
    }
    assert [[row["title"] for row in rows] for rows in rows_by_token.values()] == [["All"], ["All"]]
    own = hub.ask("GET", f"{LIST}?owner=alice", token=hub.token).json
    assert [row["title"] for row in own] == ["Mine", "All"]


def test_a_listing_shows_the_first_items_of_each(hub: Hub) -> None:
    slug = make(hub, "All").json["slug"]
    for number in range(5):
        assert add(hub, slug, hub.create(f"model-{number}")).status == 200
    (row,) = hub.ask("GET", LIST).json
    assert len(row["items"]) == 4
    assert len(hub.ask("GET", f"{LIST}/{slug}").json["items"]) == 5
    assert hub.ask("GET", f"{LIST}?cursor=1").json == []
    assert hub.ask("GET", f"{LIST}?owner=bob").json == []
