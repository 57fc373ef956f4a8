"""Labels beside points: free of each other, of markers, and of chance."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from bot.plots.labels import Box, place


def test_labels_keep_off_each_other_and_off_markers() -> None:
    frame = Box(0, 0, 1000, 500)
    chance = random.Random(7)  # noqa: S311 - a fixed sequence is what a test wants
    anchors = [(chance.uniform(100, 900), chance.uniform(50, 450)) for _ in range(15)]
    anchors += [(500, 250), (500, 252), (503, 250)]
    marks = [Box(x, y, x, y).grown(8) for x, y in anchors]
    boxes = place(anchors, [(90, 18)] * len(anchors), marks, frame, 14)
    assert all(first.overlap(second) == 0 for first, second in combinations(boxes, 2))
    assert all(box.overlap(mark) == 0 for box in boxes for mark in marks)
    assert all(box.outside(frame) == pytest.approx(0) for box in boxes)
    assert boxes == place(anchors, [(90, 18)] * len(anchors), marks, frame, 14)


def test_a_label_without_room_still_lands() -> None:
    frame = Box(0, 0, 50, 20)
    boxes = place([(25, 10)] * 3, [(60, 18)] * 3, [], frame, 5)
    assert len(boxes) == 3
