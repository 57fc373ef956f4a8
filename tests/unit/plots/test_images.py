"""What a child drew is a picture and nothing else, or refused."""

from __future__ import annotations

import struct
import zlib

import pytest

from bot.errors import BuildError
from bot.plots.images import require_png, require_svg


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
