"""Plots of the results: the same bytes for the same numbers, without pyplot's global state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bot.present.card import alt_text
from bot.present.escape import clean
from bot.present.labels import Box, place
from bot.present.rows import Point, front, points
from bot.records import Results

INCHES, DPI = (8, 5), 150  # 1200 × 750 pixels
PIXEL = 72 / DPI  # in points
INK, FRAME, GRID, SOFT = "#222222", "#555555", "#e0e0e0", "#767676"
# Okabe and Ito's blue and vermilion: told apart with every kind of colour vision. A dot is seen
# inside an open square, so X and I-X can lie on each other.
LOOKS: dict[bool, dict[str, Any]] = {
    False: {
        "marker": "s",
        "markersize": 9.5,
        "color": "#D55E00",
        "markerfacecolor": "white",
        "markeredgewidth": 1.8,
        "label": "no importance matrix",
        "zorder": 3,
    },
    True: {
        "marker": "o",
        "markersize": 6.5,
        "color": "#0072B2",
        "label": "importance matrix",
        "zorder": 4,
    },
}
MARKER = 10  # points, the larger marker with its edge
LABEL = 10.5  # font size


def plot_size_kld(results: Results, path: Path) -> str:
    """Write file size against mean KL divergence as PNG; return the picture in words.

    Error bars are standard errors. Coinciding tiers are one point.
    """
    found = points(results)
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change the picture
        figure = Figure(figsize=INCHES, dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)  # measures text, and writes
        axes = figure.add_axes((0.115, 0.125, 0.865, 0.735))
        _frame(axes, results)
        if found:
            unit, name = (1e9, "GB") if max(p.bytes for p in found) >= 1e9 else (1e6, "MB")
            axes.set_xlabel(f"file size ({name})", fontsize=11.5, color=INK)
            _draw(axes, found, unit)
            _label(axes, found, unit)
        else:
            axes.text(0.5, 0.5, "no tier was measured", ha="center", transform=axes.transAxes)
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
    return alt_text(results)


def _frame(axes: Axes, results: Results) -> None:
    """Title, axis names and lines; the words of strangers are bounded and never mathematics."""
    release = results.release
    name = release.repo_id.rpartition("/")[2] if release else results.architecture.name
    words: dict[str, Any] = {"fontsize": 11.5, "color": INK, "parse_math": False}
    axes.set_title(
        f"{_drawn(name, 60)}: APEX files", **words | {"fontsize": 13}, loc="left", y=1.085
    )
    axes.set_ylabel(
        f"mean KL divergence from {_drawn(results.reference.name, 12)} (nats per token)", **words
    )
    axes.yaxis.set_label_coords(0.034, 0.49, transform=axes.figure.transFigure)
    note: dict[str, Any] = {
        "fontsize": 9.5,
        "color": SOFT,
        "ha": "right",
        "transform": axes.figure.transFigure,
    }
    axes.text(0.98, 0.028, "bars: ± one standard error", **note)
    axes.tick_params(labelsize=10.5, colors=INK, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)


def _drawn(value: str, limit: int) -> str:
    """What the plot's one font has signs for."""
    return clean(value, limit).encode("latin-1", "replace").decode("latin-1")


def _draw(axes: Axes, found: Sequence[Point], unit: float) -> None:
    _scales(axes, found, unit)
    for imatrix, look in LOOKS.items():
        chosen = [p for p in found if p.imatrix is imatrix]
        if chosen:
            _points(axes, chosen, unit, look)
    best = front(found)
    if len(best) > 1:
        axes.plot(
            [p.bytes / unit for p in best],
            [p.mean for p in best],
            color=SOFT,
            linewidth=1.3,
            linestyle=(0, (5, 3)),
            zorder=2,
            label="Pareto front",
        )
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.008, 0.99),
        ncols=3,
        fontsize=10.5,
        frameon=False,
        borderaxespad=0.2,
        columnspacing=1.6,
        handletextpad=0.5,
        labelcolor=INK,
    )


def _points(axes: Axes, chosen: Sequence[Point], unit: float, look: dict[str, Any]) -> None:
    x, y = [p.bytes / unit for p in chosen], [p.mean for p in chosen]
    # a bar that reaches zero would have no end on a logarithmic axis
    down = [min(p.error, p.mean * 0.95) for p in chosen]
    bars = {"fmt": "none", "ecolor": look["color"], "elinewidth": 1.5, "capsize": 3, "zorder": 2.8}
    axes.errorbar(x, y, yerr=[down, [p.error for p in chosen]], **bars)
    axes.plot(x, y, linestyle="none", **look)


def _scales(axes: Axes, found: Sequence[Point], unit: float) -> None:
    sizes = [p.bytes / unit for p in found]
    low, high = min(p.mean for p in found), max(p.mean for p in found)
    spread = max(max(sizes) - min(sizes), 0.02 * max(sizes))
    axes.set_xlim(min(sizes) - 0.1 * spread, max(sizes) + 0.12 * spread)
    axes.set_yscale("log")
    margin = max((high / low) ** 0.12, 1.15)
    axes.set_ylim(low / margin, high * margin)
    wide = high / low > 5
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _label(axes: Axes, found: Sequence[Point], unit: float) -> None:
    """Write every point's name beside it, with a thin line where it had to move away."""
    gap = (MARKER / 2 + 2.5) / PIXEL
    where = [_pixels(axes, point, unit) for point in found]
    shared: dict[str, Any] = {"fontsize": LABEL, "color": INK, "zorder": 5, "parse_math": False}
    texts = [axes.text(0, 0, _drawn(point.label, 40), **shared) for point in found]
    extents = [text.get_window_extent() for text in texts]
    marks = [Box(x, y, x, y).grown((MARKER / 2 + 0.5) / PIXEL) for x, y in where]
    line = _beads([_pixels(axes, point, unit) for point in front(found)])
    left, bottom, right, top = axes.get_window_extent().extents
    boxes = place(
        where,
        [(extent.width, extent.height) for extent in extents],
        [*marks, *line],
        Box(left, bottom, right, top),
        gap,
    )
    inverse = axes.transData.inverted()
    for text, box, (x, y) in zip(texts, boxes, where, strict=True):
        text.set(verticalalignment="center", horizontalalignment="center")
        middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
        text.set_position(tuple(inverse.transform(middle)))
        near = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
        if (near[0] - x) ** 2 + (near[1] - y) ** 2 > (1.7 * gap) ** 2:
            ends = inverse.transform([(x, y), near])
            axes.plot(ends[:, 0], ends[:, 1], color=SOFT, linewidth=0.7, zorder=2.5)


def _pixels(axes: Axes, point: Point, unit: float) -> tuple[float, float]:
    x, y = axes.transData.transform((point.bytes / unit, point.mean))
    return float(x), float(y)


def _beads(line: Sequence[tuple[float, float]]) -> Iterator[Box]:
    """Small boxes along a line of pixels, so that labels keep off it."""
    for start, end in pairwise(line):
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        for x, y in np.linspace(start, end, max(int(length / 6), 2)):
            yield Box(float(x), float(y), float(x), float(y)).grown(3)
