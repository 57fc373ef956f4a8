"""What is written to a Hub: commits of files, each made once, whatever is heard of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from bot.errors import AccessError, PublishError, UnreachableError
from tests.local_hub.server import Hub as LocalHub
from tests.unit.clients.hub.between import Between, Fault


def test_strangers_may_not_write(
    client: Hub, server: LocalHub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    client.make_public(repo_id)
    other = Hub(proxy.url, SecretStr(server.store.add_user("other")), pause=0.01)
    with pytest.raises(AccessError, match="HF_TOKEN may not do this"):
        other.commit(repo_id, files, "not mine", client.head(repo_id))
    with pytest.raises(AccessError, match="HF_TOKEN may not do this"):
        other.create_private("maker/Stolen")


def test_a_set_is_one_commit_and_the_second_time_none(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    parent = client.head(repo_id)
    proxy.requests.clear()
    first = client.commit(repo_id, files, "first", parent)
    assert proxy.count("POST", "/commit/main") == 1
    assert first == client.head(repo_id) != parent
    assert client.commit(repo_id, files, "again", first) == first
    assert proxy.count("POST", "/commit/main") == 1


def test_files_are_deleted_in_the_same_commit(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    first = client.commit(repo_id, files, "first", client.head(repo_id))
    files["README.md"].write_text("---\nlicense: mit\n---\n# Changed\n")
    proxy.requests.clear()
    second = client.commit(
        repo_id, {"README.md": files["README.md"]}, "second", first, ["config.json"]
    )
    assert proxy.count("POST", "/commit/main") == 1
    release = client.release(repo_id)
    assert release.commit == second
    assert {"README.md", "Model-BF16.gguf"} <= {file.path for file in release.files}
    assert "config.json" not in {file.path for file in release.files}


def test_a_repository_that_moved_on_is_not_overwritten(
    client: Hub, repo_id: str, files: dict[str, Path]
) -> None:
    parent = client.head(repo_id)
    client.commit(repo_id, {"config.json": files["config.json"]}, "somebody else's", parent)
    with pytest.raises(PublishError, match="changed by somebody else"):
        client.commit(repo_id, files, "ours", parent)
    assert "README.md" not in {file.path for file in client.release(repo_id).files}


@pytest.mark.parametrize("status", [500, 504, None])
def test_a_commit_that_landed_unheard_is_found(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path], status: int | None
) -> None:
    parent = client.head(repo_id)
    proxy.faults = [Fault(method="POST", part="/commit/main", status=status, arrives=True)]
    proxy.requests.clear()
    commit = client.commit(repo_id, files, "first", parent)
    assert proxy.count("POST", "/commit/main") == 1
    assert commit == client.head(repo_id) != parent


@pytest.mark.parametrize("status", [500, 429, None])
def test_a_commit_that_did_not_land_is_made_again(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path], status: int | None
) -> None:
    parent = client.head(repo_id)
    proxy.faults = [Fault(method="POST", part="/commit/main", status=status, arrives=False)]
    proxy.requests.clear()
    assert client.commit(repo_id, files, "first", parent) == client.head(repo_id) != parent
    assert proxy.count("POST", "/commit/main") == 2


@pytest.mark.parametrize("status", [500, None])
def test_a_commit_that_never_lands_is_said_so(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path], status: int | None
) -> None:
    parent = client.head(repo_id)
    never = Fault(method="POST", part="/commit/main", status=status, arrives=False, times=9)
    proxy.faults = [never]
    with pytest.raises(UnreachableError, match="run the same command again"):
        client.commit(repo_id, files, "first", parent)
    assert client.head(repo_id) == parent
    proxy.faults = []
    assert client.commit(repo_id, files, "first", parent) == client.head(repo_id) != parent


@pytest.mark.parametrize("changed", ["README.md", "Model-BF16.gguf", None])
def test_somebody_elses_commit_is_not_taken_for_ours(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path], changed: str | None
) -> None:
    parent = client.head(repo_id)
    other_files = dict(files)
    if changed:
        content = bytearray(files[changed].read_bytes())
        content[-1] ^= 1  # the same size, another byte
        other_files[changed] = files[changed].with_name("theirs")
        other_files[changed].write_bytes(content)
    else:
        del other_files["config.json"]
    proxy.faults = [
        Fault(
            method="POST",
            part="/commit/main",
            status=500,
            arrives=False,
            meanwhile=lambda: client.commit(repo_id, other_files, "theirs", parent),
        )
    ]
    with pytest.raises(PublishError, match="changed by somebody else"):
        client.commit(repo_id, files, "ours", parent)
