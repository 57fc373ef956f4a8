"""Commits: all or nothing, only what was sent, no path that could mean anything else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.local_hub.server import Hub, large, regular


def head(hub: Hub, repo_id: str) -> str:
    return str(hub.ask("GET", f"/api/models/{repo_id}").json["sha"])


def names(hub: Hub, repo_id: str) -> list[str]:
    info = hub.ask("GET", f"/api/models/{repo_id}").json
    return [file["rfilename"] for file in info["siblings"]]


def test_a_new_repository_holds_gitattributes(hub: Hub) -> None:
    repo = hub.create("tiny")
    assert names(hub, repo) == [".gitattributes"]
    text = hub.ask("GET", f"/{repo}/resolve/main/.gitattributes").body.decode()
    assert "*.safetensors filter=lfs diff=lfs merge=lfs -text\n" in text
    assert "gguf" not in text


def test_an_unsent_content_changes_nothing(hub: Hub) -> None:
    repo = hub.create("tiny")
    before = head(hub, repo)
    lines = [regular("README.md", b"# Hi\n"), large("a.gguf", "0" * 64, 10)]
    reply = hub.commit(repo, *lines)
    assert reply.status == 400
    assert "a.gguf" in reply.headers["X-Error-Message"]
    assert (head(hub, repo), names(hub, repo)) == (before, [".gitattributes"])
    assert list((hub.store.folder / "incoming").iterdir()) == []


def test_a_wrong_size_is_refused(hub: Hub) -> None:
    repo = hub.create("tiny")
    oid = hub.send(repo, b"GGUF" * 100)
    assert hub.commit(repo, large("a.gguf", oid, 399)).status == 400
    assert hub.commit(repo, large("a.gguf", oid, 400)).status == 200


def test_the_content_of_another_repository_must_be_sent_again(hub: Hub) -> None:
    secret, target = hub.create("secret", private=True), hub.create("mine")
    oid = hub.send(secret, b"private weights")
    assert hub.commit(target, large("a.gguf", oid, 15)).status == 400
    assert hub.send(target, b"private weights") == oid
    assert hub.commit(target, large("a.gguf", oid, 15)).status == 200


def test_a_stale_parent_is_refused(hub: Hub) -> None:
    repo = hub.create("tiny")
    first = head(hub, repo)
    assert hub.commit(repo, regular("a.txt", b"1"), parent=first).status == 200
    second = head(hub, repo)
    reply = hub.commit(repo, regular("a.txt", b"2"), parent=first)
    assert reply.status == 412
    assert second in reply.headers["X-Error-Message"]
    assert hub.ask("GET", f"/{repo}/resolve/main/a.txt").body == b"1"


def test_of_two_commits_on_one_parent_one_wins(hub: Hub) -> None:
    repo = hub.create("tiny")
    parent = head(hub, repo)

    def attempt(number: int) -> int:
        return hub.commit(repo, regular(f"{number}.txt", b"x"), parent=parent).status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(attempt, range(8)))
    assert statuses == [200] + [412] * 7
    assert len(hub.ask("GET", f"/api/models/{repo}/commits/main").json) == 2


def test_parallel_commits_without_a_parent_all_count(hub: Hub) -> None:
    repo = hub.create("tiny")
    with ThreadPoolExecutor(8) as pool:
        replies = pool.map(lambda n: hub.commit(repo, regular(f"{n}.txt", b"x")), range(8))
        assert [reply.status for reply in replies] == [200] * 8
    assert names(hub, repo) == [".gitattributes", *(f"{n}.txt" for n in range(8))]


def test_old_states_stay_readable(hub: Hub) -> None:
    repo = hub.create("tiny")
    hub.commit(repo, regular("a.txt", b"old"))
    old = head(hub, repo)
    hub.commit(repo, regular("a.txt", b"new"))
    assert hub.ask("GET", f"/{repo}/resolve/{old}/a.txt").body == b"old"
    assert hub.ask("GET", f"/{repo}/resolve/main/a.txt").body == b"new"
    rows = hub.ask("GET", f"/api/models/{repo}/commits/main").json
    assert [len(row["id"]) for row in rows] == [40, 40, 40]
    assert rows[1]["id"] == old


def test_lfs_files_are_named_in_gitattributes(hub: Hub) -> None:
    repo = hub.create("tiny")
    oid = hub.send(repo, b"weights")
    hub.commit(repo, large("tiny Q4.gguf", oid, 7), large("a/m.safetensors", oid, 7))
    hub.commit(repo, large("tiny Q4.gguf", oid, 7))
    text = hub.ask("GET", f"/{repo}/resolve/main/.gitattributes").body.decode()
    assert text.count("tiny[[:space:]]Q4.gguf filter=lfs diff=lfs merge=lfs -text\n") == 1
    assert "m.safetensors" not in text  # *.safetensors covers it


def test_deleting_what_is_not_there_is_refused(hub: Hub) -> None:
    repo = hub.create("tiny")
    reply = hub.commit(repo, {"key": "deletedFile", "value": {"path": "no.txt"}})
    assert (reply.status, reply.code) == (404, "EntryNotFound")


def test_a_file_cannot_be_a_folder(hub: Hub) -> None:
    repo = hub.create("tiny")
    reply = hub.commit(repo, regular("a", b"file"), regular("a/b", b"inside"))
    assert reply.status == 400


def test_what_a_deleted_repository_alone_held_is_removed(hub: Hub) -> None:
    one, two = hub.create("one"), hub.create("two")
    both, only = hub.send(one, b"both"), hub.send(one, b"only")
    hub.send(two, b"both")
    reply = hub.ask("DELETE", "/api/repos/delete", {"name": "one"}, token=hub.token)
    assert reply.status == 200
    assert hub.store.objects.path(both).is_file()
    assert not hub.store.objects.path(only).exists()
    assert hub.ask("GET", "/api/models/alice/one", token=hub.token).status == 404
