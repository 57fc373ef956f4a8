"""When what was done in a release, by resource: kept in the job's folder, shown as text.

The file is Chrome's trace format (chrome://tracing, ui.perfetto.dev; "Trace Event Format"): an
object with `traceEvents`, of which each has times in microseconds, a run of the command as its
process and a resource as its thread. Works within a task lie under it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bot.disk.writing import write_text
from bot.errors import SourceError
from bot.records.coding import load_record

LANES = ("cpu", "gpu", "network")
TRANSFERS = ("fetching", "reading headers")  # works outside of tasks that wait for the network
MARKS = {"cpu": "█", "gpu": "▓", "network": "░"}
RUNS = 20  # of one job that are kept
_LANE: ContextVar[str | None] = ContextVar("lane", default=None)


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece of work: seconds since the epoch, and whether it is part of a larger one."""

    name: str
    lane: str
    start: float
    end: float
    run: int
    part: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class ForeseenRun:
    """What was predicted of a run before it began: seconds of each piece of work, and of all."""

    run: int
    seconds: dict[str, float]
    whole: float


@dataclass(frozen=True, kw_only=True)
class PastTimeline:
    """What a file holds."""

    spans: tuple[Span, ...]
    foreseen: tuple[ForeseenRun, ...] = ()


class Timeline:
    """The spans of one run as they end, added to those of earlier runs in `path`."""

    def __init__(self) -> None:
        self._epoch = time.time() - time.monotonic()
        self._spans: list[Span] = []
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._before: list[Span] = []
        self._foreseen: list[ForeseenRun] = []

    @property
    def is_first(self) -> bool:
        """Whether no run was kept before this one."""
        return not self._before

    def foresee(self, seconds: Mapping[str, float], whole: float) -> None:
        """Note what this run is thought to take, to be held against what it takes."""
        seen = ForeseenRun(run=self._number, seconds=dict(seconds), whole=whole)
        self._foreseen.append(seen)
        self._write()

    @property
    def _number(self) -> int:
        return max((span.run for span in self._before), default=0) + 1

    def keep_in(self, path: Path) -> None:
        """Write to `path` from now on, after each task."""
        self._path = path
        earlier = read_timeline(path) if path.is_file() else PastTimeline(spans=())
        runs = sorted({span.run for span in earlier.spans})[-RUNS:]
        self._before = [span for span in earlier.spans if span.run in runs]
        self._foreseen = [seen for seen in earlier.foreseen if seen.run in runs]
        self._write()

    @contextmanager
    def on(self, name: str, lane: str) -> Iterator[None]:
        """A piece of work that takes a resource."""
        token, start = _LANE.set(lane), time.monotonic()
        try:
            yield
        finally:
            _LANE.reset(token)
            self._add(name, lane, start, time.monotonic(), part=False)
            self._write()

    def heard(self, title: str, start: float, end: float) -> None:
        """A work of the narrator: within a piece of work, or by itself."""
        lane = _LANE.get()
        alone = "network" if title.startswith(TRANSFERS) else "cpu"
        self._add(title, lane or alone, start, end, part=lane is not None)

    def _add(self, name: str, lane: str, start: float, end: float, *, part: bool) -> None:
        begun, ended = self._epoch + start, self._epoch + end
        with self._lock:
            span = Span(name=name, lane=lane, start=begun, end=ended, run=0, part=part)
            self._spans.append(span)

    def _write(self) -> None:
        with self._lock:
            if self._path is None:
                return
            own = [{**_event(span), "pid": self._number} for span in self._spans]
            events = [*map(_event, self._before), *own]
            named = [_thread(run, lane) for run in {e["pid"] for e in events} for lane in LANES]
            foreseen = {"foreseen": [asdict(seen) for seen in self._foreseen]}
            trace: dict[str, Any] = {"displayTimeUnit": "ms", "traceEvents": [*named, *events]}
            trace |= {"otherData": foreseen} if self._foreseen else {}
            write_text(self._path, json.dumps(trace, ensure_ascii=False) + "\n")


