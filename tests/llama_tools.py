"""llama.cpp's own tools for tests, where BOT_TEST_LLAMA_TOOLS names the folder they lie in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = os.environ.get("BOT_TEST_LLAMA_TOOLS", "")


def tool(name: str) -> Path:
    """A tool's path; the test is skipped where there is none."""
    path = Path(FOLDER) / name
    if not FOLDER or not path.is_file():
        pytest.skip(f"BOT_TEST_LLAMA_TOOLS names no folder with {name}")
    return path


def run(name: str, *arguments: str | Path) -> str:
    """What a tool says: its results, then its narration, which would come between their lines."""
    command = [str(tool(name)), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=900)
    return (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")
