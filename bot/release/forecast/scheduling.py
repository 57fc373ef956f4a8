"""When tasks end whose lengths are known: by the rule that `graph.py` runs them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Timed(Protocol):
    """A task as far as its place in time depends on it."""

    @property
    def name(self) -> str:
        """Its name among the others'."""
        ...

    @property
    def lane(self) -> str:
        """What it takes, one at a time."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the tasks that end before it begins."""
        ...

    @property
    def seconds(self) -> float:
        """How long it takes."""
        ...


def scheduled(tasks: Sequence[Timed]) -> dict[str, tuple[float, float]]:
    """Begin and end of each task, in seconds from the first: one at a time on each lane.

    Whenever a task ends, each free lane takes the first of its tasks whose needs have ended.
    Raises ValueError for needs that cannot be met.
    """
    waiting, times = list(tasks), dict[str, tuple[float, float]]()
    free = {task.lane: 0.0 for task in tasks}
    now = 0.0
    while waiting:
        ended = {name for name, (_, end) in times.items() if end <= now}
        started = False
        for lane in free:
            ready = (t for t in waiting if t.lane == lane and ended.issuperset(t.needs))
            if free[lane] <= now and (task := next(ready, None)) is not None:
                waiting.remove(task)
                free[lane] = now + task.seconds
                times[task.name] = (now, free[lane])
                started = True
        later = [end for _, end in times.values() if end > now]
        if not started and not later:
            raise ValueError(f"{waiting[0].name} has needs that nothing meets")
        if not started:
            now = min(later)
    return times
