"""Where labels go beside points so that they cover neither each other nor a marker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi, sin


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Common area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0

    def outside(self, frame: Box) -> float:
        """Area that sticks out of `frame`."""
        area = (self.right - self.left) * (self.top - self.bottom)
        return area - self.overlap(frame)

    def grown(self, margin: float) -> Box:
        """The rectangle with a margin on every side."""
        return Box(self.left - margin, self.bottom - margin, self.right + margin, self.top + margin)


DIRECTIONS = (0, 4, 1, 7, 2, 6, 3, 5, 0.5, 7.5, 1.5, 6.5, 3.5, 4.5, 2.5, 5.5)  # eighths of a turn
RINGS = 8


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
    gap: float,
) -> list[Box]:
    """A box of each size near its anchor, in the order given; deterministic.

    Greedy: the first free spot on widening rings of 16 directions, else the least covered one.
    """
    occupied = list(obstacles)
    placed = []
    for anchor, extent in zip(anchors, sizes, strict=True):
        box = _best(_spots(anchor, extent, gap), occupied, frame)
        placed.append(box)
        occupied.append(box.grown(gap / 4))
    return placed


def _best(spots: Iterator[Box], occupied: Sequence[Box], frame: Box) -> Box:
    best, least = None, float("inf")
    for spot in spots:
        cost = sum(spot.overlap(box) for box in occupied) + 10 * spot.outside(frame)
        if cost <= 0:
            return spot
        if cost < least:
            best, least = spot, cost
    if best is None:
        raise ValueError("no spot was offered")
    return best


def _spots(anchor: tuple[float, float], extent: tuple[float, float], gap: float) -> Iterator[Box]:
    (x, y), (width, height) = anchor, extent
    for ring in range(1, RINGS + 1):
        for eighth in DIRECTIONS:
            dx, dy = cos(eighth * pi / 4), sin(eighth * pi / 4)
            # the label's nearest edge, not its centre, is `ring` gaps away
            cx = x + dx * ring * gap + _sign(dx) * width / 2
            cy = y + dy * ring * gap + _sign(dy) * height / 2
            yield Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)


def _sign(part: float) -> int:
    return 0 if abs(part) < 0.2 else (1 if part > 0 else -1)
