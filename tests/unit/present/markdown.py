"""A card read back as a reader's browser would: front matter, headings, tables, links, fences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@dataclass(frozen=True)
class Page:
    """What a card's Markdown means."""

    front: dict[str, Any]
    headings: list[tuple[str, str]]  # h1, h2 …, and the words
    tables: list[list[list[str]]]  # table, row, cell; the head is the first row
    links: list[str]
    images: list[tuple[str, str]]  # source, alternative text
    fences: list[tuple[str, str]]  # language, content
    bullets: list[str]
    kinds: set[str]  # every kind of token that occurs


def read(card: str) -> Page:
    """Parse a whole README.md."""
    empty, front, body = card.split("---\n", 2)
    assert empty == ""
    tokens = PARSER.parse(body)
    inline = [child for token in tokens for child in token.children or ()]
    return Page(
        front=yaml.safe_load(front),
        headings=[
            (token.tag, words(tokens[i + 1]))
            for i, token in enumerate(tokens)
            if token.type == "heading_open"
        ],
        tables=_tables(tokens),
        links=[str(t.attrs["href"]) for t in inline if t.type == "link_open"],
        images=[(str(t.attrs["src"]), words(t)) for t in inline if t.type == "image"],
        fences=[(token.info, token.content) for token in tokens if token.type == "fence"],
        bullets=[words(tokens[i + 2]) for i, t in enumerate(tokens) if t.type == "list_item_open"],
        kinds={token.type for token in (*tokens, *inline)},
    )


def words(token: Token) -> str:
    """An inline token's visible text."""
    return "".join(child.content for child in token.children or ())


def _tables(tokens: list[Token]) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("td_open", "th_open"):
            tables[-1][-1].append(words(tokens[i + 1]))
    return tables
