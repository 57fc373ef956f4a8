"""Plots of the results: the same bytes for the same numbers, without pyplot's global state.

Each is written in a light and a dark form (PNG) and as SVG. What an axis shows is told by its
title; kinds of rows differ in shape and filling as well as in colour. This module runs in a child
(pictures.py sends it there): names of strangers meet fonts and layout here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bot.apart.errand import carry_out
from bot.legible import legible
from bot.plots.labels import Box, place
from bot.plots.pictures import DPI, TYPES, WHY, Drawing, drawings_of
from bot.plots.points import Point, front, points, points_of_perplexity
from bot.plots.type_map import draw_types
from bot.records.coding import from_json
from bot.records.results import Results
from bot.wording.rows import card_rows

PIXEL = 72 / DPI  # in points
MARKER = 10  # points, the larger marker with its edge
LABEL = 10.5  # font size


@dataclass(frozen=True)
class _Theme:
    """Colours on a paper; the kinds' are Okabe and Ito's, told apart with every colour vision."""

    paper: str
    ink: str
    frame: str
    grid: str
    soft: str
    plain: str  # tiers without importance matrix
    weighted: str  # tiers with one
    baseline: str
    other: str


LIGHT = _Theme(
    "#ffffff", "#222222", "#555555", "#e0e0e0", "#767676", "#D55E00", "#0072B2", "#00785A",
    "#A3477F",
)  # fmt: skip
DARK = _Theme(
    "#14171b", "#e4e7eb", "#8d96a1", "#2b3138", "#9aa4b0", "#F0A04B", "#6DBFF2", "#3FCF9F",
    "#E3A0C8",
)  # fmt: skip


@dataclass(frozen=True)
class _Look:
    marker: str
    size: float
    filled: bool
    label: str
    order: float


# a dot is seen inside an open square, so X and I-X can lie on each other
LOOKS = {
    "plain": _Look("s", 9.5, False, "tier", 3),
    "weighted": _Look("o", 6.5, True, "tier with importance matrix", 4),
    "baseline": _Look("^", 8.5, False, "baseline", 3.2),
    "other": _Look("D", 6.5, True, "other publisher", 3.4),
}

Draw = Callable[[Figure, _Theme], None]


def draw_plots(results: Results, folder: Path) -> dict[str, str]:
    """Write every plot whose numbers were measured: NAME.png, NAME-dark.png and NAME.svg.

    Returns the names of those that could not be drawn, each with the reason: one word of a
    stranger's that breaks a plot breaks no other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reasons = {}
    for drawing in drawings_of(results):
        try:
            _save(drawing.inches, _work(results, drawing), drawing.paths(folder))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told and the rest drawn
            reasons[drawing.name] = f"{type(error).__name__}: {error}"
    return reasons


def _work(results: Results, drawing: Drawing) -> Draw:
    match drawing.name:
        case "size-vs-kld":
            return lambda figure, theme: _kld(figure, theme, results)
        case "size-vs-ppl":
            return lambda figure, theme: _ppl(figure, theme, results)
        case name if name.startswith(TYPES):
            return _mapped(results, name.removeprefix(TYPES))
        case _:
            return _charted(results, drawing.name, drawing.panels)


def _mapped(results: Results, tier: str) -> Draw:
    (fit,) = (fit for fit in results.fitted if fit.tier == tier)

    def work(figure: Figure, theme: _Theme) -> None:
        title = f"{_model(results)}: types by layer and tensor"
        figure.text(
            0.02, 1 - 0.3 / figure.get_figheight(), title, fontsize=13.5, color=theme.ink,
            fontweight="bold", parse_math=False,
        )  # fmt: skip
        draw_types(figure, fit, theme.ink, theme.paper)

    return work


def _carried_out(order: str, folder: Path) -> None:
    for name, reason in draw_plots(from_json(Results, order), folder).items():
        (folder / f"{name}{WHY}").write_text(reason, encoding="utf-8", errors="replace")


