"""What clients beside the Python one of the Hub send and expect (huggingface.js, packages/hub)."""

from __future__ import annotations

from tests.local_hub.server import Hub, regular

JSON = {"Content-Type": "application/json"}


def test_a_large_file_is_announced_as_javascript_does(hub: Hub) -> None:
    repo_id = hub.create("model")
    batch = {
        "operation": "upload",
        "transfers": ["basic", "multipart", "xet"],
        "hash_algo": "sha_256",
        "objects": [{"oid": "0" * 64, "size": 3}],
    }
    reply = hub.ask("POST", f"/{repo_id}.git/info/lfs/objects/batch", batch, token=hub.token)
    assert reply.status == 200
    assert "upload" in reply.json["objects"][0]["actions"]


def test_paths_are_asked_for_in_json(hub: Hub) -> None:
    repo_id = hub.create("model")
    hub.commit(repo_id, regular("a/b.txt", b"x"))
    target = f"/api/models/{repo_id}/paths-info/main"
    asked = {"paths": ["a/b.txt", "a", "no"], "expand": True}
    rows = hub.ask("POST", target, asked, headers=JSON).json
    assert [row["path"] for row in rows] == ["a/b.txt", "a"]
    assert "lastCommit" in rows[0]


def test_head_is_main_and_a_new_repository_has_its_id(hub: Hub) -> None:
    made = hub.ask("POST", "/api/repos/create", {"name": "new"}, token=hub.token)
    assert made.json["id"] == "alice/new"
    found = hub.ask("GET", "/api/models/alice/new/revision/HEAD?expand=xetEnabled&expand=sha")
    assert found.status == 200
    assert found.json["xetEnabled"] is True
    assert found.json["sha"] == hub.ask("GET", "/api/models/alice/new").json["sha"]
