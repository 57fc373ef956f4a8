"""One cleaner for all that people see: nothing hidden, nothing that terminals or runners obey."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from itertools import pairwise

import pytest

from bot import secrecy
from bot.errors import SourceError
from bot.legible import (
    Defused,
    chat_words,
    code_span,
    html_text,
    legible,
    legible_block,
    legible_flat,
    legible_json,
)
from bot.progress import Narrator
from bot.records.releases import Release, Skip
from tests.hostile import HOSTILE, commands, hidden


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain words", "plain words"),
        ("a\r\nb\x0bc\x0cd\x85e\u2028f\u2029g", "a b c d e f g"),
        ("\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H", "red"),
        ("\x9b31mred\x9b0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "alink"),
        ("\x1bcgone", "gone"),
        ("cut \x1b[", "cut"),
        ("cut \x1b]8;;https://evil", "cut 8;;https://evil"),
        ("a\x00b\x7fc", "a b c"),
        ("\u202egnp.exe\u202c \u2066x\u2069 \u200ey\u200f\u061c", "gnp.exe x y"),
        ("ad\u200bm\u200cin\u2060\ufeff\u00ad\u180e\u3164\u115f\u2800\u034f", "admin"),
        ("tag\U000e0041\U000e0042 \ufe0f\U000e0101", "tag"),
        ("\ud83d \udcff", "\ufffd \ufffd"),
        ("\U0010fffe \ue000", "\ufffd \ufffd"),
        ("e\u0301" + "\u0301" * 500 + "!", "e\u0301\u0301\u0301!"),
        ("a\u00a0\u3000b", "a b"),
        ("日本語 Ünïcödé, µ ≤ 2 × 3 …", "日本語 Ünïcödé, µ ≤ 2 × 3 …"),
    ],
)
def test_a_line_shows_what_it_holds(text: str, line: str) -> None:
    assert legible(text) == line


def test_every_letter_of_unicode_is_shown_or_gone() -> None:
    text = legible_flat("".join(map(chr, range(0x110000))))
    assert {unicodedata.category(sign) for sign in text if sign != " "}.isdisjoint(
        {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
    )


def test_a_line_is_bounded_from_either_end() -> None:
    assert legible("x" * 10_000_000, 5) == "xxxx…"
    assert legible("x" * 10_000_000 + "end", 5, end=True) == "…xend"
    assert legible(12, 5) == "12"


def test_lines_stay_lines_where_they_are_ours() -> None:
    assert legible_block("a\tb\n  c\r\x1b[1m d\n") == "a\tb\n  c  d\n"
    assert legible_flat("ok    a  b") == "ok    a  b"


def test_json_says_the_same_with_nothing_hidden() -> None:
    value = {"a": HOSTILE, "ü\u202e": ["日本", "\x7f\x9b", {"##[x]": "##[add-mask]y"}]}
    json_text = legible_json(value)
    assert json.loads(json_text) == value
    assert not hidden(json_text)
    assert not commands(json_text)
    assert "日本" in json_text
    assert json.loads(legible_json(value, 2)) == value
    with pytest.raises(ValueError, match="JSON"):
        legible_json(float("nan"))


# ── streams ─────────────────────────────────────────────────────────────────────────────────────


WORKFLOW = [
    "::add-mask::x",
    "  \t::set-output name=a::b",
    "::stop-commands::t",
    "a\n::error::x",
    "a\r::error::x",
    "a\r\n \u3000::error::x",
    "a\x85::error::x",
    "a\u2028::error::x",
    "\x1b[0m::error::x",
    "\u200b::error::x",
    "\x1b]0;t\x07::warning::x",
    ":\x00:error::x",
    ":\u200b:error::x",
    "##[add-mask]x",
    "Error: words ##[set-env name=PATH]x",
    "#\u200b#[group]x",
    ":::error::x",
]


@pytest.mark.parametrize("text", WORKFLOW)
def test_no_stream_holds_a_workflow_command_however_it_is_cut(text: str) -> None:
    for cuts in ([len(text)], range(1, len(text) + 1), [1], [2], [3]):
        out, defused = io.StringIO(), Defused()
        for start, stop in pairwise([0, *cuts, len(text)]):
            out.write(defused(text[start:stop]))
        out.write(defused("\n"))
        assert not commands(out.getvalue())
        assert not hidden(out.getvalue())


def test_what_a_stream_says_stays_as_it_was_where_nothing_obeys_it() -> None:
    defused = Defused()
    text = 'std::vector\n a :: b ::c\n# title ## more\n{\n  "a": "::"\n}\nç – ü\n'
    assert "".join(map(defused, text)) == text
    assert defused(text) == text


def _printed(program: str, **environment: str) -> tuple[bytes, bytes]:
    """What a program prints after `secrecy.hide_secrets()`, in bytes."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; from bot import secrecy; secrecy.hide_secrets(); {program}",
        ],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("locale", [{}, {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}])
def test_nothing_that_a_process_prints_is_obeyed(locale: dict[str, str]) -> None:
    program = (
        f"import click, logging, warnings; text = {HOSTILE!r};"
        "click.echo(text); click.echo(text, err=True); print(text); print(text, file=sys.stderr);"
        "logging.getLogger('x').warning('said %s', text); warnings.warn(text);"
        "sys.stdout.writelines([text]); raise ValueError(text)"
    )
    for stream in _printed(program, **locale):
        text = stream.decode()
        assert text.count("visible") > 2
        assert not hidden(text)
        assert not commands(text)


def test_a_stream_for_latin_letters_alone_takes_all() -> None:
    out, _ = _printed("print('a ü 日'); print('b')", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert out == b"a \xfc \\u65e5\nb\n"


def test_a_log_of_a_library_takes_one_line() -> None:
    _, err = _printed("import logging; logging.getLogger('x').warning('%s', 'a\\nError: b')")
    assert err == b"a Error: b\n"


# ── where text becomes text ─────────────────────────────────────────────────────────────────────


def test_errors_and_reasons_take_one_line() -> None:
    for text in (str(SourceError(HOSTILE)), f"{SourceError(HOSTILE)}"):
        assert not hidden(text)
        assert "\n" not in text
    reason = Skip(release=Release(repo_id="a/b", commit=""), reason=HOSTILE).reason
    assert not hidden(reason)
    assert "\n" not in reason


@pytest.mark.parametrize("events", [False, True])
def test_narration_takes_one_line(events: bool) -> None:
    out = io.StringIO()
    narrator = Narrator(out, events=events)
    narrator.say(HOSTILE)
    with narrator.work(HOSTILE) as report:
        report(1, 2, HOSTILE)
    lines = out.getvalue().splitlines()
    assert len(lines) >= 3
    assert not hidden("".join(lines))
    assert all("visible" in line for line in lines)


def test_code_and_chats_show_words_that_do_nothing() -> None:
    assert code_span("a `b` [c](d)\n@e #1") == "`a 'b' [c](d) @e #1`"
    assert code_span("\u202e") == "`-`"
    assert chat_words("see https://evil", 50) == "`see https: //evil`"
    assert html_text('<a href="\u202e">') == "&lt;a href=&quot;&quot;&gt;"


def test_no_module_cleans_by_itself() -> None:
    """Who joins what is printable has a cleaner of its own; ask `legible`."""
    root = secrecy.__file__.rpartition("/")[0]
    lines = subprocess.run(
        ["grep", "-rnE", r"join\(.*isprintable|re\.escape\(.x1b|errors=.surrogateescape", root],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert re.sub(r".*legible\.py.*\n", "", lines) == ""