def _save(size: tuple[float, float], work: Draw, files: Sequence[Path]) -> None:
    light, dark, vector = files
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change the picture
        mpl.rcParams["svg.hashsalt"] = "apex-bot"
        for theme, path in ((LIGHT, light), (DARK, dark)):
            figure = Figure(figsize=size, dpi=DPI, facecolor=theme.paper)
            FigureCanvasAgg(figure)  # measures text, and writes
            work(figure, theme)
            figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
            if theme is LIGHT:
                metadata = {"Date": None, "Creator": None}
                figure.savefig(vector, format="svg", metadata=metadata)


# ── size against a measure ──────────────────────────────────────────────────────────────────


def _kld(figure: Figure, theme: _Theme, results: Results) -> None:
    file_points = points(results)
    axes = _frame(figure, theme, f"{_model(results)}: size and KL divergence")
    reference = _drawn(card_rows(results)[0].name, 30)
    axes.set_ylabel(
        f"mean KL divergence from {reference} (nats)", fontsize=11.5, color=theme.ink,
        parse_math=False,
    )  # fmt: skip
    _scatter(axes, theme, file_points, logarithmic=True)


def _ppl(figure: Figure, theme: _Theme, results: Results) -> None:
    file_points = points_of_perplexity(results)
    axes = _frame(figure, theme, f"{_model(results)}: size and perplexity")
    axes.set_ylabel("perplexity", fontsize=11.5, color=theme.ink)
    reference = card_rows(results)[0]
    if reference.perplexity is not None:
        axes.axhline(
            reference.perplexity, color=theme.soft, linewidth=1.2, linestyle=(0, (1, 2)),
            zorder=1.5, label=_drawn(reference.name, 30),
        )  # fmt: skip
    _scatter(axes, theme, file_points, logarithmic=False, least=reference.perplexity)


def _model(results: Results) -> str:
    release = results.release
    name = release.repo_id.rpartition("/")[2] if release else results.architecture.name
    return _drawn(name, 60)


def _frame(figure: Figure, theme: _Theme, title: str) -> Axes:
    """Axes below a title; the words of strangers are bounded and never mathematics."""
    axes = figure.add_axes((0.115, 0.125, 0.865, 0.735))
    axes.set_facecolor(theme.paper)
    figure.text(
        0.02, 0.955, title, fontsize=13.5, color=theme.ink, fontweight="bold", parse_math=False
    )
    _lines(axes, theme)
    return axes


def _lines(axes: Axes, theme: _Theme) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.frame)
    axes.tick_params(colors=theme.frame, labelsize=10.5, labelcolor=theme.ink, length=3)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def _scatter(
    axes: Axes,
    theme: _Theme,
    file_points: Sequence[Point],
    *,
    logarithmic: bool,
    least: float | None = None,
) -> None:
    unit, name = (1e9, "GB") if max(p.bytes for p in file_points) >= 1e9 else (1e6, "MB")
    axes.set_xlabel(f"file size ({name})", fontsize=11.5, color=theme.ink)
    _scales(axes, file_points, unit, logarithmic=logarithmic, least=least)
    for kind, look in LOOKS.items():
        chosen = [p for p in file_points if p.kind == kind]
        if chosen:
            _points(axes, theme, chosen, unit, look)
    best = front(file_points)
    if len(best) > 1:
        axes.plot(
            [p.bytes / unit for p in best], [p.value for p in best], color=theme.soft,
            linewidth=1.3, linestyle=(0, (5, 3)), zorder=2, label="Pareto front",
        )  # fmt: skip
    _legend(axes, theme)
    _label(axes, theme, file_points, unit, level=least)


def _legend(axes: Axes, theme: _Theme) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.008, 0.99), ncols=5, fontsize=9.5, frameon=False,
        borderaxespad=0.2, columnspacing=1.3, handletextpad=0.4, labelcolor=theme.ink,
    )  # fmt: skip


def _marks(theme: _Theme, look: _Look) -> dict[str, Any]:
    colour = _colour(theme, look)
    return {
        "marker": look.marker,
        "markersize": look.size,
        "color": colour,
        "markerfacecolor": colour if look.filled else theme.paper,
        "markeredgewidth": 0.8 if look.filled else 1.8,
        "zorder": look.order,
    }


def _colour(theme: _Theme, look: _Look) -> str:
    name = next(name for name, kind_look in LOOKS.items() if kind_look is look)
    return str(getattr(theme, name))


