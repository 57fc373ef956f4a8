"""A command, and every program that it or its children become, looked at by ptrace(2).

    python -m tests.tracing OUT COMMAND ARGUMENT…

Whoever calls exec is stopped before the new program's first instruction, and its arguments and
environment are read there: nothing is started that is not seen, however short it lives. OUT gets a
line of JSON for each; the exit code is the command's.
"""

from __future__ import annotations

import ctypes  # noqa: TID251 - the system's own ptrace, not llama.cpp
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRACEME, CONT, SETOPTIONS = 0, 7, 0x4200
FORK, VFORK, CLONE, EXEC = 1, 2, 3, 4  # PTRACE_EVENT_…, whose options are 1 << event
OPTIONS = 1 << FORK | 1 << VFORK | 1 << CLONE | 1 << EXEC | 1 << 20  # PTRACE_O_EXITKILL
WALL = 0x40000000  # of waitpid(2): children of every kind


@dataclass(frozen=True, kw_only=True)
class Became:
    """A process that became a program: with these arguments, and this environment."""

    pid: int
    arguments: tuple[str, ...]
    environment: str


def traced(
    command: Sequence[str], out: Path, env: Mapping[str, str], **options: Any
) -> tuple[subprocess.CompletedProcess[str], tuple[Became, ...]]:
    """Run a command to its end; the first that it became is the command itself."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracing", str(out), *command],
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    lines = out.read_text().splitlines()
    return done, tuple(
        Became(pid=pid, arguments=tuple(arguments), environment=environment)
        for pid, arguments, environment in map(json.loads, lines)
    )


def main() -> None:
    """Start the command, and stop with each exec under it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    first = os.fork()
    if first == 0:
        libc.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
    os.waitpid(first, 0)
    if libc.ptrace(SETOPTIONS, first, None, OPTIONS) != 0:
        os.kill(first, signal.SIGKILL)
        sys.exit(f"nothing can be traced here: {os.strerror(ctypes.get_errno())}")
    libc.ptrace(CONT, first, None, None)
    with Path(sys.argv[1]).open("w") as out:
        sys.exit(_follow(libc, first, out))


def _follow(libc: ctypes.CDLL, first: int, out: Any) -> int:
    """Let them go on from stop to stop; the first one's exit code."""
    code, seen = 1, {first}
    while True:
        try:
            pid, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            return code
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status) if pid == first else code
            continue
        number, event = os.WSTOPSIG(status), status >> 16
        if event == EXEC:
            out.write(json.dumps([pid, *_look(pid)]) + "\n")
        own = event != 0 or (number == signal.SIGSTOP and pid not in seen)
        seen.add(pid)
        libc.ptrace(CONT, pid, None, None if own or number == signal.SIGTRAP else number)


def _look(pid: int) -> tuple[list[str], str]:
    arguments, environment = (
        Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
        for name in ("cmdline", "environ")
    )
    return arguments.split("\0")[:-1], environment


if __name__ == "__main__":
    main()
