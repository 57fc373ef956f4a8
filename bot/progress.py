"""Narration on stderr: what is being done, how far it is, how fast, and how long it will take.

On a terminal a rich progress bar; elsewhere one line when work starts, every 30 s, and at its end.
For machines (`bot --progress json`) each event is a line of JSON:

    {"event": "start", "work": "quantizing 9 tiers"}
    {"event": "progress", "work": "quantizing 9 tiers", "done": 33554432, "total": 69346304,
     "unit": "B", "note": "71 of 148 tensors", "seconds": 2.0, "rate": 16777216.0, "left": 2.1}
    {"event": "done", "work": "quantizing 9 tiers", "seconds": 4.3}       or "failed"
    {"event": "say", "text": "…"}
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 30.0  # seconds between lines where there is no terminal
EVENTS_EVERY = 1.0  # between events for machines
TITLE = 32  # columns for what is being done

Unit = Literal["", "B"]  # plain counts, or bytes


class Report(Protocol):
    """Says how far a piece of work is; `note` are words about it."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total`, in the unit that the work was announced with."""


class Narrator:
    """Says what happens. `quiet` says nothing but still counts; `events` speaks JSON."""

    def __init__(
        self, stream: TextIO | None = None, *, quiet: bool = False, events: bool = False
    ) -> None:
        self._stream = stream or sys.stderr
        self._quiet, self._events = quiet, events
        self._console: Console | None = None
        if not quiet and not events and self._stream.isatty():
            from rich.console import Console

            self._console = Console(file=self._stream, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        if self._events:
            self._event("say", text=text)
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        if not self._quiet:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def _event(self, event: str, **values: Any) -> None:
        self._line(json.dumps({"event": event, **values}, ensure_ascii=False))

    @contextmanager
    def work(self, title: str, unit: Unit = "") -> Iterator[Report]:
        """A piece of long work; call the yielded function as it goes on."""
        if self._console is not None:
            shown = self._bar(title, unit)
        else:
            shown = self._as_events(title, unit) if self._events else self._lines(title, unit)
        with shown as report:
            yield report

    @contextmanager
    def _lines(self, title: str, unit: Unit) -> Iterator[Report]:
        pace = _Pace()

        def report(done: int, total: int, note: str = "") -> None:
            if pace.due(done, EVERY):
                self._line(f"{title}: {', '.join(pace.words(done, total, note, unit))}")

        self._line(f"{title} …")
        yield report
        self._line(f"{title}: done in {pace.seconds:.1f} s")

    @contextmanager
    def _as_events(self, title: str, unit: Unit) -> Iterator[Report]:
        pace = _Pace()

        def report(done: int, total: int, note: str = "") -> None:
            if pace.due(done, EVENTS_EVERY) or done == total:
                state = {"done": done, "total": total, "unit": unit, "note": note}
                rate, left = pace.rate(done), pace.left(done, total)
                times = {"seconds": pace.seconds, "rate": rate, "left": left}
                rounded = {k: v if v is None else round(v, 3) for k, v in times.items()}
                self._event("progress", work=title, **state, **rounded)

        self._event("start", work=title)
        end = "failed"
        try:
            yield report
            end = "done"
        finally:
            self._event(end, work=title, seconds=round(pace.seconds, 3))

    @contextmanager
    def _bar(self, title: str, unit: Unit) -> Iterator[Report]:
        from rich import progress as rich

        columns = (
            rich.TextColumn(f"{{task.description:<{TITLE}}}"),
            rich.BarColumn(24),
            rich.TimeElapsedColumn(),
        )
        counting: tuple[rich.ProgressColumn, ...] = (rich.MofNCompleteColumn(),)
        if unit == "B":
            counting = (rich.DownloadColumn(), rich.TransferSpeedColumn())
        note_column = rich.TextColumn("{task.fields[note]}")
        with rich.Progress(*columns, console=self._console) as bar:
            task = bar.add_task(title, total=None, note="")

            def report(done: int, total: int, note: str = "") -> None:
                if bar.tasks[0].total is None:
                    bar.columns = (*columns, *counting, rich.TimeRemainingColumn(), note_column)
                bar.update(task, completed=done, total=total, note=note)

            yield report
            if bar.tasks[0].total is None:  # work that cannot count is whole at its end
                bar.update(task, completed=1, total=1)


class _Pace:
    """How fast a piece of work goes. What was done before it started does not count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = self._last = clock()
        self._first: int | None = None

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._start

    def due(self, done: int, every: float) -> bool:
        """Whether it is time to say something again."""
        self._first = done if self._first is None else self._first
        now = self._clock()
        if now - self._last < every:
            return False
        self._last = now
        return True

    def rate(self, done: int) -> float | None:
        """Units a second; None while nothing is known."""
        fresh = done - (self._first or 0)
        return fresh / self.seconds if fresh > 0 and self.seconds > 0 else None

    def left(self, done: int, total: int) -> float | None:
        """Seconds still to go at this pace."""
        rate = self.rate(done)
        return None if rate is None else max(total - done, 0) / rate

    def words(self, done: int, total: int, note: str, unit: Unit) -> Iterator[str]:
        """All of it, for people."""
        rate, left = self.rate(done), self.left(done, total)
        if unit == "B":
            yield f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
        else:
            yield f"{done} of {total}"
        if note:
            yield note
        yield f"{self.seconds:.0f} s"
        if rate is not None and unit == "B":
            yield f"{rate / 1e6:.1f} MB/s"
        if left is not None:
            yield f"{left:.0f} s left"
