"""Names, trees, commits and refs over HTTP, as huggingface.js asks for them, too."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - the client that reads these pages

from bot.localhub.files import xet_contents
from tests.local_hub.server import Hub, regular

JSON = {"Content-Type": "application/json"}


def test_paths_are_asked_for_in_json(hub: Hub) -> None:
    repo_id = hub.create("model")
    hub.commit(repo_id, regular("a/b.txt", b"x"))
    target = f"/api/models/{repo_id}/paths-info/main"
    body = {"paths": ["a/b.txt", "a", "no"], "expand": True}
    rows = hub.ask("POST", target, body, headers=JSON).json
    assert [row["path"] for row in rows] == ["a/b.txt", "a"]
    assert "lastCommit" in rows[0]


def test_head_is_main_and_a_new_repository_has_its_id(hub: Hub) -> None:
    created = hub.ask("POST", "/api/repos/create", {"name": "new"}, token=hub.token)
    assert created.json["id"] == "alice/new"
    reply = hub.ask("GET", "/api/models/alice/new/revision/HEAD?expand=xetEnabled&expand=sha")
    assert reply.status == 200
    assert reply.json["xetEnabled"] is xet_contents.xet_available()
    assert reply.json["sha"] == hub.ask("GET", "/api/models/alice/new").json["sha"]


def test_a_page_of_commits_says_how_many_there_are(hub: Hub) -> None:
    repo_id = hub.create("model")
    for text in (b"1", b"2"):
        hub.commit(repo_id, regular("a.txt", text))
    reply = hub.ask("GET", f"/api/models/{repo_id}/commits/main?limit=1")
    assert (len(reply.json), reply.headers["X-Total-Count"]) == (1, "3")
    assert 'rel="next"' in reply.headers["Link"]


def test_a_repository_begins_with_the_files_and_license_asked_for(hub: Hub) -> None:
    files = [{"path": "a/b.txt", "content": "eA==", "encoding": "base64"}]
    body = {"name": "new", "files": files, "license": "mit"}
    assert hub.ask("POST", "/api/repos/create", body, token=hub.token).status == 200
    assert hub.ask("GET", "/alice/new/resolve/main/a/b.txt").body == b"x"
    assert "license:mit" in hub.ask("GET", "/api/models/alice/new").json["tags"]
    for bad in ({"files": [{"path": "../x", "content": ""}]}, {"license": "a\nb: c"}):
        refused = hub.ask("POST", "/api/repos/create", {"name": "bad"} | bad, token=hub.token)
        assert refused.status == 400
    assert hub.ask("GET", "/api/models/alice/bad").status != 200


def test_a_branch_is_made_anew_only_where_that_is_asked_for(hub: Hub) -> None:
    repo_id = hub.create("model")
    branch = f"/api/models/{repo_id}/branch/b"
    first = hub.ask("GET", f"/api/models/{repo_id}").json["sha"]
    assert hub.ask("POST", branch, {}, token=hub.token).status == 200
    hub.commit(repo_id, regular("a.txt", b"x"))
    assert hub.ask("POST", branch, {}, token=hub.token).status == 409
    assert hub.ask("POST", branch, {"overwrite": True}, token=hub.token).status == 200
    assert hub.ask("GET", f"/api/models/{repo_id}/revision/b").json["sha"] == first
    moved = {"overwrite": True, "startingPoint": "main"}
    assert hub.ask("POST", branch, moved, token=hub.token).status == 200
    assert hub.ask("GET", f"/api/models/{repo_id}/revision/b").json["sha"] != first


@pytest.mark.parametrize(
    "query",
    ["sort=id", "limit=0", "limit=x", "expand=passwords", "cursor=%5B%5D", "cursor=!!",
     "num_parameters=min:6B"],
)  # fmt: skip
def test_wrong_queries_are_refused(hub: Hub, query: str) -> None:
    hub.create("tiny")
    assert hub.ask("GET", f"/api/models?{query}").status == 400


def test_what_is_not_there_has_the_clients_codes(hub: Hub) -> None:
    repo = hub.create("tiny")
    for target, code in (
        (f"/api/models/{repo}/tree/nobranch", "RevisionNotFound"),
        (f"/api/models/{repo}/revision/{'0' * 40}", "RevisionNotFound"),
        (f"/api/models/{repo}/tree/main/nofolder", "EntryNotFound"),
        (f"/{repo}/resolve/main/no.txt", "EntryNotFound"),
        (f"/{repo}/resolve/main/../../../etc/passwd", "EntryNotFound"),
        (f"/{repo}/resolve/main/%2e%2e/%2e%2e/hub.sqlite", "EntryNotFound"),
    ):
        reply = hub.ask("GET", target)
        assert (reply.status, reply.code) == (404, code)
        assert reply.headers["X-Error-Message"]


def test_branches_and_tags(hub: Hub) -> None:
    repo = hub.create("tiny")
    api = HfApi(endpoint=hub.url, token=hub.token)
    api.create_branch(repo, branch="dev")
    api.create_tag(repo, tag="v1")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id=repo, revision="dev")
    assert api.file_exists(repo, "a.txt", revision="dev")
    assert not api.file_exists(repo, "a.txt")
    refs = api.list_repo_refs(repo)
    assert [ref.name for ref in refs.branches] == ["dev", "main"]
    assert [ref.name for ref in refs.tags] == ["v1"]
    api.delete_branch(repo, branch="dev")
    api.delete_tag(repo, tag="v1")
    assert len(api.list_repo_refs(repo).branches) == 1
    assert hub.ask("DELETE", f"/api/models/{repo}/branch/main", token=hub.token).status == 403
