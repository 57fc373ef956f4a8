"""What strangers write into names, licences and configs changes no structure of a card."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bot.legible import legible
from bot.plots.pictures import Picture
from bot.records.coding import dump, load_record
from bot.records.measured import Imported
from bot.records.results import Results
from tests.unit.card.markdown import Page, read
from tests.unit.card.samples import ABOUT, REPO, files, rendered, with_baselines

COUNT, QUICK = 300, 100  # cards; those of the short run
COMMANDS = {"Run with", "LocalAI", "llama.cpp", "Ollama", "LM Studio", "llama-cpp-python"}
# of the front matter, where a value is none that the Hub would take
REFUSED = {
    *("license", "license_link", "language", "base_model", "pipeline_tag", "quantized_by"),
    "model-index",
}
MADE = [
    "a | b | c",
    "`code` ```",
    "\n---\nlicense: mit\n---\n",
    "\n\n## Free Files\n\n| x |\n|---|\n",
    "<script>alert(1)</script><!-- ",
    "</details></picture></td><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "]( javascript:alert(1) ) ![x](y)",
    "line\r\nline\u2028line\x85line",
    "{{ 7*7 }}{% include '/etc/passwd' %}{# gone #}",
    "{{ ''.__class__.__mro__ }}",
    "safe\u202egnp.fugg\u2066",
    "\u200f\u202b\u2067 عربي \u061c",
    "x" * 10_000_000,
    "|" * 10_000_000,
    "\n" * 10_000_000,
    "\u202e" * 10_000_000,
    "'; rm -rf ~; '",
    "$(reboot) && \\",
    '"""\nimport os\n"""',
    "*bold* _it_ ~~gone~~ [l](http://x) <http://x>",
    "&lt;b&gt; &#60;b&#62;",
    "- item",
    "1. item",
    "# head",
    "    indented",
    "> quote",
    "===",
    "| --- |",
    "[a]: http://x",
    "!!python/object/apply:os.system [ls]",
    "*alias &anchor",
    "{a: b}",
    "'no': yes",
    "\x00\x07\x1b[2J",
    "\ufeff",
    "",
    "\ud83d\ude00 \ud800",
    "../../../etc/passwd",
    "~~~\n",
]
PARTS = [
    *"ab 1.-+=)(\\`*_[]{}<>|#!&;:/'\"~@$%\n\t\r\0,?^",
    *("---", "```", "](http://x)", "<b>", "&lt;", "{{", "}}", "{%", "%}", "{#", "https://x.y"),
    *("\u202e", "\u2066", "\u200d", "\u2028", "\x1b[31m", "é", "漢", "<!--", "-->", "|\n|", ": "),
    *("</", "<td>", "\n\n", "    ", "\n# ", "\n- ", "\n```\n", "!!", "&a ", "*a ", "\n---\n"),
]


def _hostile(seed: int) -> str:
    if seed < len(MADE):
        return MADE[seed]
    chance = random.Random(seed)  # noqa: S311 - a fixed sequence is what a test wants
    return "".join(chance.choices(PARTS, k=chance.randint(1, 40)))


def _poisoned(value: Any, poison: str, key: str = "") -> Any:
    """A dumped record with every string replaced, but for those that link rows and layers."""
    match value:
        case dict():
            return {name: _poisoned(part, poison, name) for name, part in value.items()}
        case list() if key == "attention":
            return value
        case list():
            return [_poisoned(part, poison, key) for part in value]
        case str() if key in ("kind", "finished"):
            return value
        case str() if key not in ("name", "file"):
            return poison
        case str():
            return poison + value
        case _:
            return value


def _results() -> Results:
    """A few rows of each kind, so that 300 cards are soon rendered."""
    full = with_baselines()
    stranger = Imported(
        name="X", origin="Y", bytes=9_000_000_000, kld={"mean": 0.1}, perplexity=7.0
    )
    return replace(full, tiers=full.tiers[:2], imported=(stranger,))


def _page(results: Results, poison: str = "") -> tuple[str, Page]:
    sample = _results()
    # plots are known by their folder and are in no table
    named = [file for file in files(sample) if not file.path.startswith("plots/")]
    listed = [replace(file, path=poison + file.path) for file in named]
    if poison:
        listed = [replace(f, tier=poison, sha256="0" + poison, note=poison) for f in listed]
    plot = Picture(light=poison or "a.png", dark=poison or "b.png", alt=poison or "c")
    card = rendered(
        results,
        repo_id=poison or REPO,
        files=listed,
        about={poison + name: poison or "x" for name in ABOUT},
        plots=[plot, replace(plot, dark=None)],
        quantized_by=poison or "someone",
    )
    return card, read(card)


@pytest.fixture(scope="module")
def good() -> Page:
    """The card of well-meaning people."""
    return _page(_results())[1]


def _left(part: Sequence[Any], all_members: Sequence[Any]) -> bool:
    """Whether `given` is `whole` without some of its members, in the same order."""
    rest = iter(all_members)
    return all(any(member == other for other in rest) for member in part)


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=() if n < QUICK else pytest.mark.long) for n in range(COUNT)]
)
def test_structure_stays(seed: int, good: Page) -> None:
    poison = _hostile(seed)
    card, page = _page(load_record(Results, _poisoned(dump(_results()), poison)), poison)
    # Ollama and LocalAI take fewer names than a command line
    apart = {"h1", "Ollama", "LocalAI"}
    blocks = [name for name in good.headings if not apart & {*name}]
    if legible(poison + "x.gguf", 1000) == poison + "x.gguf" and len(poison) < 200:
        assert [name for name in page.headings if not apart & {*name}] == blocks
    else:  # a name that no command line could say: there are no commands, but all else
        assert _left([name for name in page.headings if not apart & {*name}], blocks)
        missing = {name for _, name in blocks} - {name for _, name in page.headings}
        assert missing <= COMMANDS
    assert set(page.front) <= {*good.front, "license_name"}
    assert {*good.front} - set(page.front) <= REFUSED
    assert page.front["tags"][:5] == good.front["tags"][:5]
    assert [[len(line) for line in table] for table in page.tables] == [
        [len(line) for line in table] for table in good.tables
    ]
    assert _left(
        [language for language, _ in page.fences], [language for language, _ in good.fences]
    )
    lines = [text.count("\n") for _, text in page.fences]
    assert _left(lines, [text.count("\n") for _, text in good.fences])
    assert page.html == good.html
    assert len(page.pictures) == len(page.images) == 1
    # tiers whose names no longer begin with I- have no partner to be compared with
    assert len(good.bullets) - len(page.bullets) in (0, 1)
    assert page.kinds <= good.kinds | {"text_special"}
    assert all(re.match(r"https://|#$|(?![\w+.-]+:|/)", link) for link in page.links)
    assert len(card) < 200_000
    assert "49" not in page.headings[0][1]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]", card)
    card.encode()
