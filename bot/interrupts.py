"""Signals that end the command: answered at once, whatever it is in the middle of.

Python hears of a signal between two of its own instructions, which may be many seconds away while
llama.cpp decodes or another thread is waited for. So a thread of its own hears it too: it says so,
and after a while ends the process. Nothing is lost by that: whatever a job does can be killed at
any instant and goes on from there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from bot.secrecy import obeyed

SAID_AFTER = 0.5  # seconds after which it is said that something is still under way
GRACE = 3.0  # seconds in which work may end in its own way
CURSOR = "\x1b[?25h"  # shows a terminal's cursor, which bars hide
_WORDS = {
    signal.SIGINT: "Interrupted",
    signal.SIGTERM: "Ended by SIGTERM",
    signal.SIGHUP: "Ended by SIGHUP",
}
_HEARD: list[int] = []
_LEFT = threading.Event()


class Ended(KeyboardInterrupt):
    """Raised in the main thread for SIGTERM and SIGHUP, as KeyboardInterrupt is for SIGINT."""

    def __init__(self, number: int) -> None:
        super().__init__(_WORDS[signal.Signals(number)])
        self.number = number


def code(number: int) -> int:
    """The exit code of a process that a signal ended, as shells count: 128 and the signal."""
    return 128 + number


def last_word(number: int) -> str:
    """What the user is told at the end."""
    return f"{_WORDS[signal.Signals(number)]}; the same command goes on where this one stopped."


def number_of(error: BaseException) -> int:
    """The signal behind an interrupt, also behind what click made of it."""
    cause = error.__cause__ or error
    return cause.number if isinstance(cause, Ended) else signal.SIGINT


def heard() -> int | None:
    """The signal that the main thread was ended by, if any."""
    return _HEARD[-1] if _HEARD else None


def end_by_signal(number: int) -> NoReturn:
    """Say the last word and end the process, whatever other threads are in the middle of."""
    _say(last_word(number))
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code(number))


def leave_to_server() -> None:
    """From now on a server ends by itself: it lets requests come to their end, for a while."""
    _LEFT.set()


def answer_signals() -> None:
    """Have signals answered from now on. Those that whoever started us ignores stay ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader,), name="signals", daemon=True).start()


def _raise(number: int, _frame: FrameType | None) -> None:
    _HEARD.append(number)
    raise Ended(number)


def _listen(reader: int) -> None:
    """Wait for a signal; a second one, or the end of the grace, ends the process."""
    number = _next(reader)
    while _LEFT.is_set():
        number = _next(reader)
    again = threading.Event()

    def hear_again() -> None:
        _next(reader)
        again.set()

    threading.Thread(target=hear_again, name="signals again", daemon=True).start()
    if not again.wait(SAID_AFTER):
        _say(f"{_WORDS[signal.Signals(number)]}: ending what is under way …")
        again.wait(GRACE - SAID_AFTER)
    end_by_signal(number)


def _next(reader: int) -> int:
    while (number := os.read(reader, 1)[0]) not in _WORDS:
        pass
    return number


def _say(text: str) -> None:
    """A line on stderr, whoever still reads it."""
    with suppress(OSError, ValueError):
        if sys.stderr.isatty():
            obeyed(sys.stderr).write(CURSOR)
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
