"""Collections over real HTTP with the Hub's own client."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - what other programs see of it
from pydantic import SecretStr

from bot.clients.hub import Hub as Client
from bot.clients.hub_community import Community
from bot.errors import AccessError, SourceError
from tests.local_hub.server import ORG, Hub
from tests.unit.clients.between import Between, Fault, between

TITLE = "APEX quants"


@pytest.fixture
def community(hub: Hub) -> Community:
    return Community(Client(hub.url, SecretStr(hub.token), pause=0.01))


def shown(hub: Hub, owner: str, token: str | bool = False) -> list[tuple[str, list[str]]]:
    """Titles and items of an owner's collections, as their pages have them."""
    api = HfApi(endpoint=hub.url, token=token)
    found = [api.get_collection(one.slug) for one in api.list_collections(owner=owner)]
    return [(one.title, [item.item_id for item in one.items]) for one in found]


def test_a_collection_is_made_once_and_each_repository_is_in_it_once(
    hub: Hub, community: Community
) -> None:
    first, second = hub.create("one"), hub.create("two")
    slug = community.collect(first, TITLE)
    assert slug.startswith("alice/apex-quants-")
    assert [community.collect(repo, TITLE) for repo in (first, second, second)] == [slug] * 3
    assert shown(hub, "alice") == [(TITLE, [first, second])]
    community.collect(first, "Others")
    assert shown(hub, "alice") == [("Others", [first]), (TITLE, [first, second])]


def test_it_is_the_owners_of_the_repository(hub: Hub, community: Community) -> None:
    body = {"name": "tiny", "organization": ORG}
    assert hub.ask("POST", "/api/repos/create", body, token=hub.token).status == 200
    assert community.collect("lab/tiny", TITLE).startswith("lab/")
    assert shown(hub, ORG) == [(TITLE, ["lab/tiny"])]
    assert shown(hub, "alice") == []


def test_a_private_repository_is_seen_in_it_by_its_owner_alone(
    hub: Hub, community: Community
) -> None:
    repo = hub.create("one", private=True)
    community.collect(repo, TITLE)
    assert shown(hub, "alice") == [(TITLE, [])]
    assert shown(hub, "alice", hub.token) == [(TITLE, [repo])]


def test_who_may_not_is_told(hub: Hub, community: Community) -> None:
    other = Community(Client(hub.url, SecretStr(hub.store.add_user("carol")), pause=0.01))
    repo = hub.create("one")
    with pytest.raises(AccessError, match="may not make collections for alice"):
        other.collect(repo, TITLE)
    with pytest.raises(SourceError):
        community.collect("alice/none", TITLE)


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.mark.parametrize("part", ["/api/collections", "/items"])
@pytest.mark.parametrize("arrives", [False, True])
def test_an_unknown_outcome_makes_nothing_twice(
    hub: Hub, proxy: Between, monkeypatch: pytest.MonkeyPatch, part: str, arrives: bool
) -> None:
    rest = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: rest(min(seconds, 0.02)))
    repo = hub.create("one")
    proxy.faults.append(Fault(method="POST", part=part, status=500, arrives=arrives, times=2))
    Community(Client(proxy.url, SecretStr(hub.token), pause=0.01)).collect(repo, TITLE)
    assert shown(hub, "alice") == [(TITLE, [repo])]
