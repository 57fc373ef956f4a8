"""A command that is tied to who starts it."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from bot.apart import tether
from bot.apart.sandbox import tethered


def test_the_command_takes_the_place_of_the_tether() -> None:
    program = "import os, resource; print(os.getpid(), resource.getrlimit(resource.RLIMIT_CORE))"
    with subprocess.Popen(
        [*tethered(), sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.split(" ", 1) == [str(process.pid), "(0, 0)\n"]


def test_whoever_is_started_by_another_than_it_is_tied_to_ends() -> None:
    other = str(os.getppid())
    command = [sys.executable, "-I", "-S", str(Path(tether.__file__)), other, "/bin/echo", "ran"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")


BETWEEN = """
import subprocess, sys
from bot.apart.sandbox import tethered
process = subprocess.Popen([*tethered(), "/bin/sleep", "600"], stdin=subprocess.DEVNULL)
print(process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_it_dies_with_who_started_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BETWEEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as between:
        assert between.stdout is not None
        descriptor = os.pidfd_open(int(between.stdout.readline()))
        between.kill()
    # the kernel ends it with its parent: readable once it is gone

    readable, _, _ = select.select([descriptor], [], [], 60)
    os.close(descriptor)
    assert readable
