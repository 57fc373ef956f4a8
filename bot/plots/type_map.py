"""A map of types: tensors of a layer by layers, light where few bits are kept.

A fitted tier and the tier by roles of its size, side by side. This module runs in a child, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bot.legible import legible
from bot.plots.type_words import inner_name, rows_of
from bot.records.sensitivity import Fitted
from bot.tensors.roles import layer_of
from bot.tensors.sizes import BLOCKS, bits_per_weight

Grid = NDArray[np.float64]
LONGEST = 24  # characters of a tensor's name


def draw_types(figure: Figure, fit: Fitted, ink: str, paper: str) -> None:
    """The maps of a tier and of the tier beside it, with a legend of types."""
    maps = [(fit.tier, fit.types)]
    if fit.like is not None:
        maps.append((fit.like, fit.like_types))
    kinds = {kind for _, types in maps for kind in types.values() if kind in BLOCKS}
    ordered = sorted(kinds, key=bits_per_weight)
    shades = mpl.colormaps["viridis_r"](np.linspace(0.08, 0.95, max(len(ordered), 2)))
    rows, height = rows_of(fit), figure.get_figheight()
    wide = (0.97 - 0.2) / len(maps)
    for number, (title, types) in enumerate(maps):
        inside = (0.2 + number * wide, 1.1 / height, wide - 0.025, 1 - 1.95 / height)
        axes = figure.add_axes(inside)
        axes.set_facecolor(paper)
        grid = _grid(types, rows, ordered)
        axes.pcolormesh(
            grid, cmap=ListedColormap(shades), vmin=-0.5, vmax=len(ordered) - 0.5,
            edgecolors=paper, linewidth=0.4,
        )  # fmt: skip
        _dress(axes, title, rows if not number else [], grid.shape, ink)
    patches = [
        Patch(facecolor=shade, label=kind) for kind, shade in zip(ordered, shades, strict=False)
    ]
    figure.legend(
        handles=patches, loc="lower center", ncols=7, fontsize=9.5, frameon=False,
        labelcolor=ink, handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def _grid(types: Mapping[str, str], rows: Sequence[str], ordered: Sequence[str]) -> Grid:
    """Number of each type, [rows, layers]; what lies outside of layers fills its row."""
    layers = 1 + max((layer_of(name) or 0 for name in types), default=0)
    grid = np.full((len(rows), layers), np.nan)
    for name, kind in types.items():
        inner, layer = inner_name(name), layer_of(name)
        if inner in rows and kind in ordered:
            place = slice(None) if layer is None else layer
            grid[rows.index(inner), place] = ordered.index(kind)
    return np.ma.masked_invalid(grid)


def _dress(axes: Axes, title: str, rows: Sequence[str], shape: tuple[int, ...], ink: str) -> None:
    axes.invert_yaxis()
    axes.set_title(legible(title, LONGEST), fontsize=11.5, color=ink, loc="left", parse_math=False)
    axes.set_yticks(np.arange(len(rows)) + 0.5, [legible(row, LONGEST) for row in rows])
    step = max(1, -(-shape[1] // 10))
    axes.set_xticks(np.arange(0, shape[1], step) + 0.5, [str(n) for n in range(0, shape[1], step)])
    axes.set_xlabel("layer", fontsize=10.5, color=ink)
    axes.tick_params(colors=ink, labelsize=9.5, labelcolor=ink, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
