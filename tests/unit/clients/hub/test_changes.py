"""Changes that a Hub makes without files of this machine, on the local one through a proxy."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bot.clients.hub.changes import HubRef, Writer
from bot.clients.hub.hub import Hub
from tests.unit.clients.hub.between import Between, Fault

# huggingface_hub's own way to send contents
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
LARGE = "Model-BF16.gguf"


def changed(client: Hub, repo_id: str, files: dict[str, Path]) -> tuple[str, str]:
    """Two commits: all files, then another large one, without the config."""
    first = client.commit(repo_id, files, "first", client.head(repo_id))
    files[LARGE].write_bytes(b"GGUF" + bytes(9000))
    second = client.commit(repo_id, {LARGE: files[LARGE]}, "second", first, ["config.json"])
    return first, second


@pytest.mark.parametrize("status", [None, 500])
def test_restored_files_are_what_they_were_and_nothing_is_sent(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path], status: int | None
) -> None:
    first, second = changed(client, repo_id, files)
    now, then = client.release(repo_id), client.release(repo_id, first)
    proxy.faults = [Fault(method="POST", part="/commit/main", status=status, arrives=True)]
    proxy.requests.clear()
    paths = [LARGE, "config.json"]
    restored = Writer(client).restore(now, then, "back", paths)
    assert restored == client.head(repo_id) not in (first, second)
    assert proxy.count("POST", "/commit/main") == 1
    assert proxy.count("PUT", "") == 0
    after = client.release(repo_id)
    assert {f.path: f.blob_id for f in after.files} == {f.path: f.blob_id for f in then.files}
    assert Writer(client).restore(after, then, "again", paths) == restored


def test_only_the_named_paths_are_restored(
    client: Hub, repo_id: str, files: dict[str, Path]
) -> None:
    first, _ = changed(client, repo_id, files)
    now, then = client.release(repo_id), client.release(repo_id, first)
    Writer(client).restore(now, then, "back", ["config.json"])
    after = {file.path: file for file in client.release(repo_id).files}
    assert "config.json" in after
    assert after[LARGE] == {file.path: file for file in now.files}[LARGE]


def test_storage_is_listed_and_given_back(
    client: Hub, repo_id: str, files: dict[str, Path]
) -> None:
    old = hashlib.sha256(files[LARGE].read_bytes()).hexdigest()
    changed(client, repo_id, files)
    new = hashlib.sha256(files[LARGE].read_bytes()).hexdigest()
    writer = Writer(client)
    assert set(writer.stored(repo_id)) == {old, new}
    assert writer.stored(repo_id)[new] == files[LARGE].stat().st_size
    for _ in range(2):
        writer.discard(repo_id, [old])
        assert set(writer.stored(repo_id)) == {new}


def test_history_tags_and_branches(client: Hub, repo_id: str, files: dict[str, Path]) -> None:
    first, second = changed(client, repo_id, files)
    client.tag(repo_id, "build-1", first)
    client.tag(repo_id, "build-1", second)
    writer = Writer(client)
    assert writer.history(repo_id, 2) == (second, first)
    assert writer.tags(repo_id) == {"build-1": first}, "a tag stays where it is"
    assert writer.refs(repo_id) == (
        HubRef(kind="branch", name="main"),
        HubRef(kind="tag", name="build-1"),
    )


def test_a_repository_is_deleted_once(client: Hub, repo_id: str) -> None:
    for _ in range(2):
        Writer(client).delete(repo_id)
        assert not client.exists(repo_id)
