"""What a terminal shows of a command: our words, and nobody else's bars."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from bot.settings.sections import DEMO
from tests.local_hub.server import Hub

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys
from pathlib import Path
import click
from bot.cli import main as cli
@cli.cli.command()
@click.pass_obj
def sends(context) -> None:
    hub, folder = context.workplace.hub, Path(os.environ["DEMO"])
    hub.create_private("alice/bars")
    files = {"m.gguf": folder / "tiny-moe-Q8_0.gguf", "a.txt": folder / "tasks.txt"}
    hub.commit("alice/bars", files, "x", hub.head("alice/bars"))
    print("sent")
cli.main()
"""


def shown(hub: Hub, folder: Path, how: list[str]) -> str:
    """All that a command writes to a terminal that sends a large and a small file."""
    reading, terminal = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "HF_TOKEN": hub.token,
        "HF_ENDPOINT": hub.url, "DEMO": str(DEMO), "PYTHONPATH": str(ROOT), "TERM": "xterm",
        "HF_HUB_DISABLE_PROGRESS_BARS": "0",  # whatever the user's own settings are
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *how, "sends"],
        cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
    ) as process:  # fmt: skip
        os.close(terminal)
        content = bytearray()
        try:
            while part := os.read(reading, 65_536):
                content += part
        except OSError:  # how Linux says that nobody writes any more
            pass
        process.wait(60)
    os.close(reading)
    assert process.returncode == 0, content
    return content.decode()


@pytest.mark.parametrize("how", [[], ["-q"]])
def test_no_bar_of_the_hubs_client_is_drawn(hub: Hub, tmp_path: Path, how: list[str]) -> None:
    assert shown(hub, tmp_path, how) == "sent\r\n"
