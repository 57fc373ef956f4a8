"""Signals are answered, whatever the command is in the middle of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# what a command does once an interrupt has reached it
AFTERWARDS = {
    "nothing": "raise",
    "its own": "time.sleep(600); raise",
    "native": "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1); raise",
    "another thread's": "raise",
}
PROGRAM = """
import hashlib, signal, sys, threading, time
from bot import interrupts
from bot.cli import main as cli
@cli.cli.command()
def busy() -> None:
    if {thread}:
        threading.Thread(target=time.sleep, args=(600,)).start()
    try:
        print("begun", flush=True)
        time.sleep(600)
    except BaseException:
        {afterwards}
interrupts.GRACE = {grace}
sys.argv[1:] = ["busy"]
cli.main()
"""


def ended(
    afterwards: str,
    number: signal.Signals = signal.SIGINT,
    *,
    grace: float = 3.0,
    again: bool = False,
) -> tuple[int, list[str]]:
    """Exit code and words of a command that signals reach in the middle of its work."""
    program = PROGRAM.format(
        afterwards=AFTERWARDS[afterwards], grace=grace, thread=afterwards == "another thread's"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        first = process.stderr.readline() if again else ""
        if again:
            process.send_signal(number)
        _, rest = process.communicate(timeout=120)
    return process.returncode, [line for line in (first + rest).splitlines() if line]


LAST = "{}; the same command goes on where this one stopped."


@pytest.mark.parametrize("afterwards", ["nothing", "another thread's"])
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "Interrupted"),
        (signal.SIGTERM, 143, "Ended by SIGTERM"),
        (signal.SIGHUP, 129, "Ended by SIGHUP"),
    ],
)
def test_each_signal_has_its_word_and_its_code(
    number: signal.Signals, code: int, word: str, afterwards: str
) -> None:
    exit_code, lines = ended(afterwards, number)
    assert (exit_code, lines[-1]) == (code, LAST.format(word))


@pytest.mark.parametrize("afterwards", ["its own", "native"])
def test_what_does_not_end_is_told_of_and_ended(afterwards: str) -> None:
    code, lines = ended(afterwards)
    assert code == 130
    assert lines == ["Interrupted: ending what is under way …", LAST.format("Interrupted")]


def test_a_second_signal_ends_what_had_time_left() -> None:
    code, lines = ended("its own", grace=1e6, again=True)
    assert (code, lines[-1]) == (130, LAST.format("Interrupted"))
