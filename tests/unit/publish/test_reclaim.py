"""Storage of replaced files: what goes is the bot's and nothing leads to it; the rest stays."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub as Client
from bot.errors import PublishError, UnreachableError
from bot.publish.reclaim import Replaced, reclaim, replaced
from bot.publish.update import rollback_files
from bot.records.built import Built
from bot.records.results import Results
from tests.local_hub.server import Hub, large, regular
from tests.unit.card.samples import nine_tiers
from tests.unit.clients.hub.between import Between, Fault, between
from tests.unit.publish.test_update import REPO, TODAY, push, release

# huggingface_hub's own way to send contents
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def client(hub: Hub) -> Client:
    return Client(hub.url, SecretStr(hub.token), pause=0.01)


@pytest.fixture
def builds(tmp_path: Path) -> list[dict[str, Built]]:
    """Three builds: A is new each time, B stays, C comes in the second and goes in the third."""
    contents = (
        {"A.gguf": b"1" * 9000, "B.gguf": b"b" * 8000},
        {"A.gguf": b"2" * 9001, "B.gguf": b"b" * 8000, "C.gguf": b"c" * 7000},
        {"A.gguf": b"3" * 9002, "B.gguf": b"b" * 8000},
    )
    return [
        release(tmp_path / str(number), _of(number), files) for number, files in enumerate(contents)
    ]


def _of(number: int) -> Results:
    results = nine_tiers()
    assert results.release is not None
    return replace(results, release=replace(results.release, commit=str(number) * 40))


def sizes(found: Sequence[Replaced]) -> list[int]:
    return sorted(one.bytes for one in found)


def stored(client: Client) -> list[int]:
    return sorted(Writer(client).stored(REPO).values())


@pytest.mark.road
def test_what_updates_replaced_goes_and_nothing_else(
    hub: Hub, client: Client, builds: list[dict[str, Built]], tmp_path: Path
) -> None:
    push(client, builds[0], tmp_path / "m")
    client.tag(REPO, "build-0", client.head(REPO))
    assert replaced(client, REPO) == ()
    assert sizes(replaced(client, REPO, next_build=())) == [8000, 9000]
    stays = builds[0]["B.gguf"].sha256
    assert sizes(replaced(client, REPO, next_build=[stays])) == [9000]
    assert replaced(client, REPO, keep=1, next_build=[stays]) == ()
    for build in builds[1:]:
        push(client, build, tmp_path / "m")
    files = client.release(REPO).files
    found = replaced(client, REPO)
    assert sizes(found) == [7000, 9000, 9001]
    assert [one.path for one in found] == ["A.gguf", "A.gguf", "C.gguf"]
    assert reclaim(client, REPO) == found
    assert stored(client) == [8000, 9002]
    assert reclaim(client, REPO) == ()
    assert client.release(REPO).files == files
    assert hub.commits(REPO) == 3  # history is as it was
    gone = hub.ask("GET", f"/{REPO}/resolve/build-0/A.gguf")
    assert gone.status == 404


@pytest.mark.road
def test_earlier_builds_stay_as_far_as_they_shall(
    client: Client, builds: list[dict[str, Built]], tmp_path: Path
) -> None:
    for build in builds:
        push(client, build, tmp_path / "m")
    assert sizes(reclaim(client, REPO, keep=1)) == [9000]
    assert reclaim(client, REPO, keep=2) == ()
    assert sizes(replaced(client, REPO, keep=1, next_build=())) == [7000, 9001]
    assert sizes(reclaim(client, REPO)) == [7000, 9001]


@pytest.mark.parametrize("kind", ["tag", "branch"])
def test_what_people_point_to_stays(
    hub: Hub, client: Client, builds: list[dict[str, Built]], tmp_path: Path, kind: str
) -> None:
    push(client, builds[0], tmp_path / "m")
    head = client.head(REPO)
    target, body = (
        (f"tag/{head}", {"tag": "best"})
        if kind == "tag"
        else ("branch/best", {"startingPoint": head})
    )
    made = hub.ask("POST", f"/api/models/{REPO}/{target}", body, token=hub.token)
    assert made.status == 200, made.body
    push(client, builds[1], tmp_path / "m")
    push(client, builds[2], tmp_path / "m")
    assert sizes(reclaim(client, REPO)) == [7000, 9001]


def test_files_of_people_stay(
    hub: Hub, client: Client, builds: list[dict[str, Built]], tmp_path: Path
) -> None:
    push(client, builds[0], tmp_path / "m")
    theirs, older = b"t" * 5000, b"o" * 4000
    for data in (older, theirs):  # one that they replaced themselves, too
        line = large("their.gguf", hub.send(REPO, data), len(data))
        assert hub.commit(REPO, line).status == 200
    push(client, builds[1], tmp_path / "m")
    # the first build's A under a name of theirs
    first = builds[0]["A.gguf"]
    assert hub.commit(REPO, large("kept.gguf", first.sha256, first.bytes)).status == 200
    push(client, builds[2], tmp_path / "m")
    assert sizes(reclaim(client, REPO)) == [7000, 9001]
    assert stored(client) == [4000, 5000, 8000, 9000, 9002]


def test_a_repository_that_is_not_the_bots_loses_nothing(hub: Hub, client: Client) -> None:
    hub.create("model-APEX-GGUF")
    for data in (b"x" * 3000, b"y" * 3000):
        assert hub.commit(REPO, large("a.gguf", hub.send(REPO, data), len(data))).status == 200
    assert hub.commit(REPO, regular("provenance.json", b'{"predicateType": 1}')).status == 200
    assert replaced(client, REPO, next_build=()) == ()


@pytest.mark.road
def test_there_is_no_way_back_to_what_was_given_back(
    hub: Hub, client: Client, builds: list[dict[str, Built]], tmp_path: Path
) -> None:
    push(client, builds[0], tmp_path / "m")
    then = client.head(REPO)
    push(client, builds[1], tmp_path / "m")
    reclaim(client, REPO)
    head = client.head(REPO)
    with pytest.raises(PublishError, match=r"cannot go back .* storage of A\.gguf was given back"):
        rollback_files(client, REPO, then, tmp_path / "back", TODAY)
    assert client.head(REPO) == head
    # the file is made again, and is a new one for the Hub
    push(client, builds[0], tmp_path / "m")
    assert hub.ask("GET", f"/{REPO}/resolve/main/A.gguf").status == 200
    push(client, builds[2], tmp_path / "m")
    assert "A.gguf" in rollback_files(client, REPO, then, tmp_path / "back", TODAY)[1]


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.mark.road
@pytest.mark.parametrize("arrives", [False, True])
def test_a_deletion_of_unknown_outcome(
    hub: Hub,
    proxy: Between,
    builds: list[dict[str, Built]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,
) -> None:
    rest = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: rest(min(seconds, 0.02)))
    ours = Client(proxy.url, SecretStr(hub.token), pause=0.01)
    push(ours, builds[0], tmp_path / "m")
    push(ours, builds[1], tmp_path / "m")
    proxy.faults.append(
        Fault(method="POST", part="/lfs-files/batch", status=500, arrives=arrives, times=1)
    )
    assert sizes(reclaim(ours, REPO)) == [9000]
    assert stored(ours) == [7000, 8000, 9001]
    proxy.faults.append(Fault(method="GET", part="/lfs-files", status=500, arrives=False, times=99))
    with pytest.raises(UnreachableError):
        reclaim(ours, REPO)
