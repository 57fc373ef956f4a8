"""The body of a commit: no path that could mean anything else, nothing damaged."""

from __future__ import annotations

from typing import Any

import pytest

from bot.localhub.files.commit_body import git_blob
from tests.local_hub.server import Hub, regular


def names(hub: Hub, repo_id: str) -> list[str]:
    info = hub.ask("GET", f"/api/models/{repo_id}").json
    return [file["rfilename"] for file in info["siblings"]]


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a\\b", "a\nb", "a\u202eb", "x" * 1025,
     "a/.git/config", ".GIT/hooks", "a\0b", "\ud800", 7, None],
)  # fmt: skip
def test_hostile_paths_are_refused(hub: Hub, path: Any) -> None:
    repo = hub.create("tiny")
    lines = [regular("fine.txt", b"fine"), regular("p", b"") | {}]
    lines[1]["value"]["path"] = path
    assert hub.commit(repo, *lines).status == 400
    assert names(hub, repo) == [".gitattributes"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]\n", b"{}\n", b"\xff\n", b'{"key":"header","value":{}}\n', b"[" * 100_000,
     b'{"key":"header","value":{"summary":"x"}}\n{"key":"rm","value":{}}\n',
     (b'{"key":"header","value":{"summary":"x"}}\n'
      b'{"key":"file","value":{"path":"a","content":"%%","encoding":"base64"}}\n')],
)  # fmt: skip
def test_a_damaged_body_is_refused(hub: Hub, body: bytes) -> None:
    repo = hub.create("tiny")
    reply = hub.ask("POST", f"/api/models/{repo}/commit/main", body, token=hub.token)
    assert reply.status == 400


def test_blob_ids_are_gits() -> None:
    # git hash-object of an empty file and of "hello\n"
    assert git_blob(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
