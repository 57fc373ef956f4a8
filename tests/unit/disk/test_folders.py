"""A job and its parts, held by processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot.disk.folders import Folders
from bot.errors import BusyError


def test_a_job_is_locked_against_other_processes(tmp_path: Path) -> None:
    job = Folders(tmp_path).job("org/model", "0" * 64)
    program = (
        "from pathlib import Path; from bot.disk.folders import Folders\n"
        f"job = Folders(Path({str(tmp_path)!r})).job('org/model', '0' * 64)\n"
        "with job.locked(): print('held')"
    )
    with job.locked():
        held = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert held.returncode != 0
        assert BusyError.__name__ in held.stderr
    free = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert free.stdout == "held\n"


def test_parts_of_a_job_are_worked_on_side_by_side_the_whole_alone(tmp_path: Path) -> None:
    job = Folders(tmp_path).job("model", "0" * 64)
    with job.locked("group-1"):
        with job.locked("group-2"):
            pass
        for part in ("group-1", ""):
            with pytest.raises(BusyError), job.locked(part):
                pass
    with job.locked(), pytest.raises(BusyError), job.locked("group-1"):
        pass
