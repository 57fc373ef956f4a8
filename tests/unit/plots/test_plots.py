"""Plots: deterministic, of the promised size, and their labels free of each other."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from bot.plots.pictures import pictures
from bot.plots.plots import LIGHT, draw_chart
from bot.plots.points import Point
from tests.unit.card.samples import (
    divergence,
    drawn,
    nine_tiers,
    row,
    with_speed,
)


def _chunks(png: bytes) -> list[bytes]:
    kinds, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kinds.append(png[at + 4 : at + 8])
        at += 12 + length
    return kinds


def _written(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("ratio", [1, 1.001, 1.3, 2, 4, 4.9, 5.1, 8, 60, 1e4])
def test_a_logarithmic_axis_has_numbers_to_read_it_by(ratio: float) -> None:
    three_points = [
        Point(label=str(i), kind="plain", bytes=10**9, value=0.304 * ratio**i) for i in (0, 0.5, 1)
    ]
    axes = Figure().add_subplot()
    draw_chart(axes, LIGHT, three_points, [p.label for p in three_points], logarithmic=True)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert len(ticks) >= 2, ticks
    assert low < min(p.value for p in three_points)
    assert high > max(p.value for p in three_points)


@pytest.mark.road
def test_the_same_numbers_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, files = drawn(with_speed(), tmp_path / "plots")
    names = ("size-vs-kld", "size-vs-ppl", "kl-max", "accuracy", "speed")
    assert [picture.light for picture in images] == [f"plots/{name}.png" for name in names]
    first = _written(tmp_path / "plots")
    assert set(first) == {f"{n}{end}" for n in names for end in (".png", "-dark.png", ".svg")}
    assert {file.name for file in files} == set(first)
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "black")
    drawn(with_speed(), tmp_path / "again" / "plots")
    assert _written(tmp_path / "again" / "plots") == first
    assert mpl.rcParams["font.size"] == 30, "the process's own settings stay"
    assert pictures(with_speed(), "plots") == (
        images,
        [f"plots/{n}{end}" for n in names for end in (".png", "-dark.png", ".svg")],
    )
    png = first["size-vs-kld.png"]
    assert struct.unpack(">II", png[16:24]) == (1200, 750)
    assert not {b"tEXt", b"iTXt", b"tIME"} & set(_chunks(png))
    assert first["size-vs-kld-dark.png"] != png
    assert b"<svg" in first["speed.svg"]
    assert b"<dc:date>" not in first["speed.svg"]


@pytest.mark.road
def test_other_numbers_give_another_picture(tmp_path: Path) -> None:
    results = nine_tiers()
    drawn(results, tmp_path / "a")
    drawn(replace(results, tiers=results.tiers[1:]), tmp_path / "b")
    before, after = _written(tmp_path / "a"), _written(tmp_path / "b")
    assert set(before) == set(after)
    assert all(before[name] != after[name] for name in before)


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    bare = row("A", 10**9, None)
    bare = replace(bare, scores=replace(bare.scores, choices=()))
    reference = replace(nine_tiers().reference, scores=bare.scores)
    images, _ = drawn(replace(nine_tiers(), reference=reference, tiers=(bare,)), tmp_path / "a")
    assert [picture.light for picture in images] == ["a/size-vs-ppl.png"]


def test_a_large_error_and_a_single_file_draw(tmp_path: Path) -> None:
    tier = row("A", 5_000_000, divergence(0.01, 0.5))
    images, _ = drawn(replace(nine_tiers(), tiers=(tier,)), tmp_path / "a")
    assert "5.0 MB, 0.01 ± 0.50" in images[0].alt
