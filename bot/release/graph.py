"""Tasks that need each other, run side by side: one at a time on each lane.

A resource (CPU, GPU, network) has a lane; two resources may share one. Of the tasks whose needs
are met, a lane takes the first in the order given, so that order is the priority. What tasks make
depends on their needs alone, never on what ran beside them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from bot.progress import Halted, halting

Resource = Literal["cpu", "gpu", "network"]
HERE = "network"  # the lane of the calling thread: transfers are what an interrupt must reach


@dataclass(frozen=True, kw_only=True)
class LaneTask:
    """A piece of work. `needs` are the names of tasks that come before it."""

    name: str
    resource: Resource
    work: Callable[[], object]
    needs: tuple[str, ...] = ()


def run_tasks(
    tasks: Sequence[LaneTask],
    lanes: Mapping[Resource, str],
    *,
    around: Callable[[LaneTask], AbstractContextManager[object]] = lambda _task: nullcontext(),
    waiting: Callable[[BaseException, str], None] = lambda _error, _name: None,
) -> None:
    """Do all tasks; `around` each of them is entered in its thread.

    After the first error nothing is begun. What runs on other lanes stops where it next reports,
    what runs on the lane "network" ends first (`waiting` is told its name), and then the error is
    raised. An interrupt reaches the calling thread, which is that lane, at once.
    Raises ValueError for needs that cannot be met.
    """
    _require_order(tasks)
    _Run(tasks, lanes, around, waiting).run()


def _require_order(tasks: Sequence[LaneTask]) -> None:
    """Every need is met by some order: none is unknown, none goes round in a circle."""
    names = {task.name for task in tasks}
    if len(names) < len(tasks):
        raise ValueError("two tasks have one name")
    met: set[str] = set()
    unordered = list(tasks)
    while unordered:
        ready = [task for task in unordered if met.issuperset(task.needs)]
        if not ready:
            raise ValueError(f"{unordered[0].name} has needs that nothing meets")
        met.update(task.name for task in ready)
        unordered = [task for task in unordered if task.name not in met]


class _Run:
    """One run. All that changes is guarded by `_changed`."""

    def __init__(
        self,
        tasks: Sequence[LaneTask],
        lanes: Mapping[Resource, str],
        around: Callable[[LaneTask], AbstractContextManager[object]],
        waiting: Callable[[BaseException, str], None],
    ) -> None:
        self._lanes, self._around, self._waiting = lanes, around, waiting
        self._remaining, self._done = list(tasks), set[str]()
        self._changed, self._halt = threading.Condition(), threading.Event()
        self._error: BaseException | None = None
        self._sending: str | None = None

    def run(self) -> None:
        """Until all is done or an error ended it."""
        lanes = {self._lanes[task.resource] for task in self._remaining} - {HERE}
        threads = [
            threading.Thread(target=self._work, args=(lane,), name=lane) for lane in sorted(lanes)
        ]
        for thread in threads:
            thread.start()
        try:
            self._work(HERE)
            for thread in threads:
                thread.join()
        except BaseException as error:  # noqa: BLE001 - an interrupt, raised again below
            self._fail(error, None)
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, lane: str) -> None:
        """What a lane does: its tasks, one after another."""
        while (task := self._next(lane)) is not None:
            try:
                with halting(self._halt), self._around(task):
                    task.work()
            except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                self._fail(error, task)
            else:
                self._finish(task)

    def _next(self, lane: str) -> LaneTask | None:
        """The lane's next task once its needs are met; None when there is none, or an error."""
        with self._changed:
            while not self._halt.is_set():
                own = [task for task in self._remaining if self._lanes[task.resource] == lane]
                ready = [task for task in own if self._done.issuperset(task.needs)]
                if ready:
                    self._remaining.remove(ready[0])
                    self._sending = ready[0].name if lane == HERE else self._sending
                    return ready[0]
                if not own:
                    return None
                self._changed.wait()
            return None

    def _finish(self, task: LaneTask) -> None:
        with self._changed:
            self._done.add(task.name)
            self._sending = None if self._sending == task.name else self._sending
            self._changed.notify_all()

    def _fail(self, error: BaseException, task: LaneTask | None) -> None:
        """Begin nothing more. The first error counts, but an interrupt counts most."""
        with self._changed:
            first = self._error is None and not isinstance(error, Halted)
            if first or isinstance(error, KeyboardInterrupt):
                self._error = error
            if task is not None and self._sending == task.name:
                self._sending = None
            sending = self._sending
            self._halt.set()
            self._changed.notify_all()
        if first and sending is not None:
            self._waiting(error, sending)