def _points(axes: Axes, theme: _Theme, chosen: Sequence[Point], unit: float, look: _Look) -> None:
    x, y = [p.bytes / unit for p in chosen], [p.value for p in chosen]
    floor = 0.95 if axes.get_yscale() == "log" else 1e9
    # a bar that reaches zero would have no end on a logarithmic axis
    down = [min(p.error or 0, abs(p.value) * floor) for p in chosen]
    axes.errorbar(
        x, y, yerr=[down, [p.error or 0 for p in chosen]], fmt="none",
        ecolor=_colour(theme, look), elinewidth=1.5,
        capsize=3 if any(p.error for p in chosen) else 0, zorder=2.8,
    )  # fmt: skip
    axes.plot(x, y, linestyle="none", label=look.label, **_marks(theme, look))


def _scales(
    axes: Axes,
    file_points: Sequence[Point],
    unit: float,
    *,
    logarithmic: bool,
    least: float | None,
) -> None:
    sizes = [p.bytes / unit for p in file_points]
    spread = max(max(sizes) - min(sizes), 0.02 * max(sizes))
    axes.set_xlim(min(sizes) - 0.1 * spread, max(sizes) + 0.12 * spread)
    low, high = min(p.value for p in file_points), max(p.value for p in file_points)
    if logarithmic:
        axes.set_yscale("log")
        margin = max((high / low) ** 0.12, 1.15)
        axes.set_ylim(low / margin, high * margin)
        _ticks(axes.yaxis, low, high)
    else:
        low = min(low, least if least is not None else low)
        tall = max(high - low, 1e-3 * abs(high))
        axes.set_ylim(low - 0.12 * tall, high + 0.12 * tall)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))


def _ticks(axis: Axis, low: float, high: float) -> None:
    """Numbers along a logarithmic axis: by decades where there are some, else evenly."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high / low > 5 else MaxNLocator(5))
    axis.set_minor_locator(NullLocator())


def _label(
    axes: Axes, theme: _Theme, file_points: Sequence[Point], unit: float, level: float | None
) -> None:
    """Write every point's name beside it, with a thin line where it had to move away.

    `level` is where a line across lies, which labels keep off as well.
    """
    gap = (MARKER / 2 + 2.5) / PIXEL
    where = [_pixels(axes, point, unit) for point in file_points]
    shared: dict[str, Any] = {
        "fontsize": LABEL if len(file_points) <= 10 else LABEL - 1, "color": theme.ink, "zorder": 5,
        "parse_math": False,
        "bbox": {"facecolor": theme.paper, "alpha": 0.75, "edgecolor": "none", "pad": 0.4},
    }  # fmt: skip
    texts = [axes.text(0, 0, _drawn(point.label, 40), **shared) for point in file_points]
    extents = [text.get_window_extent() for text in texts]
    marks = [Box(x, y, x, y).grown((MARKER / 2 + 0.5) / PIXEL) for x, y in where]
    marks += [bar for point in file_points if (bar := _bar(axes, point, unit))]
    line = _beads([_pixels(axes, point, unit) for point in front(file_points)])
    left, bottom, right, top = axes.get_window_extent().extents
    if level is not None:
        y = float(axes.transData.transform((0, level))[1])
        marks.append(Box(left, y - 3, right, y + 3))
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
            axes.plot(ends[:, 0], ends[:, 1], color=theme.soft, linewidth=0.7, zorder=2.5)


def _drawn(name: str, limit: int) -> str:
    """Text that the one font of the plots can draw."""
    return legible(name, limit).encode("cp1252", "replace").decode("cp1252")


def _pixels(axes: Axes, point: Point, unit: float) -> tuple[float, float]:
    x, y = axes.transData.transform((point.bytes / unit, point.value))
    return float(x), float(y)


def _bar(axes: Axes, point: Point, unit: float) -> Box | None:
    """Where a point's error bar lies, in pixels."""
    if not point.error:
        return None
    low = max(point.value - point.error, axes.get_ylim()[0])
    (x, bottom), (_, top) = axes.transData.transform(
        [(point.bytes / unit, low), (point.bytes / unit, point.value + point.error)]
    )
    return Box(float(x) - 4, float(bottom), float(x) + 4, float(top))


