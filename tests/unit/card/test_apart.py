"""Cards and plots are made in children: what comes back, what does not, and what it may be.

Strangers' names break a plot at most; a template without an end, or one that fails, is named.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.apart import sandbox
from bot.card import rendering
from bot.card.rendering import CardOrder, render
from bot.errors import BuildError, CapacityError, SettingsError
from bot.plots import pictures
from bot.plots.images import require_png, require_svg
from tests.unit.card.samples import ABOUT, REPO, drawn, files, nine_tiers, rendered

NAMES = (
    "$\\frac{",
    "$x^2$ | <b>",
    "\x00\x1b[31m\x9b",
    "x" * 100_000,
    "\u202eمرحبا שלום",
    "模型 🦊👩‍🚀",
    "",
)


def test_the_child_makes_what_would_be_made_here(tmp_path: Path) -> None:
    """Every name that could break a plot, each on a row of its own: all plots are there."""
    results = nine_tiers()
    tiers = tuple(
        replace(tier, name=f"{NAMES[i % len(NAMES)]}{i}") for i, tier in enumerate(results.tiers)
    )
    model = replace(results.architecture, name=NAMES[0])
    reference = replace(results.reference, name=NAMES[2])
    results = replace(results, release=None, architecture=model, tiers=tiers, reference=reference)
    assert pictures.draw_pictures(results, tmp_path / "child" / "plots") == {}
    _, plot_files = drawn(results, tmp_path / "here" / "plots")
    for path in plot_files:
        assert (tmp_path / "child" / "plots" / path.name).read_bytes() == path.read_bytes()
    values: dict[str, Any] = {"repo_id": REPO, "files": tuple(files(results)), "about": ABOUT}
    assert render(CardOrder(results=results, **values)) == rendered(results, **values)


def test_a_plot_that_breaks_is_left_out_alone(tmp_path: Path) -> None:
    """A number that no axis can show: beyond the largest there is no room for a margin."""
    results = nine_tiers()
    first = results.tiers[0]
    perplexity = first.scores.perplexity
    assert perplexity is not None
    wild = replace(perplexity, value=1.7e308)
    tiers = (replace(first, scores=replace(first.scores, perplexity=wild)), *results.tiers[1:])
    folder = tmp_path / "plots"
    folder.mkdir()
    (folder / "size-vs-ppl.svg").write_text("of an earlier time")
    lacking = pictures.draw_pictures(replace(results, tiers=tiers), folder)
    assert list(lacking) == ["size-vs-ppl"]
    drawn_ones = {"size-vs-kld.svg", "kl-max.svg", "accuracy.svg"}
    assert {path.name for path in folder.glob("*.svg")} == drawn_ones
    assert pictures.lacking_plots(lacking)[0].startswith("without its plot size-vs-ppl: ")


def test_a_child_that_fails_costs_the_plots_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LIMITS", replace(pictures.LIMITS, memory=24 << 20))
    lacking = pictures.draw_pictures(nine_tiers(), tmp_path / "plots")
    assert set(lacking) == {sketch.name for sketch in pictures.drawings_of(nine_tiers())}
    assert not list(tmp_path.rglob("*.png"))


def blocks(folder: Path, text: str) -> CardOrder:
    """An order whose last block is this text."""
    (folder / "credits.md.j2").write_text(text)
    return CardOrder(results=nine_tiers(), repo_id=REPO, files=(), about={}, templates=folder)


def test_a_template_without_an_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "LIMITS", replace(rendering.LIMITS, memory=400 << 20))
    with pytest.raises(BuildError, match="rendering the card failed: MemoryError"):
        render(blocks(tmp_path, "{{ 'a' * 10 ** 10 }}"))


def test_a_template_gives_text_and_no_more(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"credits\.md\.j2, line 1: access to attribute"):
        render(blocks(tmp_path, "{{ results.__class__.__mro__ }}"))
    assert "a[2Jb" in render(blocks(tmp_path, "a\x1b[2J\x07b"))
    with pytest.raises(BuildError, match="larger than 4 MB"):
        render(blocks(tmp_path, "{% for n in range(99999) %}" + "x" * 99 + "\n{% endfor %}"))


def chunk(kind: bytes, body: bytes) -> bytes:
    data = kind + body
    return struct.pack(">I", len(body)) + data + struct.pack(">I", zlib.crc32(data))


def png(width: int = 4, *between: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, 3, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *between, chunk(b"IDAT", b""), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"<svg/>",
        png()[:-1],
        png() + b"more",
        png().replace(b"IDAT", b"IDAX"),
        png(4, chunk(b"tEXt", b"Comment\0<script>")),
        png(4, chunk(b"eXIf", b"")),
        png(99_999),
        png() + bytes(9 << 20),
        png()[:8] + struct.pack(">I", 1 << 31) + b"IHDR",
    ],
    ids=range(11),
)
def test_a_png_is_what_was_asked_for_or_none(content: bytes) -> None:
    require_png(png(), 4, 3)
    with pytest.raises(BuildError, match="the picture"):
        require_png(content, 4, 3)


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink">{}</svg>'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<path onload="alert(1)"/>',
        '<use x:href="https://example.org/a#b"/>',
        '<a href="https://example.org"/>',
        '<image href="data:image/png;base64,AA"/>',
        '<path style="fill: url(https://example.org)"/>',
        '<path style="fill: u\\72l(//example.org)"/>',
        "<style>@import 'x';</style>",
        "<style>*{fill: url(//example.org)}</style>",
        "<foreignObject/>",
        "<?xml-stylesheet href='x'?>",
        "<path>",
        "&lol;",
    ],
)
def test_a_svg_draws_or_is_none(inside: str) -> None:
    good = '<g style="fill: url(#a)"><use x:href="#b"/><style>*{stroke-linecap: butt}</style></g>'
    require_svg(SVG.format(good).encode())
    with pytest.raises(BuildError, match="the picture"):
        require_svg(SVG.format(inside).encode())


def test_a_svg_with_entities_is_none() -> None:
    bomb = '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + SVG.format("&b;")
    with pytest.raises(BuildError, match="the picture"):
        require_svg(bomb.encode())


def test_a_system_without_the_isolation_that_is_asked_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "none")
    with pytest.raises(CapacityError, match="isolation is cell"):
        pictures.draw_pictures(nine_tiers(), tmp_path / "plots", "cell")
    with pytest.raises(CapacityError, match="isolation is cell"):
        render(blocks(tmp_path, "text"), "cell")
