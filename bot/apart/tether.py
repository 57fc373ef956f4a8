"""Runs a command that dies with the process that started it, however that ends.

    python -I -S tether.py PID COMMAND ARGUMENT…

PID is the process it is tied to: whoever starts this. Linux kills the command for us (prctl(2),
PR_SET_PDEATHSIG, which stays over exec); elsewhere it is only ended by those who can still do so.
"""

from __future__ import annotations

import ctypes  # noqa: TID251 - the system's own prctl, not llama.cpp
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process, then become the command, which leaves no core dump."""
    parent, *command = sys.argv[1:]
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.getppid() != int(parent):  # it ended before it could be tied to
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - a fixed list, no shell


if __name__ == "__main__":
    main()