def _beads(line: Sequence[tuple[float, float]]) -> Iterator[Box]:
    """Small boxes along a line of pixels, so that labels keep off it."""
    for start, end in pairwise(line):
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        for x, y in np.linspace(start, end, max(int(length / 6), 2)):
            yield Box(float(x), float(y), float(x), float(y)).grown(3)


# ── a line for each row ─────────────────────────────────────────────────────────────────────

TITLES = {
    "kl-max": ("largest observed KL divergence", "nats, one token each; no error is known", True),
    "accuracy": ("accuracy with 95% intervals", "% right", False),
    "speed": ("speed", "tokens per second", False),
}


def _charted(results: Results, name: str, panels: Sequence[tuple[str, Sequence[Point]]]) -> Draw:
    def work(figure: Figure, theme: _Theme) -> None:
        title, unit, logarithmic = TITLES[name]
        height = figure.get_figheight()
        figure.text(
            0.02, 1 - 0.3 / height, f"{_model(results)}: {title}", fontsize=13.5, color=theme.ink,
            fontweight="bold", parse_math=False,
        )  # fmt: skip
        order = list(dict.fromkeys(p.label for _, panel_points in panels for p in panel_points))
        left_edge, wide = 0.2, 0.78 / len(panels)
        for i, (task, panel_points) in enumerate(panels):
            inside = (left_edge + i * wide, 0.62 / height, wide - 0.02, 1 - 1.22 / height)
            axes = figure.add_axes(inside)
            axes.set_facecolor(theme.paper)
            _lines(axes, theme)
            draw_chart(axes, theme, panel_points, order, logarithmic=logarithmic)
            label = unit if len(panels) == 1 and not task else f"{_drawn(task, 30)} ({unit})"
            axes.set_xlabel(label, fontsize=10.5, color=theme.ink, parse_math=False)
            axes.set_yticks(
                range(len(order)), [_drawn(label, 26) for label in order] if not i else []
            )
            if not i:
                _legend(axes, theme)

    return work


def draw_chart(
    axes: Axes,
    theme: _Theme,
    panel_points: Sequence[Point],
    order: Sequence[str],
    *,
    logarithmic: bool,
) -> None:
    """Points as rows of a chart, in the order of labels, with their bars."""
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.yaxis.grid(visible=False)
    if logarithmic:
        axes.set_xscale("log")
        low, high = min(p.value for p in panel_points), max(p.value for p in panel_points)
        margin = max((high / low) ** 0.06, 1.05)
        axes.set_xlim(low / margin, high * margin)
        _ticks(axes.xaxis, low, high)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    _reference(axes, theme, panel_points, order)
    for kind, look in LOOKS.items():
        chosen = [p for p in panel_points if p.kind == kind]
        if not chosen:
            continue
        y = [order.index(p.label) for p in chosen]
        x = [p.value for p in chosen]
        bars = [[p.down for p in chosen], [p.up for p in chosen]]
        axes.errorbar(
            x, y, xerr=bars, fmt="none", ecolor=_colour(theme, look), elinewidth=1.5,
            capsize=3 if any(p.up for p in chosen) else 0, zorder=2.8,
        )  # fmt: skip
        axes.plot(x, y, linestyle="none", label=look.label, **_marks(theme, look))


def _reference(
    axes: Axes, theme: _Theme, panel_points: Sequence[Point], order: Sequence[str]
) -> None:
    for point in (p for p in panel_points if p.kind == "reference"):
        y = order.index(point.label)
        axes.axvline(point.value, color=theme.soft, linewidth=1.2, linestyle=(0, (1, 2)), zorder=1)
        axes.errorbar(
            [point.value], [y], xerr=[[point.down], [point.up]], fmt="none", ecolor=theme.soft,
            elinewidth=1.5, capsize=3 if point.up else 0, zorder=2.8,
        )  # fmt: skip
        axes.plot(
            [point.value], [y], linestyle="none", marker="|", markersize=11, markeredgewidth=2,
            color=theme.soft, label="reference",
        )  # fmt: skip


if __name__ == "__main__":
    carry_out(_carried_out)
