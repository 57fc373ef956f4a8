"""What strangers wrote shows as text and opens nothing, whatever it is."""

from __future__ import annotations

import ast
import random
import re
import shlex
import unicodedata

import pytest

from bot.legible import legible
from bot.wording import escape
from tests.unit.card.markdown import PARSER, words

SIGNS = [
    *"ab 1.-+=)(\\`*_[]{}<>|#!&;:/'\"~@$%\n\t\r\0",
    "---",
    "```",
    "](http://x)",
    "<b>",
    "&lt;",
    "&#124;",
    "{{7*7}}",
    "https://x.y",
    "\u202e",
    "\u200d",
    "\u2028",
    "\x1b[31m",
    "é",
    "漢",
]


def _hostile(seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311 - a fixed sequence is what a test wants
    return "".join(chance.choices(SIGNS, k=chance.randint(1, 30)))


def _plain(value: str) -> str:
    """What is shown: a letter after @ is kept from it, or GFM would make a link."""
    return re.sub(r"@(?=\w)", "@ ", legible(value, escape.LIMIT))


@pytest.mark.parametrize("seed", range(300))
def test_text_shows_itself_and_nothing_else(seed: int) -> None:
    value = _hostile(seed)
    text = _plain(value)
    tokens = PARSER.parse(escape.escaped_text(value))
    if not text:
        assert tokens == []
        return
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children or ()} <= {"text", "text_special"}
    assert words(tokens[1]) == text


@pytest.mark.parametrize("seed", range(100))
def test_a_table_keeps_its_columns(seed: int) -> None:
    value = _hostile(seed)
    cells = (
        escape.escaped_text(value),
        escape.code_cell(value),
        escape.link(value, escape.path(value)),
    )
    line = f"| {' | '.join(cells)} |"
    tokens = PARSER.parse(f"| a | b | c |\n| - | - | - |\n{line}\n")
    texts = [words(tokens[i + 1]) for i, t in enumerate(tokens) if t.type == "td_open"]
    assert len(texts) == 3
    assert texts[0] == texts[2] == _plain(value)
    assert texts[1] == legible(value, escape.LIMIT).replace("`", "'").replace("|", "¦")


def test_clean_bounds_and_flattens() -> None:
    assert legible("a\r\n\tb\u202ec\x00d") == "a bc d"
    assert len(legible("x" * 10_000_000, escape.LIMIT)) == 200
    assert legible("x" * 10_000_000, escape.LIMIT).endswith("x…")
    kinds = {unicodedata.category(sign) for sign in legible("".join(SIGNS) * 3, 500)}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("https://a.example/b?c=d#e", "https://a.example/b?c=d#e"),
        ("https://a.example/(x) [y]<z>|`", "https://a.example/%28x%29%20%5By%5D%3Cz%3E%7C%60"),
        ("javascript:alert(1)", "#"),
        ("JaVaScRiPt://a.example/%0aalert(1)", "#"),
        ("data:text/html,x", "#"),
        ("//a.example", "#"),
        ("https:", "#"),
        ("http://[", "#"),
    ],
)
def test_only_web_addresses_become_links(value: str, target: str) -> None:
    assert escape.url(value) == target


def test_a_path_never_becomes_an_address() -> None:
    assert escape.path("a b/c(1).gguf") == "a%20b/c%281%29.gguf"
    assert escape.path("javascript:alert(1)") == "javascript%3Aalert%281%29"


@pytest.mark.parametrize("seed", range(50))
def test_shell_words_and_literals_hold_their_value(seed: int) -> None:
    value = _hostile(seed)
    assert shlex.split(escape.shell(value)) == [legible(value, 1000)]
    assert ast.literal_eval(escape.literal(value)) == legible(value, 1000)
    assert "\n" not in escape.shell(value) + escape.literal(value)


def test_what_is_made_of_prepared_text_is_escaped_again() -> None:
    prepared = escape.escaped_text("a|b")
    assert escape.finalize(prepared) == r"a\|b"
    assert escape.finalize(prepared + "<b>") == r"a\\\|b&lt;b&gt;"