def _event(span: Span) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": span.name,
        "cat": "part" if span.part else "task",
        "pid": span.run,
        "tid": LANES.index(span.lane),
        "ts": round(span.start * 1e6),
        "dur": round(span.seconds * 1e6),
    }


def _thread(run: int, lane: str) -> dict[str, Any]:
    named = {"ph": "M", "name": "thread_name", "pid": run, "tid": LANES.index(lane)}
    return {**named, "args": {"name": lane}}


def read_timeline(path: Path) -> PastTimeline:
    """What a file holds, its spans in order of time.

    Raises SourceError where there is none, or it is not ours.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist; run `bot publish` first")
    try:
        trace = json.loads(path.read_text(encoding="utf-8"))
        events, other = trace["traceEvents"], trace.get("otherData", {})
        foreseen = tuple(load_record(ForeseenRun, one) for one in other.get("foreseen", ()))
        spans = [
            Span(
                name=str(event["name"]),
                lane=LANES[event["tid"]],
                start=event["ts"] / 1e6,
                end=(event["ts"] + event["dur"]) / 1e6,
                run=int(event["pid"]),
                part=event["cat"] == "part",
            )
            for event in events
            if event["ph"] == "X"
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise SourceError(f"{path} is no timeline; remove it") from error
    spans.sort(key=lambda span: (span.start, span.part, -span.end))
    return PastTimeline(spans=tuple(spans), foreseen=foreseen)


def busy(spans: Sequence[Span]) -> float:
    """Seconds in which at least one of the spans went on."""
    total, reached = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return total


def timeline_text(past: PastTimeline, width: int) -> str:
    """The last run's spans, a line for each piece of work, and how busy each resource was.

    Where it was predicted, what each should have taken stands beside what it took.
    """
    last = max((span.run for span in past.spans), default=0)
    tasks = [span for span in past.spans if span.run == last and not span.part]
    if not tasks:
        return "nothing was done"
    foreseen = next((seen for seen in past.foreseen if seen.run == last), None)
    begin, end = min(span.start for span in tasks), max(span.end for span in tasks)
    total = max(end - begin, 1e-9)
    longest = min(max(len(span.name) for span in tasks), 34)
    ahead = 10 if foreseen else 0
    room = max(width - longest - 30 - ahead, 10)
    lines = [
        f"{span.start - begin:8.1f} {span.seconds:8.1f}{_ahead(span.name, foreseen)}  "
        f"{span.lane:<7}  {span.name[:longest]:<{longest}}  "
        f"{_bar(span, begin, total, room)}".rstrip()
        for span in tasks
    ]
    head = f"{'start':>8} {'seconds':>8}{' predicted' if foreseen else ''}  on"
    return "\n".join([head, *lines, "", *_summary(tasks, total, foreseen)])


def _ahead(name: str, foreseen: ForeseenRun | None) -> str:
    """A cell of what was predicted, empty where nothing was."""
    if foreseen is None:
        return ""
    seconds = foreseen.seconds.get(name)
    return f"{'' if seconds is None else f'{seconds:.1f}':>10}"


def _bar(span: Span, begin: float, total: float, room: int) -> str:
    first = min(int((span.start - begin) / total * room), room - 1)
    last = max(round((span.end - begin) / total * room), first + 1)
    return " " * first + MARKS[span.lane] * (last - first)


def _summary(tasks: Sequence[Span], total: float, foreseen: ForeseenRun | None) -> Iterator[str]:
    """The whole, each resource's part of it, and what one after another would have taken.

    What was predicted is held against the time from the first predicted task to the last.
    """
    busy_seconds = 0.0
    for lane in LANES:
        seconds = busy([span for span in tasks if span.lane == lane])
        busy_seconds += seconds
        if seconds:
            yield f"{lane:<8} {seconds:8.1f} s busy, {seconds / total:4.0%} of the time"
    yield f"{'in all':<8} {total:8.1f} s; one after another {busy_seconds:.1f} s"
    if foreseen is not None and (told := [s for s in tasks if s.name in foreseen.seconds]):
        took = max(span.end for span in told) - min(span.start for span in told)
        yield f"{'predicted':<9} {foreseen.whole:7.1f} s for what took {took:.1f} s"
