"""Pull requests: what merging makes of two sides, and which commit each ref is at."""

from __future__ import annotations

import pytest

from bot.localhub.files.commit_body import Changes, Delete, Put, regular_entry
from bot.localhub.files.commits import create_repo, merge_pull, propose_commit
from bot.localhub.files.pulls import Pull, find_pull, head, mark_merged
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Entry, Repo
from bot.serving.refusal import Refusal
from tests.local_hub.server import Hub


def tree(**files: str) -> dict[str, Entry]:
    """Files by path, each with one line."""
    return {path: regular_entry(path, text.encode()) for path, text in files.items()}


def test_a_merge_takes_what_changed_since_the_base() -> None:
    base = tree(stays="1", changes="1", goes="1")
    main = base | tree(new_here="1")
    proposed = tree(stays="1", changes="2", new_there="1")
    assert mark_merged(base, main, proposed, ".gitattributes") == tree(
        stays="1", changes="2", new_here="1", new_there="1"
    )


def test_the_same_change_on_both_sides_is_one() -> None:
    base, both = tree(a="1", b="1"), tree(a="2")
    assert mark_merged(base, both, both, ".gitattributes") == both


@pytest.mark.parametrize("proposed", [tree(a="3"), tree(), tree(a="3", b="1")])
def test_another_change_of_the_same_file_is_a_conflict(proposed: dict[str, Entry]) -> None:
    with pytest.raises(Refusal, match="a was changed on main, too") as refused:
        mark_merged(tree(a="1"), tree(a="2"), proposed, ".gitattributes")
    assert refused.value.status == 409


def test_the_hubs_own_file_is_mains() -> None:
    base, main, proposed = tree(own="1"), tree(own="2"), tree(own="3", a="1")
    assert mark_merged(base, main, proposed, "own") == tree(own="2", a="1")


def put(store: Store, repo: Repo, path: str, text: str) -> Put:
    """A file of a commit whose content is stored already."""
    entry = regular_entry(path, text.encode())
    with store.objects.incoming() as content:
        content.write(text.encode())
        content.finish()
        store.hold(repo, content)
    return Put(entry=entry, staged=None)


def proposal(store: Store, repo: Repo, *operations: Put | Delete) -> Pull:
    """A pull request of the user bob."""
    changes = Changes(title="Better", message="why", parent=None, operations=operations)
    return propose_commit(store, repo, "bob", changes)[0]


@pytest.fixture
def repo(hub: Hub) -> Repo:
    return create_repo(
        hub.store, "alice", "tiny", author="alice", private=False, files={"a.txt": b"1"}
    )


def test_a_proposal_lies_beside_main_until_it_is_merged(hub: Hub, repo: Repo) -> None:
    store = hub.store
    pull = proposal(store, repo, put(store, repo, "b.txt", "2"), Delete(path="a.txt", folder=False))
    with store.database.reading() as db:
        pull = find_pull(db, repo, pull.number)
        assert head(db, repo, pull.ref) == pull.sha != pull.base
        assert head(db, repo, "refs/pr/2") is None
        assert head(db, repo, "main") is None
    assert {"b.txt"} == set(store.tree(store.commit(repo, pull.ref))) - {".gitattributes"}
    assert {"a.txt"} == set(store.tree(store.commit(repo, "main"))) - {".gitattributes"}
    merged = merge_pull(store, repo, pull.number, "alice")
    assert store.commit(repo, "main") == merged
    assert merged.title == "Better (#1)"
    assert set(store.tree(merged)) == {".gitattributes", "b.txt"}
    with pytest.raises(Refusal, match="Pull request 1 is merged"):
        merge_pull(store, repo, pull.number, "alice")


def test_pull_requests_are_counted_by_repository(hub: Hub, repo: Repo) -> None:
    store = hub.store
    numbers = [proposal(store, repo, put(store, repo, "b.txt", text)).number for text in "123"]
    assert numbers == [1, 2, 3]
    assert [pull.number for pull in store.pulls(repo)] == [3, 2, 1]
    other = create_repo(store, "alice", "other", author="alice", private=False)
    assert proposal(store, other, put(store, other, "b.txt", "1")).number == 1
