"""Collections and pull requests over real HTTP with the Hub's own client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import DiscussionComment, HfApi  # noqa: TID251 - what others see
from huggingface_hub.errors import HfHubHTTPError  # noqa: TID251
from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.community import Community, HubPull
from bot.clients.hub.hub import Hub as Client
from bot.errors import AccessError, SourceError
from tests.local_hub.server import ORG, Hub, regular
from tests.unit.clients.hub.between import Between, Fault, between

# huggingface_hub's own way to send contents
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

TITLE = "APEX quants"


@pytest.fixture
def community(hub: Hub) -> Community:
    return Community(Client(hub.url, SecretStr(hub.token), pause=0.01))


def shown(hub: Hub, owner: str, token: str | bool = False) -> list[tuple[str, list[str]]]:
    """Titles and items of an owner's collections, as their pages have them."""
    api = HfApi(endpoint=hub.url, token=token)
    collections = [
        api.get_collection(collection.slug) for collection in api.list_collections(owner=owner)
    ]
    return [
        (collection.title, [item.item_id for item in collection.items])
        for collection in collections
    ]


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


# ── pull requests ───────────────────────────────────────────────────────────────────────────

MARK = "[build-1]"
BIG = bytes(range(256)) * 80


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"a.gguf": BIG, "README.md": b"---\nlicense: mit\n---\n# A\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


def proposed(client: Client, repo: str, files: dict[str, Path], *deletions: str) -> HubPull:
    return Community(client).propose(
        repo, files, "First", "Why", client.head(repo), MARK, deletions
    )


def names(client: Client, repo: str, revision: str = "main") -> set[str]:
    return {file.path for file in client.release(repo, revision).files} - {".gitattributes"}


def test_a_pull_request_holds_the_files_beside_main(hub: Hub, files: dict[str, Path]) -> None:
    client = Client(hub.url, SecretStr(hub.token), pause=0.01)
    repo = hub.create("one", private=True)
    assert hub.commit(repo, regular("old.txt", b"old\n")).status == 200
    community = Community(client)
    assert community.pull(repo, MARK) is None
    pull = proposed(client, repo, files, "old.txt")
    assert pull == community.pull(repo, MARK)
    assert (pull.number, pull.status) == (1, "open")
    assert names(client, repo) == {"old.txt"}
    assert names(client, repo, pull.ref) == set(files)
    community.comment(repo, pull, "said\n<!-- x -->", "<!-- x -->")
    community.comment(repo, pull, "said otherwise\n<!-- x -->", "<!-- x -->")
    api = HfApi(endpoint=hub.url, token=hub.token)
    discussion = api.get_discussion_details(repo, 1)
    assert (discussion.title, discussion.status) == (f"First {MARK}", "open")
    comments = [e.content for e in discussion.events if isinstance(e, DiscussionComment)]
    assert comments == ["Why", "said\n<!-- x -->"]
    # others may speak of what they see, and merge nothing
    bob = HfApi(endpoint=hub.url, token=hub.store.add_user("bob"))
    with pytest.raises(HfHubHTTPError):
        bob.merge_pull_request(repo, 1)
    api.merge_pull_request(repo, 1)
    assert names(client, repo) == set(files)
    assert hub.commits(repo) == 2
    merged = community.pull(repo, MARK)
    assert merged is not None
    assert merged.status == "merged"
    with pytest.raises(HfHubHTTPError, match="is merged"):
        api.merge_pull_request(repo, 1)


def test_somebody_elses_pull_request_is_not_taken_for_ours(
    hub: Hub, files: dict[str, Path]
) -> None:
    client = Client(hub.url, SecretStr(hub.token), pause=0.01)
    body = {"name": "tiny", "organization": ORG}
    assert hub.ask("POST", "/api/repos/create", body, token=hub.token).status == 200
    bob = Client(hub.url, SecretStr(hub.store.add_user("bob", [ORG])), pause=0.01)
    assert proposed(bob, "lab/tiny", files).number == 1
    assert Community(client).pull("lab/tiny", MARK) is None
    assert proposed(client, "lab/tiny", files).number == 2


def test_a_closed_one_can_be_opened_again(hub: Hub, files: dict[str, Path]) -> None:
    client = Client(hub.url, SecretStr(hub.token), pause=0.01)
    repo, api = hub.create("one"), HfApi(endpoint=hub.url, token=hub.token)
    proposed(client, repo, files)
    for status in ("closed", "open"):
        api.change_discussion_status(repo, 1, status)
        pull = Community(client).pull(repo, MARK)
        assert pull is not None
        assert pull.status == status
    assert Writer(client).refs(repo)[-1].name == "refs/pr/1"
    api.change_discussion_status(repo, 1, "closed")
    assert [ref.name for ref in Writer(client).refs(repo)] == ["main"]


def test_what_both_sides_changed_is_not_merged(hub: Hub, files: dict[str, Path]) -> None:
    client = Client(hub.url, SecretStr(hub.token), pause=0.01)
    repo, api = hub.create("one"), HfApi(endpoint=hub.url, token=hub.token)
    proposed(client, repo, files)
    assert hub.commit(repo, regular("note.txt", b"note\n")).status == 200
    assert hub.commit(repo, regular("README.md", b"# Mine\n")).status == 200
    with pytest.raises(HfHubHTTPError, match=r"README\.md was changed on main"):
        api.merge_pull_request(repo, 1)
    line = {"key": "deletedFile", "value": {"path": "README.md"}}
    assert hub.commit(repo, line).status == 200
    api.merge_pull_request(repo, 1)
    assert names(client, repo) == {*files, "note.txt"}


@pytest.mark.parametrize(
    ("method", "part"), [("POST", "/commit/"), ("POST", "/comment"), ("GET", "/discussions")]
)
@pytest.mark.parametrize("arrives", [False, True])
def test_an_unknown_outcome_opens_no_second_one(
    hub: Hub,
    proxy: Between,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, Path],
    method: str,
    part: str,
    arrives: bool,
) -> None:
    rest = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: rest(min(seconds, 0.02)))
    repo = hub.create("one")
    client = Client(proxy.url, SecretStr(hub.token), pause=0.01)
    proxy.faults.append(Fault(method=method, part=part, status=500, arrives=arrives, times=2))
    pull = proposed(client, repo, files)
    Community(client).comment(repo, pull, "said", "said")
    api = HfApi(endpoint=hub.url, token=hub.token)
    assert [discussion.num for discussion in api.get_repo_discussions(repo)] == [1]
    events = api.get_discussion_details(repo, 1).events
    assert [e.type for e in events] == ["comment", "commit", "comment"]


def test_a_pull_request_has_a_page(hub: Hub, files: dict[str, Path]) -> None:
    client = Client(hub.url, SecretStr(hub.token), pause=0.01)
    repo = hub.create("one")
    pull = proposed(client, repo, files)
    Community(client).comment(repo, pull, "| a |\n|---|\n| <script>1</script> |", "a")
    page = hub.ask("GET", f"/{repo}/discussions/1", headers={"Accept": "text/html"})
    assert page.status == 200
    assert b"First [build-1]" in page.body
    assert b"<table" in page.body
    assert b"<script" not in page.body
    assert b"a.gguf" in hub.ask("GET", f"/{repo}/tree/refs/pr/1").body
    assert b"/discussions/1" in hub.ask("GET", f"/{repo}").body
    assert hub.ask("GET", f"/{repo}/resolve/refs/pr/1/a.gguf").body == BIG
    assert hub.ask("GET", f"/{repo}/discussions/2").status == 404
