"""Whether a file is the picture it should be, before it is published: PNG and SVG, bounded.

Whoever drew it read names that strangers chose: an SVG with a script, an address or an element that
ours never have is refused.
PNG: W3C, Portable Network Graphics, 5.2 to 5.4 and 11.2; SVG: what matplotlib's backend writes.
"""

from __future__ import annotations

import struct
import zlib
from xml.parsers import expat

from bot.errors import BuildError

LARGEST = 8 << 20  # bytes; the largest drawn of 200 rows has a tenth of it
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"pHYs", b"tRNS", b"sBIT", b"gAMA", b"IEND"}
STYLE = frozenset(" \n\t*{}:;-abcdefghijklmnopqrstuvwxyz")  # no address can be written with it
ELEMENTS = {
    *("svg", "g", "defs", "path", "use", "rect", "text", "clipPath", "metadata", "style"),
    *("RDF", "Work", "type", "format", "creator", "Agent", "title", "date"),
}


def require_png(content: bytes, width: int, height: int) -> None:
    """Raise BuildError unless `content` is one PNG of this size, to a pixel, and nothing more."""
    if len(content) > LARGEST or not content.startswith(SIGNATURE):
        raise BuildError("the picture is no PNG, or too large")
    kinds = list(_chunks(content))
    if [kinds[0], kinds[-1]] != [b"IHDR", b"IEND"] or not CHUNKS.issuperset(kinds):
        _refuse()
    wide, tall = struct.unpack_from(">II", content, 16)
    if max(abs(wide - width), abs(tall - height)) > 1:
        raise BuildError(f"the picture is not of {width} × {height} pixels")


def _chunks(content: bytes) -> list[bytes]:
    """The kinds of chunks; their lengths and checksums hold."""
    kinds, at = [], len(SIGNATURE)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 12 + length
        body = content[at + 4 : end - 4]
        if end > len(content) or struct.unpack_from(">I", content, end - 4)[0] != zlib.crc32(body):
            break
        kinds.append(body[:4])
        at = end
    if at != len(content) or not kinds:
        raise BuildError("the picture is damaged")
    return kinds


def require_svg(content: bytes) -> None:
    """Raise BuildError unless `content` draws, and does nothing else: no script, no address."""
    if len(content) > LARGEST:
        raise BuildError("the picture is too large")
    styles: list[str] = []
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        _require_drawing(name.rpartition(" ")[2], attributes)
        parser.CharacterDataHandler = styles.append if name.endswith(" style") else None

    def end(_name: str) -> None:
        parser.CharacterDataHandler = None

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler = parser.ProcessingInstructionHandler = _refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise BuildError("the picture is no SVG") from error
    if not STYLE.issuperset("".join(styles)):
        _refuse()


def _require_drawing(name: str, attributes: dict[str, str]) -> None:
    if name not in ELEMENTS:
        _refuse()
    for key, value in attributes.items():
        word = key.rpartition(" ")[2].lower()
        leads = word in ("href", "src") and not value.startswith("#")
        called = "url(" in value.lower().replace("url(#", "") or "\\" in value
        if leads or called or word.startswith("on"):
            raise BuildError("the picture leads out of itself")


def _refuse(*_given: object) -> None:
    raise BuildError("the picture holds what none of ours does")
