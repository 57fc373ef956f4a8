"""Starting and stopping: signals, addresses, and no open door without users."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.localhub.files.repositories import Store
from bot.localhub.server import RunningHub, serve_hub
from tests.local_hub.server import Hub

PROGRAM = """
import sys
from pathlib import Path
from bot.localhub.server import serve_hub
serve_hub(Path(sys.argv[1]), 0, ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_normally(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "hub")]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/api/models") as reply:
            assert reply.read() == b"[]"
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_others_cannot_reach_a_hub_without_users(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):  # noqa: S104 - the refusal is what is tested
        with pytest.raises(SettingsError, match="no token yet"):
            serve_hub(tmp_path / "hub", 0, host=host)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(SettingsError, match=str(port)), RunningHub(tmp_path / "hub", port):
            pytest.fail("two servers on one port")


def test_the_port_is_free_again_after_the_block(tmp_path: Path) -> None:
    with RunningHub(tmp_path / "hub") as hub:
        port = int(hub.url.rpartition(":")[2])
    with RunningHub(tmp_path / "hub", port) as hub, urllib.request.urlopen(hub.url) as reply:
        assert reply.status == 200


def test_interrupted_transfers_are_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.objects.incoming() as content:
        content.write(b"half")
        assert content.path.exists()
    assert not content.path.exists()
    with pytest.raises(ValueError, match="sha256"):
        store.objects.path("../../etc/passwd")


def test_another_host_name_is_not_answered(hub: Hub) -> None:
    reply = hub.ask("GET", "/api/models", headers={"Host": "evil.example"})
    assert reply.status == 400
