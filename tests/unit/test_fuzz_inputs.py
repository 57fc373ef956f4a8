"""Damaged files, records and replies: memory and time are measured from outside of who reads them.

See tests/fuzz_inputs.py for the cases, and docs/bounds.md for the figures that must hold.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SMALL = 200  # MB more than a process has before, for any of the small ones: bombs are among them
LARGE = {  # MB, and seconds of CPU: of inputs as large as may be
    "config": (60, 1.0),
    "index": (450, 3.0),
    "reply": (200, 3.0),
    "record": (350, 3.0),
    "gguf": (150, 3.0),
    "safetensors": (200, 3.0),
}
COUNTS = {
    "gguf": 700, "safetensors": 700, "config": 700, "index": 500, "card": 600, "record": 700,
    "hub": 600, "github": 500,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a process said, and what it took, seen from here."""

    reply: dict[str, Any]
    megabytes: int  # beyond what it had when it was ready
    seconds: float  # of CPU, without what it took to be ready


def memory(pid: int, key: str) -> int:
    """MB of a process by the kernel."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) >> 10


def cpu(pid: int) -> float:
    """Seconds of a process by the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(kind: str, seed: int, count: int) -> Measured:
    """Cases in a process of their own; fails where it ends in any other way than it should."""
    command = [sys.executable, "-m", "tests.fuzz_inputs", kind, str(seed), str(count)]
    with tempfile.TemporaryFile("w+") as complaints, subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=complaints,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        ready = process.stdout.readline()
        if ready:
            Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
            before, began = memory(process.pid, "VmRSS"), cpu(process.pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if line:
                most, ended = memory(process.pid, "VmHWM"), cpu(process.pid)
        process.stdin.close()
        code = process.wait()
        complaints.seek(0)
        assert code == 0, complaints.read()[-3_000:]
    spent = round(ended - began, 2)
    return Measured(reply=json.loads(line), megabytes=most - before, seconds=spent)


def outcomes(measured: Measured) -> int:
    return sum(measured.reply.get(name, 0) for name in ("read", "refused"))


@pytest.mark.road
def test_damaged_inputs_are_read_or_refused() -> None:
    """Some of each kind; the long tests read all."""
    run = measured("all", 1, 30)
    assert outcomes(run) == 30 * len(COUNTS)
    assert run.reply["read"] > 30
    assert run.megabytes < SMALL


@pytest.mark.long
@pytest.mark.parametrize("kind", COUNTS)
def test_5000_damaged_inputs_are_read_or_refused(kind: str) -> None:
    run = measured(kind, 2, COUNTS[kind])
    print(kind, run)  # noqa: T201 - what was measured is shown with -s
    assert outcomes(run) == COUNTS[kind]
    assert run.megabytes < SMALL


@pytest.mark.long
@pytest.mark.parametrize("number", range(24))
def test_inputs_as_large_as_may_be(number: int) -> None:
    run = measured("large", number, 0)
    print(number, run)  # noqa: T201 - what was measured is shown with -s
    megabytes, seconds = LARGE[run.reply["name"].split()[0]]
    assert run.megabytes < megabytes
    assert run.seconds < seconds
