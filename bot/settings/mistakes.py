"""What is wrong with a value of a settings file, in the words of this program.

Kinds of mistakes and what they carry: pydantic_core's ErrorType.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

SECRET = re.compile(r"hf_|gh[a-z]_|github_pat_")  # how tokens of the Hub and of GitHub begin
SHOWN = 60  # letters of a value
_WORDS = {
    "extra_forbidden": "there is no such key",
    "missing": "it is missing",
    "greater_than": "more than {gt} is right",
    "greater_than_equal": "at least {ge} is right",
    "less_than": "less than {lt} is right",
    "less_than_equal": "at most {le} is right",
    "literal_error": "{expected} is right",
    "string_pattern_mismatch": "it does not fit the pattern {pattern}",
    "string_too_short": "at least {min_length} letters are right",
    "string_too_long": "at most {max_length} letters are right",
    "too_short": "at least {min_length} of them are right",
    "too_long": "at most {max_length} of them are right",
    "finite_number": "a finite number is right",
    "int_from_float": "a whole number is right",
}
# of `int_type`, `int_parsing` and their like: what should stand there
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "path": "a path",
    "tuple": "a list",
    "list": "a list",
    "dict": "keys with values",
    "model": "keys with values",
}


def each_mistake(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """Where and what is wrong, one for each place: what only follows from another is left out."""
    details = error.errors()
    within = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    own = [
        (detail["loc"], mistake_text(detail)) for detail in details if detail["loc"] not in within
    ]
    return list(dict.fromkeys(own or [(detail["loc"], mistake_text(detail)) for detail in details]))


def mistake_text(error: ErrorDetails) -> str:
    """One mistake, without its key."""
    kind, value = error["type"], error.get("input")
    if kind in ("value_error", "assertion_error"):
        return error["msg"].partition(", ")[2]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind in _WORDS:
        words = _WORDS[kind].format_map({name: _number(limit) for name, limit in context.items()})
    else:
        named = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_parsing_size")
        words = f"{_KINDS[named]} is right" if named in _KINDS else error["msg"]
    return words if kind in ("extra_forbidden", "missing") else f"{words}, not {_shown(value)}"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    """A value as far as a line has room for it; of many, how many."""
    if isinstance(value, list | tuple | dict):
        return f"{len(value)} keys" if isinstance(value, dict) else f"a list of {len(value)}"
    text = "nothing" if value is None else repr(value)
    if SECRET.search(text):  # pasted where it does not belong
        return "***"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
