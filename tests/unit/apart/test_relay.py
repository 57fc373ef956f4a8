"""A child without a network reaches the servers that settings name, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from bot.apart import errand, sandbox
from bot.apart.far.relay import Relay
from bot.clients import rpc_servers
from bot.errors import SettingsError, UnreachableError

TALK = """
import socket, sys
sys.path += sys.argv[1:-1]
from bot.apart.far.relay import listen_within
listen_within()
for port in range(50052, 50054):
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"x" * 3_000_000)
        line.shutdown(socket.SHUT_WR)
        got = b""
        while piece := line.recv(1 << 16):
            got += piece
    print(port, len(got), got[:1].decode(), flush=True)
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[-1])), 2)
except OSError:
    print("no way out")
"""


@contextmanager
def echoing(letter: bytes) -> Iterator[int]:
    """A server that answers with as many letters as it got; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer, args=(listening, letter), daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)  # else who waits in accept() still takes one


def _answer(listening: socket.socket, letter: bytes) -> None:
    while True:
        try:
            line, _ = listening.accept()
        except OSError:  # closed at the end of the block
            return
        with line:
            count = sum(map(len, iter(partial(line.recv, 1 << 16), b"")))
            line.sendall(letter * count)


@pytest.mark.parametrize("level", ["cell", "offline"])
def test_only_the_named_servers_are_reached(level: sandbox.Isolation, tmp_path: Path) -> None:
    if sandbox.isolation() not in ("cell", level):
        pytest.skip(f"this system has no isolation like {level}")
    with (
        echoing(b"a") as first,
        echoing(b"b") as second,
        Relay([f"127.0.0.1:{first}", f"127.0.0.1:{second}"]) as relay,
    ):
        places = [*map(str, errand.libraries())]
        words = (sys.executable, "-I", "-c", TALK, *places, str(first))
        readable = (*errand.programs(), relay.folder)
        command = sandbox.enclosed(words, tmp_path, readable, (), level, loopback=True)
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **relay.environment}
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    lines = ["50052 3000000 a", "50053 3000000 b", "no way out"]
    assert done.stdout.splitlines() == lines, done.stderr


def test_a_server_that_is_not_there_hangs_up() -> None:
    with echoing(b"a") as port:
        pass
    with Relay([f"127.0.0.1:{port}"]) as relay, socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(relay.folder / "0"))
        assert line.recv(1) == b""


@pytest.mark.parametrize(
    ("server", "address"),
    [("127.0.0.1:1", "127.0.0.1:1"), ("localhost:50052", "127.0.0.1:50052"), ("10.1.2.3:9", None)],
)
def test_servers_are_named_by_address(
    server: str, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(rpc_servers.SERVERS, "")
    rpc_servers.name([server], anywhere=False)
    assert rpc_servers.named() == (address or server,)
    rpc_servers.name([], anywhere=False)
    assert rpc_servers.named() == ()


def test_what_lies_outside_needs_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rpc_servers.SERVERS, "")
    with pytest.raises(SettingsError, match=r"set llama\.rpc_anywhere: true"):
        rpc_servers.name(["8.8.8.8:50052"], anywhere=False)
    rpc_servers.name(["8.8.8.8:50052"], anywhere=True)
    assert rpc_servers.named() == ("8.8.8.8:50052",)
    with pytest.raises(UnreachableError, match="nobody knows"):
        rpc_servers.name(["no-such-host.invalid:50052"], anywhere=True)


def test_a_server_named_twice_is_refused_and_what_is_no_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(rpc_servers.SERVERS, "")
    for again in ("127.0.0.1:52", "localhost:52", "127.0.0.1:00052"):
        with pytest.raises(SettingsError, match=r"127\.0\.0\.1:52 and .*:0*52 .* are one server"):
            rpc_servers.name(["127.0.0.1:52", "127.0.0.1:53", again], anywhere=False)
    for port in (0, 65_536, 99_999):
        with pytest.raises(SettingsError, match="has no port from 1 to 65535"):
            rpc_servers.name([f"127.0.0.1:{port}"], anywhere=False)
    assert rpc_servers.named() == ()
