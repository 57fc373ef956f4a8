"""Plots: deterministic, of the promised size, and their labels free of each other."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from bot.plots.labels import Box, place
from bot.plots.pictures import pictures
from bot.plots.plots import LIGHT, draw_chart
from bot.plots.points import Point, alt_text, front, points
from bot.records.measured import Row, Speed
from bot.records.results import Results
from tests.unit.card.samples import (
    coinciding,
    divergence,
    drawn,
    nine_tiers,
    row,
    with_baselines,
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


def with_speed() -> Results:
    """Baselines, and tokens per second of every row."""
    full = with_baselines()
    speeds = (
        Speed(name="pp512", mean=1900.0, spread=12.0, repetitions=5),
        Speed(name="tg128", mean=62.0, spread=0.4, repetitions=5),
    )

    def fast(timed: Row) -> Row:
        return replace(timed, scores=replace(timed.scores, speed=speeds))

    return replace(
        full,
        reference=fast(full.reference),
        tiers=tuple(map(fast, full.tiers)),
        baselines=tuple(map(fast, full.baselines)),
    )


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


def test_the_alternative_text_holds_the_numbers() -> None:
    assert alt_text(coinciding(), "kld") == (
        "Plot of file size against mean KL divergence from BF16 in nats per token, logarithmic, "
        "lower is better: I-Balanced = I-Quality 5.1 GB, 0.01030 ± 0.00010; "
        "Balanced = Quality 5.1 GB, 0.01170 ± 0.00010."
    )
    assert alt_text(coinciding(), "kl-max").endswith(
        "I-Balanced = I-Quality 4.12; Balanced = Quality 4.68."
    )
    assert "BF16 82.8% (78.8–86.2)" in alt_text(coinciding(), "accuracy")
    assert "tg128: BF16 62.0 ± 0.4; " in alt_text(with_speed(), "speed")


@pytest.mark.parametrize("mean", [None, 0.0, -1e-6])
def test_what_has_no_place_on_a_logarithmic_axis_is_left_out(mean: float | None) -> None:
    tier = row("A", 10**9, divergence(mean, 1e-6, same_top=1.0) if mean is not None else None)
    images, _ = pictures(replace(nine_tiers(), tiers=(tier,)), "plots")
    assert "plots/size-vs-kld.png" not in [picture.light for picture in images]


def test_a_large_error_and_a_single_file_draw(tmp_path: Path) -> None:
    tier = row("A", 5_000_000, divergence(0.01, 0.5))
    images, _ = drawn(replace(nine_tiers(), tiers=(tier,)), tmp_path / "a")
    assert "5.0 MB, 0.01 ± 0.50" in images[0].alt


def test_the_pareto_front() -> None:
    names = [point.label for point in front(points(nine_tiers()))]
    assert names == ["I-Micro", "I-Nano", "I-Mini", "I-Compact", "I-Quality", "I-Balanced"]
    worse = Point(label="large and far", kind="plain", bytes=30_000_000_000, value=0.2, error=0.1)
    assert [p.label for p in front([*points(nine_tiers()), worse])] == names


def test_labels_keep_off_each_other_and_off_markers() -> None:
    frame = Box(0, 0, 1000, 500)
    chance = random.Random(7)  # noqa: S311 - a fixed sequence is what a test wants
    anchors = [(chance.uniform(100, 900), chance.uniform(50, 450)) for _ in range(15)]
    anchors += [(500, 250), (500, 252), (503, 250)]
    marks = [Box(x, y, x, y).grown(8) for x, y in anchors]
    boxes = place(anchors, [(90, 18)] * len(anchors), marks, frame, 14)
    assert all(one.overlap(other) == 0 for one, other in combinations(boxes, 2))
    assert all(box.overlap(mark) == 0 for box in boxes for mark in marks)
    assert all(box.outside(frame) == pytest.approx(0) for box in boxes)
    assert boxes == place(anchors, [(90, 18)] * len(anchors), marks, frame, 14)


def test_a_label_without_room_still_lands() -> None:
    frame = Box(0, 0, 50, 20)
    boxes = place([(25, 10)] * 3, [(60, 18)] * 3, [], frame, 5)
    assert len(boxes) == 3
