"""Strangers' Markdown, taken apart as far as rules need it, in time that grows with its length."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
_TICKS = re.compile(r"`+")
_RULE = re.compile(r"[|:\- \t]+")


def prose(card: str) -> str:
    """The card without fenced and indented code; inline code stays."""
    return "\n".join(_outside(card.splitlines()))


def _outside(lines: list[str]) -> Iterator[str]:
    fence, blank = "", True
    for line in lines:
        fence_match = _FENCE.match(line)
        if fence:
            if fence_match and fence_match[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            continue
        if fence_match:
            fence = fence_match[1]
            continue
        if blank and line.startswith(("    ", "\t")) and line.strip():
            continue  # so that the lines after it are code, too
        blank = not line.strip()
        yield line


def without_code(card: str) -> str:
    """The prose without inline code, whose backticks are paired as CommonMark pairs them."""
    return "\n\n".join(map(_bare, prose(card).split("\n\n")))


def _bare(paragraph: str) -> str:
    runs = [match.span() for match in _TICKS.finditer(paragraph)]
    later: dict[int, deque[int]] = defaultdict(deque)
    for place, (start, end) in enumerate(runs):
        later[end - start].append(place)
    prose_parts, at, place = [], 0, 0
    while place < len(runs):
        start, end = runs[place]
        same = later[end - start]
        while same and same[0] <= place:
            same.popleft()
        if not same:
            place += 1
            continue
        prose_parts.append(paragraph[at:start])
        place = same[0]
        at = runs[place][1]
        place += 1
    return "".join([*prose_parts, paragraph[at:]])


@dataclass(frozen=True)
class Cells:
    """A table of a card: its head and its rows, a text for each cell."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(card: str) -> list[Cells]:
    """Every table outside code."""
    card_tables: list[Cells] = []
    head: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] | None = None
    for line in (*prose(card).splitlines(), ""):
        row = _cells(line)
        if rows is not None and row:
            rows.append(row)
            continue
        if rows is not None:
            card_tables.append(Cells(head, tuple(rows)))
            rows = None
        if row and head and "-" in line and _RULE.fullmatch(line.strip()):
            rows = []
        else:
            head = row
    return card_tables


def _cells(line: str) -> tuple[str, ...]:
    line = line.strip()
    if "|" not in line:
        return ()
    return tuple(cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|"))
