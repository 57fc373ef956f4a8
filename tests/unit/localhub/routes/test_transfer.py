"""Downloads: ranges, headers the client relies on, types that no browser runs."""

from __future__ import annotations

import base64

import pytest

from tests.local_hub.server import Hub, large, regular

DATA = bytes(range(256)) * 40


@pytest.fixture
def target(hub: Hub) -> str:
    repo = hub.create("tiny")
    oid = hub.send(repo, DATA)
    assert hub.commit(repo, large("a.gguf", oid, len(DATA))).status == 200
    return f"/{repo}/resolve/main/a.gguf"


@pytest.mark.parametrize(
    ("range_header", "expected", "content_range"),
    [
        ("bytes=0-9", DATA[:10], "bytes 0-9/10240"),
        ("bytes=10000-", DATA[10000:], "bytes 10000-10239/10240"),
        ("bytes=-5", DATA[-5:], "bytes 10235-10239/10240"),
        ("bytes=10230-99999", DATA[10230:], "bytes 10230-10239/10240"),
    ],
)
def test_ranges(
    hub: Hub, target: str, range_header: str, expected: bytes, content_range: str
) -> None:
    reply = hub.ask("GET", target, headers={"Range": range_header})
    assert (reply.status, reply.body) == (206, expected)
    assert reply.headers["Content-Range"] == content_range


def test_a_range_behind_the_end_is_refused(hub: Hub, target: str) -> None:
    assert hub.ask("GET", target, headers={"Range": "bytes=10240-"}).status == 416


def test_the_head_says_what_the_client_needs(hub: Hub, target: str) -> None:
    head = hub.ask("HEAD", target)
    assert (head.status, head.body) == (200, b"")
    assert len(head.headers["X-Repo-Commit"]) == 40
    assert head.headers["Content-Length"] == head.headers["X-Linked-Size"] == str(len(DATA))
    assert head.headers["ETag"] == head.headers["X-Linked-Etag"]


def test_pages_of_strangers_are_not_run(hub: Hub) -> None:
    repo = hub.create("evil")
    page = b"<script>alert(1)</script>"
    hub.commit(repo, regular("a.html", page), regular("a.svg", b"<svg onload='x()'/>"))
    html = hub.ask("GET", f"/{repo}/resolve/main/a.html")
    assert (html.body, html.headers["Content-Type"]) == (page, "application/octet-stream")
    svg = hub.ask("GET", f"/{repo}/resolve/main/a.svg")
    for reply in (html, svg):
        assert "sandbox" in reply.headers["Content-Security-Policy"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_which_files_go_as_lfs(hub: Hub) -> None:
    repo = hub.create("tiny")
    announced = [
        ("model.gguf", b"GGUF", 4, "lfs"),
        ("README.md", b"# Hi", 4, "regular"),
        ("plot.PNG", b"x", 1, "lfs"),
        ("huge.txt", b"x", 10_000_000, "lfs"),
        ("data.json", b"a\0b", 3, "lfs"),
        ("results.json", b"{}", 9_999_999, "regular"),
    ]
    files = [
        {"path": path, "sample": base64.b64encode(sample).decode(), "size": size}
        for path, sample, size, _ in announced
    ]
    where = f"/api/models/{repo}/preupload/main"
    rows = hub.ask("POST", where, {"files": files}, token=hub.token).json["files"]
    assert [row["uploadMode"] for row in rows] == [mode for *_, mode in announced]
    hostile = {"files": [{"path": "../x", "sample": "", "size": 1}]}
    assert hub.ask("POST", where, hostile, token=hub.token).status == 400


def test_bodies_are_bounded(hub: Hub) -> None:
    body = b'{"content": "' + b"x" * (9 << 20) + b'"}'
    assert hub.ask("POST", "/api/validate-yaml", body).status == 413
    assert hub.ask("POST", "/api/validate-yaml", b"[1").status == 400


def test_git_s_own_content_is_raw(hub: Hub) -> None:
    repo_id = hub.create("model")
    oid = hub.send(repo_id, b"gguf")
    hub.commit(repo_id, large("a.gguf", oid, 4), regular("a.txt", b"text"))
    assert hub.ask("GET", f"/{repo_id}/raw/main/a.txt").body == b"text"
    assert f"oid sha256:{oid}".encode() in hub.ask("GET", f"/{repo_id}/raw/main/a.gguf").body
    assert hub.ask("GET", f"/{repo_id}/resolve/main/a.gguf").body == b"gguf"


def test_an_empty_file_is_whole_whatever_range_is_asked_for(hub: Hub) -> None:
    repo_id = hub.create("model")
    hub.commit(repo_id, regular("a.txt", b""))
    for target in ("resolve", "raw"):
        address = f"/{repo_id}/{target}/main/a.txt"
        reply = hub.ask("GET", address, headers={"Range": "bytes=0-0"})
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["Content-Range"] == "bytes */0"
