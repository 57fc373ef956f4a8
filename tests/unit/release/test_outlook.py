"""How long the whole will take, by what its parts took."""

from __future__ import annotations

from bot.release.graph import LaneTask, Resource
from bot.release.outlook import Outlook
from tests.hand_clock import HandClock

LANES: dict[Resource, str] = {"cpu": "cpu", "gpu": "cpu", "network": "network"}


def task(name: str, resource: Resource = "cpu") -> LaneTask:
    return LaneTask(name=name, resource=resource, work=lambda: None)


def test_the_longest_lane_tells_how_long_the_whole_takes() -> None:
    clock, said = HandClock(0.0), list[str]()
    tasks = [task("make A"), task("measure A", "gpu"), task("send A", "network")]
    tasks += [task("measure B", "gpu"), task("send B", "network"), task("send C", "network")]
    outlook = Outlook(tasks, LANES, said.append, clock.now)
    assert outlook.seconds_left() is None
    for one, seconds in zip(tasks[:3], (10.0, 20.0, 300.0), strict=True):
        with outlook.watching(one):
            clock.time += seconds
    assert outlook.seconds_left() == 600.0  # two to send, one to measure beside
    assert said == ["3 of 6 steps are done, about 10 min left"]
    with outlook.watching(tasks[3]):  # found done: it tells nothing of others
        pass
    assert outlook.seconds_left() == 600.0
    for one in tasks[4:]:
        with outlook.watching(one):
            clock.time += 100.0
    assert outlook.seconds_left() == 0.0
    assert said[1:] == ["5 of 6 steps are done, about 3 min left"]


def test_what_is_not_known_yet_takes_as_long_as_others() -> None:
    clock = HandClock(0.0)
    tasks = [task("make A"), task("measure A")]
    outlook = Outlook(tasks, LANES, list[str]().append, clock.now)
    with outlook.watching(tasks[0]):
        clock.time += 8.0
    assert outlook.seconds_left() == 8.0
