"""A file on a branch of a real git repository."""

from __future__ import annotations

import http.server
import subprocess
import threading
from pathlib import Path

import pytest

from bot.clients.git import Shelf
from bot.errors import BusyError, UnreachableError


@pytest.fixture
def remote(tmp_path: Path) -> str:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(path)], check=True)
    return str(path)


def test_each_version_replaces_the_last(remote: str, tmp_path: Path) -> None:
    shelf, file, back = Shelf(remote, "state", None), tmp_path / "in", tmp_path / "out"
    assert shelf.take("state.gz", back) is None
    file.write_bytes(b"\0one")
    first = shelf.put("state.gz", file, None)
    assert (shelf.take("state.gz", back), back.read_bytes()) == (first, b"\0one")
    file.write_bytes(b"two")
    second = shelf.put("state.gz", file, first)
    assert (shelf.take("state.gz", back), back.read_bytes()) == (second, b"two")
    told = subprocess.run(
        ["git", "-C", remote, "rev-list", "--count", "state"], capture_output=True, check=True
    )
    assert told.stdout == b"1\n"  # no history


def test_what_somebody_else_wrote_is_not_replaced(remote: str, tmp_path: Path) -> None:
    shelf, file = Shelf(remote, "state", None), tmp_path / "in"
    file.write_bytes(b"one")
    first = shelf.put("state.gz", file, None)
    file.write_bytes(b"theirs")
    shelf.put("state.gz", file, first)
    file.write_bytes(b"ours")
    for expected in (first, None):
        with pytest.raises(BusyError, match="another watcher"):
            shelf.put("state.gz", file, expected)


def test_no_server_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="git ls-remote"):
        Shelf(str(tmp_path / "nothing"), "state", None).take("x", tmp_path / "out")


def test_a_token_goes_to_the_server_and_into_no_message(tmp_path: Path) -> None:
    seen: list[str | None] = []

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(403)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        shelf = Shelf(f"http://127.0.0.1:{server.server_port}/me/x.git", "state", "secret-token")
        with pytest.raises(UnreachableError) as refused:
            shelf.take("x", tmp_path / "out")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert seen[0] == "basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0LXRva2Vu"
    assert "secret-token" not in str(refused.value)
    assert "eC1hY2" not in str(refused.value)
