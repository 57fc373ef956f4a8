"""A file on a branch of a real git repository."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
    process = subprocess.run(
        ["git", "-C", remote, "rev-list", "--count", "state"], capture_output=True, check=True
    )
    assert process.stdout == b"1\n"  # no history


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


@contextmanager
def refusing(authorizations: list[str | None], leads_to: str | None = None) -> Iterator[str]:
    """A server's address that lets nobody in, or leads elsewhere; what it is shown is `seen`."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorizations.append(self.headers["Authorization"])
            self.send_response(302 if leads_to else 403)
            if leads_to:
                self.send_header("Location", f"{leads_to}{self.path}")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_token_goes_to_no_server_that_another_leads_to(tmp_path: Path) -> None:
    first: list[str | None] = []
    second: list[str | None] = []
    with (
        refusing(second) as other,
        refusing(first, leads_to=other) as url,
        pytest.raises(UnreachableError),
    ):
        Shelf(f"{url}/me/x.git", "state", "secret-token").take("x", tmp_path / "out")
    assert first[0] is not None
    assert not any(second)


def test_only_the_commands_that_ask_the_server_are_given_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that notes what it is given before it works: PATH is what the bot hands on."""
    file, noted = tmp_path / "in", tmp_path / "noted"
    file.write_bytes(b"one")
    real = shutil.which("git")
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\n{{ echo "$1"; env; }} >>{noted}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    with refusing([]) as url:
        shelf = Shelf(f"{url}/me/x.git", "state", "secret-token")
        with pytest.raises(UnreachableError):
            shelf.take("x", tmp_path / "out")
        with pytest.raises(UnreachableError):
            shelf.put("x", file, None)
    has_token: dict[str, bool] = {}
    for line in noted.read_text().splitlines():
        if "=" not in line:
            command = line
        has_token[command] = has_token.get(command, False) or "eC1hY2Nlc3MtdG9r" in line
    assert {command for command, with_token in has_token.items() if with_token} == {
        "ls-remote",
        "push",
    }
    assert {"init", "add", "commit", "rev-parse"} < set(has_token)


def test_a_program_is_no_remote(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="not allowed"):
        Shelf(f"ext::touch {tmp_path}/made", "state", None).take("x", tmp_path / "out")
    assert not (tmp_path / "made").exists()


def test_a_token_goes_to_the_server_and_into_no_message(tmp_path: Path) -> None:
    authorizations: list[str | None] = []
    with refusing(authorizations) as url:
        shelf = Shelf(f"{url}/me/x.git", "state", "secret-token")
        with pytest.raises(UnreachableError) as refused:
            shelf.take("x", tmp_path / "out")
    assert authorizations[0] == "basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0LXRva2Vu"
    assert "secret-token" not in str(refused.value)
    assert "eC1hY2" not in str(refused.value)
