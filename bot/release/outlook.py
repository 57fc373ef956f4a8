"""How long the whole of a release will still take, by what its tasks took so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from bot.clock import span
from bot.release.graph import LaneTask, Resource

EVERY = 60.0  # seconds between two words about the whole
INSTANT = 0.05  # seconds: such a task found its work done, and tells nothing of others


class Outlook:
    """The time that one run of tasks on lanes still takes; any thread may report to it.

    A task is expected to take what others of its kind took on the average, the first word of its
    name; a lane what its tasks take together; the whole as long as the longest lane.
    """

    def __init__(
        self,
        tasks: Sequence[LaneTask],
        lanes: Mapping[Resource, str],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remaining, self._lanes, self._count = list(tasks), lanes, len(tasks)
        self._say, self._clock, self._said = say, clock, clock()
        self._took: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, task: LaneTask) -> Iterator[None]:
        """Around a task: a word about the whole now and then once it has ended."""
        began = self._clock()
        yield
        with self._lock:
            self._remaining.remove(task)
            took = self._clock() - began
            if took > INSTANT:
                self._took.setdefault(_kind(task), []).append(took)
            seconds, due = self.seconds_left(), self._clock() - self._said >= EVERY
            if seconds is None or not due or not self._remaining:
                return
            self._said = self._clock()
            done = self._count - len(self._remaining)
        self._say(f"{done} of {self._count} steps are done, about {span(seconds)} left")

    def seconds_left(self) -> float | None:
        """Seconds until the last task ends; None while nothing took any time."""
        durations = [took for every in self._took.values() for took in every]
        if not durations:
            return None
        lanes: dict[str, float] = {}
        for task in self._remaining:
            alike = self._took.get(_kind(task), durations)
            lane = self._lanes[task.resource]
            lanes[lane] = lanes.get(lane, 0.0) + sum(alike) / len(alike)
        return max(lanes.values(), default=0.0)


def _kind(task: LaneTask) -> str:
    return task.name.partition(" ")[0]
