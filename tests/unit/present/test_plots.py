"""The plot: deterministic, of the promised size, and its labels free of each other."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import pytest

from bot.present.labels import Box, place
from bot.present.plots import plot_size_kld
from bot.present.rows import Point, front, points
from tests.unit.present.samples import coinciding, divergence, nine_tiers, row


def _chunks(png: bytes) -> list[bytes]:
    kinds, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kinds.append(png[at + 4 : at + 8])
        at += 12 + length
    return kinds


def test_the_same_numbers_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alt = plot_size_kld(nine_tiers(), tmp_path / "a.png")
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "black")
    assert plot_size_kld(nine_tiers(), tmp_path / "b.png") == alt
    png = (tmp_path / "a.png").read_bytes()
    assert png == (tmp_path / "b.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (1200, 750)
    assert not {b"tEXt", b"iTXt", b"tIME"} & set(_chunks(png))
    assert mpl.rcParams["font.size"] == 30, "the process's own settings stay"


def test_other_numbers_give_another_picture(tmp_path: Path) -> None:
    plot_size_kld(nine_tiers(), tmp_path / "a.png")
    results = nine_tiers()
    plot_size_kld(replace(results, tiers=results.tiers[1:]), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_the_alternative_text_holds_the_numbers(tmp_path: Path) -> None:
    alt = plot_size_kld(coinciding(), tmp_path / "a.png")
    assert alt == (
        "Plot of file size against mean KL divergence from BF16 in nats per token, logarithmic, "
        "lower is better: I-Balanced = I-Quality 5.1 GB, 0.01030 ± 0.00010; "
        "Balanced = Quality 5.1 GB, 0.01170 ± 0.00010."
    )


@pytest.mark.parametrize("name", ["$x^2$ | <b>", "模型 😀", "", "x" * 1_000_000, "\\frac{"])
def test_names_of_strangers_draw(tmp_path: Path, name: str) -> None:
    results = nine_tiers()
    tiers = tuple(replace(tier, name=f"{name}{i}") for i, tier in enumerate(results.tiers))
    model = replace(results.architecture, name=name)
    reference = replace(results.reference, name=name)
    changed = replace(results, release=None, architecture=model, tiers=tiers, reference=reference)
    plot_size_kld(changed, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("mean", [None, 0.0, -1e-6])
def test_nothing_measured_is_said(tmp_path: Path, mean: float | None) -> None:
    tier = row("A", 10**9, divergence(mean, 1e-6, same_top=1.0) if mean is not None else None)
    results = replace(nine_tiers(), tiers=(tier,))
    assert plot_size_kld(results, tmp_path / "a.png").endswith("no tier was measured.")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_large_error_and_a_single_file_draw(tmp_path: Path) -> None:
    tier = row("A", 5_000_000, divergence(0.01, 0.5))
    assert "5.0 MB, 0.01 ± 0.50" in plot_size_kld(
        replace(nine_tiers(), tiers=(tier,)), tmp_path / "a.png"
    )


def test_the_pareto_front() -> None:
    names = [point.label for point in front(points(nine_tiers()))]
    assert names == ["I-Micro", "I-Nano", "I-Mini", "I-Compact", "I-Quality", "I-Balanced"]
    worse = Point(label="large and far", bytes=30_000_000_000, mean=0.2, error=0.1, imatrix=False)
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
