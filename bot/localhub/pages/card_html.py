"""A stranger's card as HTML of ours: rendered, cleaned, its front matter as chips, its changes.

GitHub-flavoured Markdown without raw scripts; styles, frames, forms and handlers are taken out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import nh3
from markdown_it import MarkdownIt

from bot.legible import html_text

TAGS = nh3.ALLOWED_TAGS | {"picture", "source"}
ATTRIBUTES = nh3.ALLOWED_ATTRIBUTES | {
    "td": {"align"},
    "th": {"align"},
    "img": {"src", "alt", "title", "width", "height"},
    "source": {"srcset", "media"},
    "details": {"open"},
}
CHIPS = (
    "license", "license_name", "base_model", "base_model_relation", "quantized_by", "library_name",
    "pipeline_tag", "language",
)  # fmt: skip
LINES, LONGEST, TAGGED = 3000, 2000, 40  # of a card that is compared; signs of a line; tags


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def rendered(card: str, repo_id: str, revision: str) -> str:
    """A card's Markdown as clean HTML; relative links lead to the repository's files."""
    html = _markdown().render(card.replace("\0", ""))
    for side in ("left", "center", "right"):  # what Markdown's tables mean, without a style
        html = html.replace(f'style="text-align:{side}"', f'align="{side}"')

    def attribute(tag: str, name: str, value: str) -> str | None:
        if (tag, name) in (("img", "src"), ("a", "href"), ("source", "srcset")):
            return _address(tag, value, repo_id, revision)
        return value

    clean = nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=attribute,
        url_schemes={"http", "https", "mailto", "data"},
        strip_comments=True,
        link_rel="nofollow noopener noreferrer",
    )
    # what is wider than the page is moved with the keyboard as well
    for tag in ("table", "pre"):
        clean = clean.replace(f"<{tag}>", f'<{tag} tabindex="0">')
    return clean


def _address(tag: str, value: str, repo_id: str, revision: str) -> str | None:
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme == "data":
        return value if tag == "img" and value.startswith("data:image/") else None
    if parts.scheme or parts.netloc or value.startswith(("#", "/")):
        return value
    return f"/{repo_id}/resolve/{quote(revision, '')}/{value.removeprefix('./')}"


def chips(facts: Mapping[str, Any]) -> str:
    """What the front matter says, as far as the Hub shows it, and the tags; HTML."""
    data = facts.get("cardData") or {}
    named = [
        f'<span class="tag"><strong>{html_text(key)}</strong> {html_text(value)}</span>'
        for key in CHIPS
        if (value := _chip_text(data.get(key)))
    ]
    shown = {part for key in CHIPS for part in _chip_text(data.get(key)).split(", ")}
    more = [tag for tag in facts["tags"] if tag.rpartition(":")[2] not in shown]
    tags = [f'<span class="tag">{html_text(tag)}</span>' for tag in more[:TAGGED]]
    return f'<div class="chips">{"".join((*named, *tags))}</div>'


def _chip_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(part)[:60] for part in value[:8])
    return str(value)[:120] if isinstance(value, str | int | float) else ""


def difference(old: str, new: str) -> str:
    """Two versions of a card line by line, as HTML; bounded, as both are strangers'."""
    before, after = (_lines(text) for text in (old, new))
    rows = "".join(_changed(before, after))
    if not rows:
        return "<p>The two cards are the same.</p>"
    return f'<div class="wide" tabindex="0"><table class="diff">{rows}</table></div>'


def _lines(text: str) -> list[str]:
    return [line[:LONGEST] for line in re.split(r"\r?\n", text)[:LINES]]


def _changed(before: list[str], after: list[str]) -> Iterator[str]:
    """Rows of a unified difference: sign, line."""
    for line in list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]:
        kind = {"+": "add", "-": "del", "@": "at"}.get(line[0], "same")
        sign = line[0] if kind in ("add", "del") else ""
        text = line if kind == "at" else line[1:]
        spoken = {"add": "added: ", "del": "removed: "}.get(kind, "")
        label = f'<span class="spoken">{spoken}</span>' if spoken else ""
        yield f'<tr class="{kind}"><td>{sign}</td><td>{label}{html_text(text)}</td></tr>'
