"""A card read back as a reader's browser would: front matter, headings, tables, links, fences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

PICTURE = re.compile(r'<source [^>]*srcset="([^"]*)"><img src="([^"]*)" alt="([^"]*)">')
TAG = re.compile(r"<(/?[a-z]+)")
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@dataclass(frozen=True)
class Page:
    """What a card's Markdown means."""

    front: dict[str, Any]
    headings: list[tuple[str, str]]  # h1, h2 …, and the words
    tables: list[list[list[str]]]  # table, row, cell; the head is the first row
    links: list[str]
    images: list[tuple[str, str]]  # source, alternative text
    pictures: list[tuple[str, str, str]]  # light, dark, alternative text, of the HTML in between
    html: list[str]  # names of its elements
    fences: list[tuple[str, str]]  # language, content
    bullets: list[str]
    kinds: set[str]  # every kind of token that occurs


def read(card: str) -> Page:
    """Parse a whole README.md."""
    assert card.startswith("---\n")
    front, body = card[4:].split("\n---\n", 1)
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
        pictures=_pictures(inline),
        html=[
            name for t in (*tokens, *inline) for name in TAG.findall(t.content) if "html" in t.type
        ],
        fences=[(token.info, token.content) for token in tokens if token.type == "fence"],
        bullets=[words(tokens[i + 2]) for i, t in enumerate(tokens) if t.type == "list_item_open"],
        kinds={token.type for token in (*tokens, *inline)},
    )


def _pictures(inline: list[Token]) -> list[tuple[str, str, str]]:
    html = "".join(token.content for token in inline if token.type == "html_inline")
    return [(light, dark, unescape(alt)) for dark, light, alt in PICTURE.findall(html)]


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
