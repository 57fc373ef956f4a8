"""Secrets of the environment: what they are called, who gets none, and what is never printed.

All that this process prints passes here, so it is made legible here, too: see `Guarded`.
"""

from __future__ import annotations

import ctypes  # noqa: TID251 - the system's own prctl, not llama.cpp
import io
import logging
import os
import resource
import sys
from typing import Any, TextIO

from bot.legible import Defused, legible

# where a job of GitHub Actions asks for an id token, and with what
RUNNER = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
VARIABLES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_FILE", "HF_STAGING_TOKEN"),
    *("GITHUB_TOKEN", "GH_TOKEN", "HF_OIDC_ID_TOKEN"),
    *("BOT_NOTIFY_URL", "BOT_STATUS_TOKEN", "BOT_WEBHOOK_SECRET"),
    *RUNNER,
    "HF_OIDC_RESOURCE",  # would make huggingface_hub ask for tokens beside those it is given
)
OPEN = ("HF_TOKEN_FILE", "HF_OIDC_RESOURCE")  # of these: values that may be printed
PR_SET_DUMPABLE = 4
SHORTEST = 8  # letters; shorter ones would blank out ordinary words
_KEPT: set[str] = set()
_HIDDEN: dict[str, str] = {}


def keep(value: str) -> None:
    """Never print this value again: it becomes *** on stdout and stderr."""
    if len(value) >= SHORTEST:
        _KEPT.add(value)


def hide_secrets() -> None:
    """Take the secrets out of the environment, which libraries hand to what they start.

    From then on `value` knows them, and nothing that this process prints holds them, tracebacks
    too; nor does it print what terminals or GitHub's runners obey. A library's log takes one line.
    """
    for name in VARIABLES:
        if name in os.environ:
            _HIDDEN[name] = os.environ.pop(name)
            if name not in OPEN:
                keep(_HIDDEN[name].strip())
    for stream in (sys.stdout, sys.stderr):
        _readable(stream)
    sys.stdout, sys.stderr = Guarded(sys.stdout), Guarded(sys.stderr)
    logging.setLogRecordFactory(_Line)
    _close()


def _readable(stream: TextIO) -> None:
    """Have a stream take every letter: click goes around a stream that it takes for ASCII alone."""
    if isinstance(stream, io.TextIOWrapper):
        ascii_only = stream.encoding.lower().replace("-", "") in (
            "ascii",
            "usascii",
            "ansi_x3.41968",
        )
        stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="backslashreplace")


class _Line(logging.LogRecord):
    """What a library logs: words of servers and strangers, on one line."""

    def getMessage(self) -> str:
        """The message with its arguments."""
        return legible(super().getMessage())


def _close() -> None:
    """Keep this process's memory and first environment from others of the same user.

    The kernel shows both in /proc to every process of this user, and writes them into a core dump;
    prctl(2), PR_SET_DUMPABLE ends that. Root is not kept out. What is started is as it was.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def redacted(text: str) -> str:
    """The text with *** in the place of every kept value."""
    for secret in list(_KEPT):  # another thread may keep one meanwhile
        text = text.replace(secret, "***")
    return text


def value(name: str) -> str:
    """A secret of the environment; empty where there is none."""
    return os.environ.get(name, _HIDDEN.get(name, "")).strip()


def publisher() -> dict[str, str]:
    """The environment for another process of ours that publishes: with all secrets."""
    return {**os.environ, **_HIDDEN}


class Redacted:
    """A text stream on which no kept value appears. A value is looked for in each write.

    For texts that are clean already, beside signs of ours which a terminal shall obey.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write with *** in the place of secrets; returns the length asked for."""
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Each line as `write` would."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Guarded(Redacted):
    """As `Redacted`, and what is written is made legible: nothing obeys it.

    The net below all others: a line end within a field is for whoever composes the line.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.obeyed = Redacted(stream)  # where signs of our own go
        self._defused = Defused()

    def write(self, text: str) -> int:
        """Write it without secrets and signs; returns the length asked for."""
        self._stream.write(self._defused(redacted(text)))
        return len(text)


def obeyed(stream: Any) -> Any:
    """The same stream for signs of our own that a terminal obeys, beside words that are clean."""
    return getattr(stream, "obeyed", stream)
