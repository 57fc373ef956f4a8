"""A release that a person has to agree to, by a pull request of the Hub; then what follows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import DiscussionComment, HfApi  # noqa: TID251 - the person's side
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.unit.clients.hub.between import Between, Fault, between

REPO = "alice/Tiny-MoE-14M-APEX-GGUF"
TIER = "Tiny-MoE-14M-APEX-Balanced.gguf"
pytestmark = pytest.mark.usefixtures("work")
ASKING = {"approval": "pull-request", "collection": "APEX quants"}


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.fixture
def road(tmp_path: Path, hub: Hub, proxy: Between) -> Road:
    made = Road(folder=tmp_path, url=proxy.url, token=hub.token)
    made.settings(publish=ASKING)
    return made


def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def seen(hub: Hub) -> bool:
    return hub.ask("GET", f"/api/models/{REPO}").status == 200


def comments(hub: Hub) -> list[str]:
    events = api(hub).get_discussion_details(REPO, 1).events
    return [event.content for event in events if isinstance(event, DiscussionComment)]


@pytest.mark.road
def test_merged_by_a_person_it_is_verified_and_shown(
    road: Road, hub: Hub, proxy: Between, demo_model: Path
) -> None:
    asked = ("publish", str(demo_model), "--profiles", "Balanced")
    # the reply to the pull request is lost; it is there all the same
    proxy.faults.append(Fault(method="POST", part="/commit/", status=500, arrives=True))
    first = road.bot(*asked, "--json", HF_HUB_DISABLE_XET="1")
    assert first.returncode == 0, first.stderr
    done = json.loads(first.stdout)
    assert done["waiting"] == f"{proxy.url}/{REPO}/discussions/1"
    assert done["public"] is False
    assert TIER in done["files"]
    assert not seen(hub)
    assert hub.commits(REPO) == 0
    assert [pull.num for pull in api(hub).get_repo_discussions(REPO)] == [1]
    (said,) = comments(hub)
    assert "| APEX Balanced |" in said
    assert "mean kld" in said
    assert "the release may be published" in said
    assert "<picture" not in said

    # nothing is sent or measured again while nobody answered
    mark = len(proxy.requests)
    second = road.bot(*asked)
    assert second.returncode == 0, second.stderr
    assert f"waits for a person: merge {done['waiting']}" in second.stdout
    assert not any(line.startswith(("PUT", "POST")) for line in proxy.requests[mark:])
    assert all(word not in second.stderr for word in ("quantizing", "perplexity", "publishing"))
    assert len(comments(hub)) == 1
    assert not seen(hub)

    # the person writes on the card before they merge
    card = road.folder / "card.md"
    client = Client(hub.url, SecretStr(hub.token))
    card.write_text((client.read_text(REPO, "refs/pr/1", "README.md", 10**6) or "") + "\nTip\n")
    api(hub).upload_file(
        path_or_fileobj=card, path_in_repo="README.md", repo_id=REPO, revision="refs/pr/1"
    )
    api(hub).merge_pull_request(REPO, 1)
    assert not seen(hub)
    mark = len(proxy.requests)
    third = road.bot(*asked)
    assert third.returncode == 0, third.stderr
    assert "is public now" in third.stdout
    assert not any("/commit/" in line or "PUT /lfs" in line for line in proxy.requests[mark:])
    assert seen(hub)
    assert hub.commits(REPO) == 1
    assert (client.read_text(REPO, "main", "README.md", 10**6) or "").endswith("\nTip\n")
    (shelf,) = api(hub).list_collections(owner="alice")
    assert [item.item_id for item in shelf.items] == [REPO]
    fourth = road.bot(*asked)
    assert fourth.returncode == 0, fourth.stderr
    assert fourth.stdout.startswith("nothing to do")
    assert hub.commits(REPO) == 1


@pytest.mark.long
def test_closed_by_a_person_it_stays_private(road: Road, hub: Hub, demo_model: Path) -> None:
    asked = ("publish", str(demo_model), "--profiles", "Balanced")
    assert road.bot(*asked).returncode == 0
    closed = road.bot("hub", "review", str(road.folder / "hub"), REPO, "1", "--close")
    assert closed.returncode == 0, closed.stderr
    for _ in range(2):
        done = road.bot(*asked)
        assert done.returncode == 11
        assert f"{REPO} is not published: " in done.stderr
        assert "/discussions/1 was closed without a merge" in done.stderr
    assert not seen(hub)
    assert [pull.num for pull in api(hub).get_repo_discussions(REPO)] == [1]
    # they think again
    api(hub).change_discussion_status(REPO, 1, "open")
    assert "waits for a person" in road.bot(*asked).stdout
    merged = road.bot("hub", "review", str(road.folder / "hub"), REPO, "1", "--merge")
    assert merged.stdout.startswith(f"{REPO} #1 is merged: commit ")
    again = road.bot("hub", "review", str(road.folder / "hub"), REPO, "1", "--merge")
    assert again.returncode == 4
    assert "Pull request 1 is merged" in again.stderr
    assert road.bot(*asked).returncode == 0
    assert seen(hub)


@pytest.mark.road
def test_what_was_merged_otherwise_is_not_shown(road: Road, hub: Hub, demo_model: Path) -> None:
    asked = ("publish", str(demo_model), "--profiles", "Balanced")
    assert road.bot(*asked).returncode == 0
    other = road.folder / "other.gguf"
    other.write_bytes(b"GGUF" + bytes(9000))
    api(hub).upload_file(
        path_or_fileobj=other, path_in_repo=TIER, repo_id=REPO, revision="refs/pr/1"
    )
    api(hub).merge_pull_request(REPO, 1)
    done = road.bot(*asked)
    assert done.returncode == 9
    assert f"does not hold the measured {TIER}" in done.stderr
    assert not seen(hub)
    assert hub.commits(REPO) == 1


@pytest.mark.long
def test_an_update_waits_and_then_gives_back_storage(
    road: Road, hub: Hub, proxy: Between, demo_model: Path
) -> None:
    asked = ("publish", str(demo_model), "--profiles", "Balanced")
    plain = road.settings("plain.yaml", publish={"collection": "APEX quants"})
    # the collection fails and the release is out
    proxy.faults.append(Fault(method="POST", part="/items", status=403, arrives=False))
    first = road.bot(*asked, config=plain)
    assert first.returncode == 0, first.stderr
    assert f"{REPO} is not in the collection 'APEX quants' yet: " in first.stderr
    assert seen(hub)
    done = road.bot(*asked, config=plain)
    assert f"{REPO} is in the collection alice/apex-quants-" in done.stderr
    before = Client(hub.url, None).release(REPO)
    old = next(file for file in before.files if file.path == TIER)

    # another build of the same: its files name no tier
    other = {"stamp": False}
    changed = road.settings("changed.yaml", quantize=other)
    would = road.bot(*asked, "--dry-run", "--prune", "--json", config=changed)
    assert would.returncode == 0, would.stderr
    gone = {one["path"]: one["bytes"] for one in json.loads(would.stdout)["prune"]}
    assert gone[TIER] == old.size
    shown = road.bot(*asked, "--dry-run", "--prune", config=changed)
    assert f"--prune would give back {sum(gone.values())} bytes" in shown.stdout
    same = road.bot(*asked, "--dry-run", "--prune", config=plain)
    assert f"--prune would give back nothing of {REPO}" in same.stdout
    road.settings(publish=ASKING, quantize=other)
    waiting = road.bot(*asked, "--prune", "--json")
    assert waiting.returncode == 0, waiting.stderr
    assert json.loads(waiting.stdout)["waiting"]
    assert json.loads(waiting.stdout)["reclaimed"] == 0
    assert Client(hub.url, None).release(REPO) == before
    assert hub.ask("GET", f"/{REPO}/resolve/main/{TIER}").status == 200
    api(hub).merge_pull_request(REPO, 1)
    proxy.faults.append(Fault(method="POST", part="/lfs-files", status=403, arrives=False))
    merged = road.bot(*asked, "--prune")
    assert merged.returncode == 0, merged.stderr
    assert "keeps the storage of replaced files" in merged.stderr
    again = road.bot(*asked, "--prune", "--json")
    assert json.loads(again.stdout)["reclaimed"] >= old.size
    held = Client(hub.url, None).release(REPO)
    assert next(file for file in held.files if file.path == TIER).sha256 != old.sha256
    assert hub.ask("GET", f"/{REPO}/resolve/main/{TIER}").status == 200
    assert hub.ask("GET", f"/{REPO}/resolve/{before.commit}/{TIER}").status == 404
    back = road.bot("rollback", REPO, before.commit)
    assert back.returncode == 9
    assert "was given back (--prune)" in back.stderr
    assert Client(hub.url, None).release(REPO) == held
