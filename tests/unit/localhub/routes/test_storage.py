"""Large files of a repository: listed, given back, held by another one with no byte sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (  # noqa: TID251 - the client under test
    CommitOperationAdd,
    CommitOperationCopy,
    HfApi,
)
from huggingface_hub.errors import (  # noqa: TID251 - what it makes of our refusals
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from bot.localhub.files import xet_contents
from tests.local_hub.server import Hub, large, regular

# huggingface_hub's own way to send contents
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
FROM, TO = "alice/staging", "lab/final"
DATA = os.urandom(300_000)


@pytest.fixture
def api(hub: Hub, tmp_path: Path) -> HfApi:
    """Alice's client, and her private repository with a large and a small file."""
    file = tmp_path / "a.gguf"
    file.write_bytes(DATA)
    client = HfApi(endpoint=hub.url, token=hub.token)
    client.create_repo(FROM, private=True)
    operations = [CommitOperationAdd("deep/a.gguf", file), CommitOperationAdd("small.txt", b"hi")]
    client.create_commit(FROM, operations, commit_message="files")
    client.create_repo(TO, private=False)
    return client


def copying(path: str, to: str) -> CommitOperationCopy:
    return CommitOperationCopy(path, to, src_repo_id=FROM, src_repo_type="model")


def duplicate(hub: Hub, files: Any, token: str | None, target: Any = None) -> Any:
    body = {"target": target or {"type": "model", "name": TO}, "files": files}
    return hub.ask("POST", f"/api/models/{FROM}/lfs-files/duplicate", body, token=token)


def test_files_are_copied_into_one_commit_and_outlive_their_source(
    hub: Hub, api: HfApi, tmp_path: Path
) -> None:
    operations: list[CommitOperationAdd | CommitOperationCopy] = [
        copying("deep/a.gguf", "a.gguf"),
        copying("small.txt", "b.txt"),
        CommitOperationAdd("c.txt", b"new"),
    ]
    api.create_commit(TO, operations, commit_message="copied")
    assert hub.commits(TO) == 1
    api.delete_repo(FROM)
    assert not api.repo_exists(FROM)
    copy = api.hf_hub_download(TO, "a.gguf", local_dir=tmp_path / "copy")
    assert Path(copy).read_bytes() == DATA
    assert {"a.gguf", "b.txt", "c.txt"} < set(api.list_repo_files(TO))


def test_nobody_gets_what_they_may_not_read_or_gives_where_they_may_not_write(
    hub: Hub, api: HfApi
) -> None:
    token = hub.store.add_user("stranger")
    stranger = HfApi(endpoint=hub.url, token=token)
    stranger.create_repo("stranger/mine")
    with pytest.raises(RepositoryNotFoundError):
        stranger.create_commit(
            "stranger/mine", [copying("deep/a.gguf", "a.gguf")], commit_message="taken"
        )
    (row,) = api.get_paths_info(FROM, ["deep/a.gguf"])
    files = [{"sha256": row.lfs.sha256, "xetHash": row.xet_hash, "filename": "x"}]  # type: ignore[union-attr]
    assert duplicate(hub, files, token).status == 404
    api.update_repo_settings(FROM, visibility="public")
    with pytest.raises(HfHubHTTPError, match="may not write"):
        stranger.create_commit(TO, [copying("deep/a.gguf", "a.gguf")], commit_message="given")
    stranger.create_commit(
        "stranger/mine", [copying("deep/a.gguf", "a.gguf")], commit_message="public is for all"
    )
    assert duplicate(hub, files, None).status == 401


