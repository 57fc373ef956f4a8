"""Narration on stderr: what is being done, how far it is, how fast, and how long it will take.

On a terminal a rich progress bar; elsewhere one line when work starts, every 30 s, and at its end.
Works of several threads may go on side by side. For machines (`bot --log json`) each event is a
line of JSON:

    {"time": "…", "event": "start", "work": "quantizing 9 tiers"}
    {"time": "…", "event": "progress", "work": "quantizing 9 tiers", "done": 33554432,
     "total": 69346304, "unit": "B", "note": "71 of 148 tensors", "seconds": 2.0,
     "rate": 16777216.0, "left": 2.1}
    {"time": "…", "event": "done", "work": "quantizing 9 tiers", "seconds": 4.3}   or "failed"
    {"time": "…", "event": "say", "text": "…"}
    {"time": "…", "event": "log", "level": "warning", "text": "…"}               of libraries
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from bot.legible import legible, legible_flat, legible_json
from bot.secrecy import obeyed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task

EVERY = 30.0  # seconds between lines where there is no terminal
EVENTS_EVERY = 1.0  # between events for machines
TITLE = 32  # columns for what is being done

Unit = Literal["", "B"]  # plain counts, or bytes
Listener = Callable[[str, float, float], None]  # title, begin and end in seconds of `monotonic`

_COUNTED = re.compile(r": ([0-9,]{1,20}) of ([0-9,]{1,20})(?: MB)?(?:,|$)")
_LEFT = re.compile(r", ([0-9]{1,9}) s left$")

# of a thread whose work shall stop at its next report, once the event is set
_HALT: ContextVar[threading.Event | None] = ContextVar("halt", default=None)


class Halted(Exception):
    """Raised where work reports after it was told to stop; the reason is with whoever told it."""


@contextmanager
def halting(event: threading.Event) -> Iterator[None]:
    """Works that begin in this thread inside the block stop at a report once `event` is set."""
    token = _HALT.set(event)
    try:
        yield
    finally:
        _HALT.reset(token)


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
        self.listener: Listener | None = None  # told of each work when it ends, in its thread
        self._lock = threading.Lock()
        self._console: Console | None = None
        self._bars: Progress | None = None  # shown while any work goes on
        self._working = 0
        if not quiet and not events and self._stream.isatty():
            from rich.console import Console  # here, as most narrators have no terminal

            self._console = Console(
                file=obeyed(self._stream), highlight=False, markup=False, emoji=False
            )

    def say(self, text: str) -> None:
        """One line."""
        if self._events:
            self._event("say", text=text)
        else:
            self._line(legible_flat(text))

    def _line(self, text: str) -> None:
        with self._lock:
            if self._quiet:
                return
            if self._bars is not None:  # above the bars
                self._bars.console.print(text, markup=False, soft_wrap=True)
                return
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def _event(self, event: str, **values: Any) -> None:
        self._line(_event(event, **values))

    @contextmanager
    def work(self, title: str, unit: Unit = "") -> Iterator[Report]:
        """A piece of long work; call the yielded function as it goes on.

        The function raises Halted in a thread that is `halting`.
        """
        title = legible(title)
        if self._console is not None:
            reporting = self._bar(title, unit)
        else:
            reporting = self._as_events(title, unit) if self._events else self._lines(title, unit)
        start, halt = time.monotonic(), _HALT.get()
        try:
            with reporting as report:
                yield report if halt is None else _until(halt, report)
        finally:
            if self.listener is not None:
                self.listener(title, start, time.monotonic())

    @contextmanager
    def _lines(self, title: str, unit: Unit) -> Iterator[Report]:
        pace = Pace()

        def report(done: int, total: int, note: str = "") -> None:
            if pace.due(done, EVERY):
                self._line(f"{title}: {', '.join(pace.words(done, total, note, unit))}")

        self._line(f"{title} …")
        yield report
        self._line(f"{title}: done in {pace.seconds:.1f} s")

    @contextmanager
    def _as_events(self, title: str, unit: Unit) -> Iterator[Report]:
        pace = Pace()

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
        bars = self._begin()
        task = bars.add_task(title, total=None, note="", unit=unit)

        def report(done: int, total: int, note: str = "") -> None:
            bars.update(task, completed=done, total=total, note=legible(note))

        try:
            yield report
            if bars.tasks[bars.task_ids.index(task)].total is None:  # it cannot count: whole now
                bars.update(task, completed=1, total=1, unit=None)
        finally:
            self._end(bars, bars.tasks[bars.task_ids.index(task)])

    def _begin(self) -> Progress:
        """The bars of all works that go on."""
        with self._lock:
            self._working += 1
            if self._bars is None:
                self._bars = _new_bars(self._console)
                self._bars.start()
            return self._bars

    def _end(self, bars: Progress, task: Task) -> None:
        """The last one that ends leaves its bar where it is, others leave it above those."""
        with self._lock:
            self._working -= 1
            if not self._working:
                bars.stop()
                self._bars = None
                return
            ended = bars.make_tasks_table([task])
            bars.remove_task(task.id)
            bars.console.print(ended)


def _until(halt: threading.Event, report: Report) -> Report:
    def checked(done: int, total: int, note: str = "") -> None:
        if halt.is_set():
            raise Halted
        report(done, total, note)

    return checked


def _new_bars(console: Console | None) -> Progress:
    from rich import progress as rich
    from rich.text import Text

    class Counted(rich.ProgressColumn):
        """How far, how fast and how long, in the unit of each work."""

        counts: tuple[rich.ProgressColumn, ...] = (rich.MofNCompleteColumn(),)
        bytes: tuple[rich.ProgressColumn, ...] = (rich.DownloadColumn(), rich.TransferSpeedColumn())
        left = rich.TimeRemainingColumn()

        def render(self, task: Task) -> Text:
            """Nothing for a work that has not counted."""
            if task.total is None or task.fields["unit"] is None:
                return Text("")
            columns = self.bytes if task.fields["unit"] == "B" else self.counts
            return Text(" ").join(Text(str(c(task))) for c in (*columns, self.left))

    return rich.Progress(
        rich.TextColumn(f"{{task.description:<{TITLE}}}", markup=False),
        rich.BarColumn(24),
        rich.TimeElapsedColumn(),
        Counted(),
        rich.TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


class Pace:
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
            yield legible(note)
        yield f"{self.seconds:.0f} s"
        if rate is not None and unit == "B":
            yield f"{rate / 1e6:.1f} MB/s"
        if left is not None:
            yield f"{left:.0f} s left"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A piece of work as a line of narration told it; counts and times where it told them."""

    text: str
    share: float | None = None  # that is done, 0 to 1
    left: float | None = None  # seconds


def step_of(line: str) -> Step:
    """What a line says that `Narrator` wrote for people."""
    counted, left = _COUNTED.search(line), _LEFT.search(line)
    share = None
    if counted is not None:
        done, total = (int(count.replace(",", "")) for count in counted.groups())
        share = min(done / total, 1.0) if total else None
    return Step(text=line, share=share, left=float(left[1]) if left else None)


def log_as_json() -> None:
    """What libraries log, warnings and worse, as JSON lines on stderr too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The message, and the traceback where there is one."""
        return _event("log", level=record.levelname.lower(), text=super().format(record))


def _event(event: str, **values: Any) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return legible_json({"time": now, "event": event, **values})
