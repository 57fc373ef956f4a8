"""Text of strangers made harmless for its place: Markdown, a link, a code span, a shell line.

Templates escape by default: `finalize` turns every printed value into Markdown text unless a
filter has already made it `Verbatim` for its place.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any
from urllib.parse import quote, urlsplit

from bot.legible import code_span, legible

LIMIT = 200

# all that can open a construct in CommonMark or GFM: autolinks, tables and math too
_MARKDOWN = {ord(sign): f"\\{sign}" for sign in "\\`*[]|#!~@$"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
}
_UNDERLINE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # within a word it opens nothing
_AT = re.compile(r"@(?=\w)")  # GFM makes links of mail addresses however @ is escaped
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
_LINE_START = re.compile(r"[-+=]|\d{1,9}(?=[.)](?:\s|$))")  # a list, or a heading's underline
_HTML = {ord(sign): f"&#{ord(sign)};" for sign in "<>&\"'`\\"}


class Verbatim(str):
    """Markdown that is ready for its place; whatever is made of it is plain text again."""

    __slots__ = ()


def escaped_text(value: object, limit: int = LIMIT) -> Verbatim:
    """Markdown that shows `value` and nothing else, inline or in a table cell."""
    if isinstance(value, Verbatim):
        return value
    line = _AT.sub("@ ", legible(value, limit))
    start = _LINE_START.match(line)
    escaped = _ADDRESS.sub(r"\\\g<0>", _UNDERLINE.sub(r"\\_", line.translate(_MARKDOWN)))
    if start:
        head = start[0]
        rest = escaped[len(head) :]
        escaped = f"{head}\\{rest}" if head.isdigit() else f"\\{head}{rest}"
    return Verbatim(escaped)


def code_cell(value: object) -> Verbatim:
    """A code span for a table too, whose cell a pipe would end; empty for what has no letters."""
    line = legible(value, LIMIT)
    return Verbatim(code_span(line, LIMIT).replace("|", "¦") if line else "")


def url(value: object) -> Verbatim:
    """An absolute http(s) address for a link's target; `#` for anything else."""
    line = legible(value, 2000)
    try:
        parts = urlsplit(line)
    except ValueError:
        return Verbatim("#")
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc:
        return Verbatim("#")
    return Verbatim(quote(line, safe=":/?#@!$&'*+,;=%-._~"))


def path(value: object) -> Verbatim:
    """A file of this repository as a link's target."""
    return Verbatim(quote(legible(value, 1000).lstrip("/"), safe="/"))


def link(label: object, target: Verbatim) -> Verbatim:
    """A Markdown link; `target` comes from `url` or `path`."""
    return Verbatim(f"[{escaped_text(label)}]({target})")


def attribute(value: object) -> Verbatim:
    """A double-quoted attribute's value in inline HTML, plain whatever filter came before."""
    plain = legible(value, 4000)
    return Verbatim(plain.translate(_HTML))


def verbatim(value: object) -> Verbatim:
    """A line within a fenced block whose parts are quoted for its language already."""
    line = str(value)
    indent = len(line) - len(line.lstrip(" "))
    return Verbatim(" " * min(indent, 40) + legible(line, 8000))


def shell(value: object) -> Verbatim:
    """One word of a shell command within a fenced block."""
    return Verbatim(shlex.quote(legible(value, 1000)))


def literal(value: object) -> Verbatim:
    """A Python string literal within a fenced block."""
    return Verbatim(json.dumps(legible(value, 1000), ensure_ascii=False))


def finalize(value: Any) -> Verbatim:
    """What Jinja prints for a value that no filter has prepared: its text, escaped."""
    return escaped_text(value)