def test_what_is_not_there_is_named(hub: Hub, api: HfApi) -> None:
    (row,) = api.get_paths_info(FROM, ["deep/a.gguf"])
    oid = row.lfs.sha256  # type: ignore[union-attr]
    reply = duplicate(hub, [{"sha256": "0" * 64}, {"sha256": oid, "xetHash": "0"}], hub.token)
    assert reply.status == 200
    assert [failed["sha256"] for failed in reply.json["failed"]] == ["0" * 64, oid]
    assert duplicate(hub, [{"sha256": "x"}], hub.token).status == 400
    assert duplicate(hub, [], hub.token, {"type": "dataset", "name": TO}).status == 400
    assert duplicate(hub, [], hub.token, {"type": "model", "name": "alice/none"}).status == 404


def test_the_xet_hash_is_that_of_hf_xet(api: HfApi, tmp_path: Path) -> None:
    import hf_xet

    (row,) = api.get_paths_info(FROM, ["deep/a.gguf"])
    (file_info,) = hf_xet.hash_files([str(tmp_path / "a.gguf")])
    assert row.xet_hash == file_info.hash  # type: ignore[union-attr]
    assert xet_contents.xet_hash(tmp_path / "a.gguf") == file_info.hash


def stored(hub: Hub, target: str = FROM, query: str = "") -> Any:
    return hub.ask("GET", f"/api/models/{target}/lfs-files{query}", token=hub.token).json


def deletion(hub: Hub, body: Any, token: str | None) -> int:
    target = f"/api/models/{FROM}/lfs-files/batch"
    return hub.ask("POST", target, {"deletions": body}, token=token).status


def test_large_files_are_listed_with_the_name_of_their_first_commit(hub: Hub) -> None:
    repo = hub.create("large")
    first, waiting = hub.send(repo, b"first"), hub.send(repo, b"no commit names it")
    hub.commit(repo, large("a.gguf", first, 5))
    hub.commit(repo, large("b.gguf", first, 5), regular("small.txt", b"x"))
    rows = stored(hub, repo)
    assert [(row["fileOid"], row["filename"], row["size"]) for row in rows] == [
        (first, "a.gguf", 5), (waiting, waiting, 18)]  # fmt: skip
    assert stored(hub, repo, "?cursor=1") == rows[1:]
    assert hub.ask("GET", f"/api/models/{repo}/lfs-files").status == 401


def test_what_is_given_back_is_gone_from_every_commit(hub: Hub, api: HfApi) -> None:
    (row,) = stored(hub)
    oid = row["fileOid"]
    bob = hub.store.add_user("bob")
    api.update_repo_settings(FROM, visibility="public")
    deletions = {"sha": [oid], "rewriteHistory": False}
    assert [deletion(hub, deletions, token) for token in (None, bob)] == [401, 403]
    for wrong in (None, {"sha": oid}, {"sha": ["x"]}, {"sha": [oid]}):
        assert deletion(hub, wrong, hub.token) == 400
    assert deletion(hub, deletions | {"sha": ["0" * 64]}, hub.token) == 404
    assert stored(hub) == [row]
    assert deletion(hub, deletions, hub.token) == 200
    assert stored(hub) == []
    assert not hub.store.objects.path(oid).exists()
    assert "deep/a.gguf" in api.list_repo_files(FROM), "the commit keeps the name"
    assert hub.ask("GET", f"/{FROM}/resolve/main/deep/a.gguf").status == 404
    assert deletion(hub, deletions, hub.token) == 404


def test_a_content_that_another_repository_holds_stays(hub: Hub) -> None:
    one, two = hub.create("one"), hub.create("two")
    oid = hub.send(one, b"both")
    assert hub.send(two, b"both") == oid
    for repo in (one, two):
        hub.commit(repo, large("a.gguf", oid, 4))
    body = {"deletions": {"sha": [oid], "rewriteHistory": False}}
    reply = hub.ask("POST", f"/api/models/{one}/lfs-files/batch", body, token=hub.token)
    assert reply.status == 200
    assert hub.ask("GET", f"/{one}/resolve/main/a.gguf").status == 404
    assert hub.ask("GET", f"/{two}/resolve/main/a.gguf").body == b"both"
