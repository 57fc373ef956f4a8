"""Times of tasks of known length, by the rule that lanes run by."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import partial

import pytest

from bot.release.forecast.scheduling import scheduled
from bot.release.graph import LaneTask, Resource, run_tasks

LANES: dict[Resource, str] = {"cpu": "cpu", "gpu": "gpu", "network": "network"}


@dataclass(frozen=True)
class Piece:
    """A task of known length."""

    name: str
    lane: Resource
    seconds: float
    needs: tuple[str, ...] = ()


def test_lanes_go_on_side_by_side_and_take_what_is_ready_in_order() -> None:
    pieces = [
        Piece("make a", "cpu", 2.0),
        Piece("measure a", "gpu", 5.0, ("make a",)),
        Piece("send a", "network", 1.0, ("measure a",)),
        Piece("make b", "cpu", 2.0),
        Piece("measure b", "gpu", 1.0, ("make b",)),
        Piece("send b", "network", 4.0, ("measure b",)),
    ]
    assert scheduled(pieces) == {
        "make a": (0.0, 2.0), "make b": (2.0, 4.0), "measure a": (2.0, 7.0),
        "measure b": (7.0, 8.0), "send a": (7.0, 8.0), "send b": (8.0, 12.0),
    }  # fmt: skip
    alone = scheduled([replace(piece, lane="cpu") for piece in pieces])
    assert max(end for _, end in alone.values()) == 15.0
    assert [name for name, _ in sorted(alone.items(), key=lambda item: item[1])] == [
        piece.name for piece in pieces]  # fmt: skip


def test_what_takes_no_time_holds_nobody_up_and_needs_must_be_met() -> None:
    pieces = [
        Piece("a", "cpu", 0.0),
        Piece("b", "gpu", 0.0, ("a",)),
        Piece("c", "cpu", 1.0, ("b",)),
    ]
    assert scheduled(pieces)["c"] == (0.0, 1.0)
    assert scheduled([]) == {}
    with pytest.raises(ValueError, match="d has needs that nothing meets"):
        scheduled([*pieces, Piece("d", "gpu", 1.0, ("e",))])


def _note(began: list[str], name: str) -> None:
    began.append(name)


def test_tasks_that_run_begin_in_the_order_that_was_foretold() -> None:
    """On one lane there is one order, whatever the lengths: that of `run_tasks`."""
    chance = random.Random(7)  # noqa: S311
    for _ in range(20):
        names = [f"t{number}" for number in range(9)]
        pieces = [
            Piece(name, "cpu", chance.choice((0.0, 1.0, 3.0)),
                  tuple(chance.sample(names[:place], min(place, chance.randint(0, 2)))))
            for place, name in enumerate(names)
        ]  # fmt: skip
        chance.shuffle(pieces)
        began: list[str] = []
        note = partial(_note, began)
        one = dict.fromkeys(LANES, "one")
        run_tasks(
            [
                LaneTask(name=p.name, resource=p.lane, needs=p.needs,
                         work=partial(note, p.name))
                for p in pieces
            ],
            one,
        )  # fmt: skip
        times = scheduled(pieces)
        order = sorted(times, key=lambda name: (times[name], began.index(name)))
        assert order == began
