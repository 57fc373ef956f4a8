"""A command that is held at a step of its own: the nth time that it changes its disk or calls.

What counts is told by Python's audit events (https://docs.python.org/3/library/audit_events.html),
each as a line: `write PATH` (opened for writing), `rename PATH PATH`, `remove PATH`,
`ledger PATH` and `call`. The process that reaches the step waits there, whatever the clock says,
until it is killed or let go on.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WRITES = os.O_WRONLY | os.O_RDWR


def step_of(event: str, given: Sequence[Any]) -> str | None:
    """An audit event as a line; None where it changes nothing."""
    if event == "open":
        path, _mode, flags = given
        named = isinstance(path, str | os.PathLike) and isinstance(flags, int) and flags & WRITES
        return f"write {os.fspath(path)}" if named and str(path) != os.devnull else None
    if event == "os.rename":
        return f"rename {given[0]} {given[1]}"
    if event == "os.remove":
        return f"remove {given[0]}"
    if event == "sqlite3.connect":
        return f"ledger {given[0]}"
    return "call" if event == "socket.connect" else None


class Held:
    """A command that runs to its step and waits there."""

    def __init__(self, process: subprocess.Popen[str], told: int, go: int) -> None:
        self.process = process
        self._told, self._go = told, go

    def step(self) -> str | None:
        """Wait until it is there: the step's line; None where it ended before."""
        said = b""
        while not said.endswith(b"\n"):
            if not (part := os.read(self._told, 4096)):
                return None
            said += part
        return said.decode().rstrip("\n")

    def go_on(self) -> None:
        """Let it do the step, and all others."""
        os.write(self._go, b"\n")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()


@contextmanager
def holding(
    command: Sequence[str], *, at: int, of: str = "", count: bool = False, **options: Any
) -> Iterator[Held]:
    """Run the arguments of `bot` that follow `BOT` in `command`, held at a step.

    It is the step number `at`, from 1, of those whose lines the pattern `of` finds. With `count`
    it is held at its end instead, and the line is how many there were. `command` may begin with a
    program that runs the rest, such as nsenter. `options` are subprocess's.
    """
    told, tells = os.pipe()
    waits, go = os.pipe()
    place = next(i for i in range(len(command)) if command[i : i + 2] == ["-m", "bot"])
    own = ["-m", "tests.steps", str(tells), str(waits), "0" if count else str(at), of]
    environment: Mapping[str, str] = options.pop("env", os.environ)
    process = subprocess.Popen(
        [*command[:place], *own, *command[place + 2 :]],
        # what Python keeps of modules it compiles would be steps of the first run alone
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        pass_fds=(tells, waits),
        text=True,
        **options,
    )
    os.close(tells)
    os.close(waits)
    with process:
        try:
            yield Held(process, told, go)
        finally:
            process.kill()
            os.close(told)
            os.close(go)


def steps(command: Sequence[str], of: str = "", **options: Any) -> int:
    """How many steps a command takes that is not disturbed; it must end well."""
    with holding(command, at=0, of=of, count=True, **options) as held:
        found = held.step()
        _, said = held.process.communicate()
        assert held.process.returncode == 0, said
    assert found is not None
    return int(found)


def at_step(of: str, at: int, act: Callable[[str], object]) -> Callable[[], int]:
    """Have `act` done with the line, in this process, at the step number `at`, before it is taken.

    What it returns tells how many steps there were so far.
    """
    pattern, numbers, seen = re.compile(of), itertools.count(1), [0]

    def hook(event: str, given: Sequence[Any]) -> None:
        line = step_of(event, given)
        if line is not None and pattern.search(line):
            seen[0] = number = next(numbers)  # one thread's number each
            if number == at:
                act(line)

    sys.addaudithook(hook)
    return lambda: seen[0]


def _watch(tells: int, waits: int, at: int, of: str) -> None:
    """Hold this process at its step."""

    def wait(line: str) -> None:
        os.write(tells, f"{line}\n".encode())
        os.read(waits, 1)

    taken = at_step(of, at, wait)
    if at == 0:
        atexit.register(lambda: os.write(tells, f"{taken()}\n".encode()))


if __name__ == "__main__":
    from bot.cli.main import main

    _watch(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    sys.argv[1:] = sys.argv[5:]
    main()
