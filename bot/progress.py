"""Narration on stderr: what is being done and how far it is.

On a terminal a rich progress bar; elsewhere one line when work starts, every 30 s, and at its end.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 30.0  # seconds between lines where there is no terminal
TITLE = 32  # columns for what is being done

Report = Callable[[int, int], None]  # done, total


class Narrator:
    """Says what happens. `quiet` says nothing but still counts; `as_json` says it to machines."""

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, as_json: bool = False
    ) -> None:
        self._stream = stream or sys.stderr
        self._quiet, self._as_json = quiet, as_json
        self._console: Console | None = None
        if not quiet and not as_json and self._stream.isatty():
            from rich.console import Console

            self._console = Console(file=self._stream, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            self._stream.write(f"{_json_line(text) if self._as_json else text}\n")
            self._stream.flush()

    @contextmanager
    def work(self, title: str) -> Iterator[Report]:
        """A piece of long work; call the yielded function as it goes on."""
        if self._console is not None:
            with self._bar(title) as bar:
                yield bar
            return
        start = last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= EVERY:
                last = now
                self.say(f"{title}: {done} of {total}, {now - start:.0f} s")

        self.say(f"{title} …")
        yield report
        self.say(f"{title}: done in {time.monotonic() - start:.1f} s")

    @contextmanager
    def _bar(self, title: str) -> Iterator[Report]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (TextColumn(f"{{task.description:<{TITLE}}}"), BarColumn(24), Elapsed())
        counting = (MofNCompleteColumn(), Remaining())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=None)

            def report(done: int, total: int) -> None:
                if progress.tasks[0].total is None:
                    progress.columns = (*columns, *counting)
                progress.update(task, completed=done, total=total)

            yield report
            if progress.tasks[0].total is None:  # work that cannot count is whole at its end
                progress.update(task, completed=1, total=1)


def log_as_json() -> None:
    """What libraries log, warnings and worse, as JSON lines on stderr too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The message, and the traceback where there is one."""
        return _json_line(super().format(record), level=record.levelname.lower())


def _json_line(text: str, level: str = "info") -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, "message": text}, ensure_ascii=False)
