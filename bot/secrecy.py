"""Secrets of the environment: what they are called, who gets none, and what is never printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

VARIABLES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_FILE", "GITHUB_TOKEN", "GH_TOKEN"),
    *("BOT_NOTIFY_URL", "BOT_STATUS_TOKEN", "BOT_WEBHOOK_SECRET"),
    *("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"),
)
SHORTEST = 8  # letters; shorter ones would blank out ordinary words
_KEPT: set[str] = set()


def keep(value: str) -> None:
    """Never print this value again: it becomes *** on stdout and stderr."""
    if len(value) >= SHORTEST:
        _KEPT.add(value)


def guard() -> None:
    """Keep the environment's secrets out of all that this process prints, tracebacks too."""
    for name, value in _secrets():
        if name != "HF_TOKEN_FILE":
            keep(value.strip())
    sys.stdout, sys.stderr = Guarded(sys.stdout), Guarded(sys.stderr)


def environment() -> dict[str, str]:
    """The environment for a subprocess that has nothing to publish: without secrets."""
    secret = dict(_secrets())
    return {name: value for name, value in os.environ.items() if name not in secret}


def _secrets() -> Iterator[tuple[str, str]]:
    return ((name, os.environ[name]) for name in VARIABLES if name in os.environ)


class Guarded:
    """A text stream on which no kept value appears. A value is looked for in each write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write with *** in the place of secrets; returns the length asked for."""
        shown = text
        for value in _KEPT:
            shown = shown.replace(value, "***")
        self._stream.write(shown)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Each line as `write` would."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
