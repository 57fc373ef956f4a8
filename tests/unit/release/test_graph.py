import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bot.progress import Halted, Narrator
from bot.release.graph import LaneTask, Resource, run_tasks

THREE: dict[Resource, str] = {"cpu": "cpu", "gpu": "gpu", "network": "network"}
TWO: dict[Resource, str] = {"cpu": "cpu", "gpu": "cpu", "network": "network"}
LONG = 30.0  # seconds after which a test that waits has failed


class Notes:
    """What ran when, in the order of begins and ends."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.threads: dict[str, str] = {}
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        with self._lock:
            self.said.append(text)

    @contextmanager
    def around(self, task: LaneTask) -> Iterator[None]:
        self.threads[task.name] = threading.current_thread().name
        self.say(f"+{task.name}")
        yield
        self.say(f"-{task.name}")


def task(name: str, resource: Resource, *needs: str, work: Callable[[], object] = int) -> LaneTask:
    return LaneTask(name=name, resource=resource, work=work, needs=needs)


def test_needs_come_first_and_order_is_priority() -> None:
    notes = Notes()
    tasks = [
        task("send a", "network", "measure a"),
        task("measure a", "gpu", "make"),
        task("make", "cpu"),
        task("later", "cpu"),
    ]
    run_tasks(tasks, TWO, around=notes.around)
    begun = [name[1:] for name in notes.said if name.startswith("+")]
    assert begun.index("make") < begun.index("measure a") < begun.index("send a")
    assert begun.index("measure a") < begun.index("later")  # both were ready; it stands before
    here = threading.current_thread().name
    assert notes.threads == {"make": "cpu", "measure a": "cpu", "later": "cpu", "send a": here}


def test_resources_work_side_by_side() -> None:
    """Each of three tasks ends only after all three began."""
    together = threading.Barrier(3)
    tasks = [task(name, name, work=lambda: together.wait(LONG)) for name in THREE]
    run_tasks(tasks, THREE)
    assert not together.broken


def test_a_lane_does_one_thing_at_a_time() -> None:
    notes = Notes()
    tasks = [task(str(n), "gpu" if n % 2 else "cpu") for n in range(20)]
    run_tasks(tasks, TWO, around=notes.around)
    pairs = zip(notes.said[::2], notes.said[1::2], strict=True)
    assert all(one[1:] == two[1:] for one, two in pairs)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="a has needs that nothing meets"):
        run_tasks([task("a", "cpu", "b"), task("b", "gpu", "a")], THREE)
    with pytest.raises(ValueError, match="a has needs that nothing meets"):
        run_tasks([task("a", "cpu", "nobody")], THREE)
    with pytest.raises(ValueError, match="two tasks have one name"):
        run_tasks([task("a", "cpu"), task("a", "gpu")], THREE)


def test_the_first_error_stops_work_at_its_next_report() -> None:
    begun, stopped = threading.Event(), []

    def long() -> None:
        try:
            with Narrator(quiet=True).work("long") as report:
                end = time.monotonic() + LONG
                begun.set()
                while time.monotonic() < end:
                    report(1, 2)
                    time.sleep(0.001)
        except Halted:
            stopped.append(True)
            raise

    def fail() -> None:
        begun.wait(LONG)
        raise KeyError("broken")

    notes = Notes()
    tasks = [
        task("long", "cpu", work=long),
        task("fail", "gpu", work=fail),
        task("never", "gpu", "fail"),
        task("nor this", "cpu"),
    ]
    with pytest.raises(KeyError, match="broken"):
        run_tasks(tasks, THREE, around=notes.around)
    assert stopped == [True]
    assert sorted(notes.said) == ["+fail", "+long"]


def test_a_transfer_is_ended_before_the_error_is_raised() -> None:
    failed, sending, told = threading.Event(), threading.Event(), []

    def send() -> None:
        sending.set()
        assert failed.wait(LONG)

    def fail() -> None:
        sending.wait(LONG)
        raise KeyError("broken")

    def waiting(error: BaseException, name: str) -> None:
        told.append((type(error), name))
        failed.set()

    notes = Notes()
    tasks = [task("send", "network", work=send), task("fail", "cpu", work=fail)]
    with pytest.raises(KeyError):
        run_tasks(tasks, THREE, around=notes.around, waiting=waiting)
    assert told == [(KeyError, "send")]
    assert "-send" in notes.said


def test_an_interrupt_counts_more_than_an_error() -> None:
    sending, failed = threading.Event(), threading.Event()

    def interrupted() -> None:
        sending.set()
        assert failed.wait(LONG)
        raise KeyboardInterrupt

    def fail() -> None:
        sending.wait(LONG)
        raise KeyError

    def waiting(_error: BaseException, _name: str) -> None:
        failed.set()

    tasks = [task("send", "network", work=interrupted), task("fail", "cpu", work=fail)]
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, THREE, waiting=waiting)


def test_nothing_to_do() -> None:
    run_tasks([], THREE)
