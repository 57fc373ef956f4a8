"""A card in blocks that the bot owns, so that what people write around them stays.

    <!-- apex-bot: files -->
    ## Available Files
    …
    <!-- /apex-bot: files -->

Every section is a block, named by its heading. A block that somebody emptied stays empty.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

_MARK = re.compile(r"^<!-- (/?)apex-bot: ([a-z0-9-]{1,64}) -->(?:\n|\Z)", re.MULTILINE)
_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_YAML_LIMIT = 65_536  # characters of front matter that are looked at


@dataclass(frozen=True, kw_only=True)
class Block:
    """A named section; text that is nobody's block has no name."""

    name: str | None
    text: str

    def __str__(self) -> str:
        if self.name is None:
            return self.text
        return f"<!-- apex-bot: {self.name} -->\n{self.text}<!-- /apex-bot: {self.name} -->\n"


def marked(card: str) -> str:
    """A rendered card with each of its sections marked as the bot's."""
    front, body = _front(card)
    blocks: list[Block] = []
    for heading, text in _sections(body):
        name = _free(_slug(heading), {block.name for block in blocks})
        blocks.append(Block(name=name, text=text.strip("\n") + "\n\n"))
    return front + "\n" + "\n".join(map(str, blocks))


def merged_card(held: str, new: str) -> str | None:
    """`new` (marked) with what people wrote into `held`; None when `held` has no block of ours.

    People's text stays where it stands between the blocks, their keys stay in the front matter.
    """
    front, body = _front(held)
    held_blocks = list(_blocks(body))
    if not any(block.name for block in held_blocks):
        return None
    new_front, new_body = _front(new)
    new_blocks = [block for block in _blocks(new_body) if block.name]
    new_by_name = {block.name: block for block in new_blocks}
    merged = [
        block if block.name is None or not block.text.strip() else new_by_name[block.name]
        for block in held_blocks
        if block.name is None or not block.text.strip() or block.name in new_by_name
    ]
    for i, block in enumerate(new_blocks):
        names = [held_block.name for held_block in merged]
        if block.name not in names:
            before = new_blocks[i - 1].name if i else None
            merged.insert(names.index(before) + 1 if before in names else 0, block)
    return _merged_front(front, new_front) + "".join(map(str, merged))


def sections(card: str) -> Iterator[tuple[str, str]]:
    """Name and text of each section that is the bot's."""
    _, body = _front(card)
    yield from ((block.name, block.text) for block in _blocks(body) if block.name)


def _front(card: str) -> tuple[str, str]:
    """Front matter with its fences, and what follows."""
    match = _FRONT.match(card)
    return (match[0], card[match.end() :]) if match else ("", card)


def _sections(body: str) -> Iterator[tuple[str, str]]:
    """Heading and text of each section: from one heading of level 2 to the next."""
    heading, lines, fence = "top", list[str](), ""
    for line in body.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        if not fence and line.startswith("## "):
            yield heading, "".join(lines)
            heading, lines = line[3:], []
        lines.append(line)
    yield heading, "".join(lines)


def _slug(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")[:56] or "section"


def _free(name: str, used_names: set[str | None]) -> str:
    number = 1
    while (free_name := name if number == 1 else f"{name}-{number}") in used_names:
        number += 1
    return free_name


def _blocks(body: str) -> Iterator[Block]:
    """All of the body: blocks by their marks, and what stands between them."""
    marks = list(_MARK.finditer(body))
    ends: dict[str, deque[re.Match[str]]] = defaultdict(deque)
    for mark in marks:
        if mark[1]:
            ends[mark[2]].append(mark)
    at = 0
    for mark in marks:
        closing = ends[mark[2]]
        while closing and closing[0].start() < mark.end():
            closing.popleft()
        if mark[1] or mark.start() < at or not closing:
            continue
        if mark.start() > at:
            yield Block(name=None, text=body[at : mark.start()])
        yield Block(name=mark[2], text=body[mark.end() : closing[0].start()])
        at = closing[0].end()
    if at < len(body):
        yield Block(name=None, text=body[at:])


def _merged_front(held: str, new: str) -> str:
    """Our front matter, with the keys and tags that people added to the one that is there."""
    new_data, held_data = _data(new), _data(held)
    added = {key: value for key, value in held_data.items() if key not in new_data}
    tags = [tag for tag in _tags(held_data) if tag not in _tags(new_data)]
    if not added and not tags:
        return new
    both = {**new_data, **added}
    if tags:
        both["tags"] = [*_tags(new_data), *tags]
    return f"---\n{yaml.safe_dump(both, sort_keys=False, allow_unicode=True)}---\n"


def _tags(data: dict[str, Any]) -> list[str]:
    tags = data.get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def front_matter_of(card: str) -> dict[str, Any]:
    """A card's front matter; empty where it is no mapping in YAML."""
    return _data(_front(card)[0])


def _data(front: str) -> dict[str, Any]:
    """The front matter's keys; none where it cannot be read."""
    if len(front) > _YAML_LIMIT:
        return {}
    try:
        data = yaml.safe_load(front.removeprefix("---\n").removesuffix("---\n"))
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
