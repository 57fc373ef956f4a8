"""Words that strangers may write anywhere, and what must not be left of them where people look."""

from __future__ import annotations

import re

# of every kind one, all in one line of a stranger's; `visible` stands where it is to be found
HOSTILE = (
    "visible\x1b[2J\x1b]8;;https://evil.example\x07click\x1b]8;;\x07\x9b31m\x07\x00\x7f"
    "\n::add-mask::visible\n  ::stop-commands::visible\r::error::visible\r\nError: forged"
    "\u2028::warning::visible\u2029\x85##[set-env name=PATH]visible"
    "\u202evisible\u2066\u200b\u200f\ufeff\u00ad\U000e0041\ud800"
    " <https://evil.example|text> [text](https://evil.example) www.evil.example"
    " @everyone <!channel> <@1> #123 a@evil.example javascript:alert(1) <script>alert(1)</script>"
)
# all but the letters and blanks that are seen as themselves; line ends and tabs are looked at apart
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
# actions/runner, ActionCommand.cs: TryParseV2 trims a line's start, TryParse looks anywhere in it
_COMMAND = re.compile(r"(?:^|[\n\r])\s*::|##\[")


def hidden(text: str) -> list[str]:
    """What a reader does not see, or a terminal obeys."""
    return _HIDDEN.findall(text)


def commands(text: str) -> list[str]:
    """What GitHub's runner takes for a command."""
    return _COMMAND.findall(text)
