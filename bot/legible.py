"""Text of strangers as people may see it: the one cleaner of all that is printed, sent or kept.

`legible` makes one line of anything, `legible_block` keeps its lines, `legible_json` writes JSON
that says the same with nothing hidden; `Defused` is what stands before a stream. What one place
alone obeys is escaped on top of it: chats and code spans here, Markdown in wording/escape.py.
"""

from __future__ import annotations

import json
import re
import unicodedata
from html import escape
from typing import Any

LONGEST = 4_000  # letters of a line
UNSHOWN = "\N{REPLACEMENT CHARACTER}"  # for what has no shape: surrogates, letters of nobody

# what terminals obey: ECMA-48, 5.4 (control sequences), 5.6 (strings), ECMA-35 (other escapes)
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n\r]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]{0,8}[0-~]"
)
# shown as nothing though they are letters or marks: fillers, selectors, blanks
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f"
    "\U000e0000-\U000e0fff]"
)
# marks that stand above or below: many of them run over the lines around
_MARKS = "\u0300-\u036f\u0483-\u0489\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff"
_MARKS += "\u20d0-\u20ff\ufe20-\ufe2f"
_STACKED = re.compile(f"([{_MARKS}]{{3}})[{_MARKS}]+")
_HIDDEN = re.compile(r"[^\x20-\x7e\n]")  # in JSON: perhaps; the rest is looked at one by one
# GitHub's runner, ActionCommand.cs: v2 where a line's trimmed start is ::, v1 wherever ##[ stands
_COMMAND_2 = re.compile(r"^([^\S\n]*):(?=:)", re.MULTILINE)
_COMMAND_1 = re.compile(r"##(?=\[)")


def legible(text: object, most: int = LONGEST, *, end: bool = False) -> str:
    """One line that shows all of its letters: at most `most`, the first of them or the last.

    Sequences that terminals obey, marks of direction and what is seen as nothing go; other
    controls, line ends and runs of blanks are one blank; what has no shape is shown as `UNSHOWN`.
    """
    full_text = str(text)
    part = full_text[-4 * most :] if end else full_text[: 4 * most]
    line = " ".join(legible_flat(part).split())
    if len(line) <= most:
        return line
    return f"…{line[1 - most :].lstrip()}" if end else f"{line[: most - 1].rstrip()}…"


def legible_flat(text: str) -> str:
    """As `legible`, whole and with every blank: for lines whose columns are ours."""
    return _shown(text, "")


def legible_block(text: str) -> str:
    """As `legible`, whole and with its lines, blanks and tabs."""
    return _shown(text, "\n\t")


def _shown(text: str, controls: str) -> str:
    if text.isascii() and text.translate(dict.fromkeys(map(ord, controls))).isprintable():
        return text
    plain = _BLANK.sub("", _SEQUENCE.sub("", text))
    return _STACKED.sub(r"\1", "".join(_visible(sign, controls) for sign in plain))


def _visible(sign: str, controls: str) -> str:
    if sign in controls or sign.isprintable():
        return sign
    match unicodedata.category(sign):
        case "Cf":
            return ""
        case "Cs" | "Cn" | "Co":
            return UNSHOWN
        case _:  # controls, ends of lines and paragraphs, blanks of other widths
            return " "


def legible_json(value: Any, indent: int | None = None) -> str:
    """JSON of plain values, with \\u for every character that would not be seen as itself.

    Raises ValueError for numbers that JSON lacks: infinity, and what is none.
    """
    json_text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    if json_text.isascii() and "\x7f" not in json_text and "##[" not in json_text:
        return json_text
    return _COMMAND_1.sub(r"#\\u0023", _HIDDEN.sub(lambda found: _named(found[0]), json_text))


def _named(sign: str) -> str:
    if sign.isprintable() and not _BLANK.match(sign):
        return sign
    return json.dumps(sign)[1:-1]


def code_span(text: object, most: int = 200) -> str:
    """Words as code of Markdown: they mention nobody, link nowhere and tick nothing."""
    return f"`{legible(text, most).replace('`', chr(39)) or '-'}`"


def chat_words(text: object, most: int) -> str:
    """Words for Slack or Discord, as code, and without an address that a chat would open."""
    return code_span(legible(text, most).replace("://", ": //"), most + 100)


def html_text(text: str) -> str:
    """Words for a page or an attribute of one."""
    return escape(legible_flat(text))


def defused(text: str) -> str:
    """Lines in which a runner of GitHub's finds no workflow command."""
    return _COMMAND_1.sub("## ", _COMMAND_2.sub(r"\1: ", text))


class Defused:
    """Cleans what is written to one stream piece by piece; a command may come in pieces, too."""

    def __init__(self) -> None:
        self._before = ""  # of the line that is being written: all that may begin a command

    def __call__(self, text: str) -> str:
        """The piece as it may be written."""
        begun = self._before
        defused_text = defused(begun + legible_block(text))
        line = defused_text.rpartition("\n")[2]
        self._before = line.lstrip() if len(line.lstrip()) < 2 else f"x{line[-2:]}"
        return defused_text[len(begun) :]
