"""A command that stops at a call of the system: the nth write, sync, renaming or removal.

Calls are seen where they are made (tests/stopping.cpp), so that those of SQLite and llama.cpp
count, which Python's audit events (tests/steps.py) do not tell. Each is a line, `write PATH` or
the like; see there. Linux alone has what this takes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.demo_files import once

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(__file__).with_suffix(".cpp")


@pytest.fixture(scope="session")
def stopper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled once a run."""
    compiler = shutil.which("c++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("steps of the system are counted on Linux, and want a C++ compiler")

    def make(folder: Path) -> None:
        given = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC"]
        subprocess.run([*given, "-o", folder / "stopping.so", SOURCE, "-ldl"], check=True)

    return once(tmp_path_factory, "stopping", make) / "stopping.so"


def begin(
    stopper: Path,
    command: Sequence[str],
    folder: Path,
    *,
    of: str = "",
    at: int = 0,
    how: signal.Signals = signal.SIGKILL,
    log: Path | None = None,
    env: Mapping[str, str] = os.environ,
    **options: Any,
) -> subprocess.Popen[str]:
    """Start a command that gets the signal `how` at the step `at` of those that `of` finds.

    The steps are counted from 1, below `folder`; `of` is an extended regular expression. All steps
    are told in the file `log`. `options` are subprocess's.
    """
    told = {"LOG": str(log)} if log is not None else {}
    named = {"ROOT": str(folder), "OF": of, "AT": str(at), "SIGNAL": str(int(how)), **told}
    stopping = {f"STOPPING_{name}": value for name, value in named.items()}
    return subprocess.Popen(
        command,
        env={**env, **stopping, "LD_PRELOAD": str(stopper), "PYTHONPATH": str(ROOT)},
        text=True,
        **options,
    )


def is_stopped(process: subprocess.Popen[str]) -> bool:
    """Wait until a process got SIGSTOP at its step, or ended before it came there."""
    found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_STOPPED
