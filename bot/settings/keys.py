"""All keys of bot.yaml with their types and defaults, as the page on settings lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bot.settings.settings import Settings

HEAD = ("| key | takes | default |", "|---|---|---|")
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true, false", Path: "a path"}
# of this machine: what a page cannot name
HERE = {
    "workdir": "`~/.local/share/apex-bot`",
    "llama.threads": "the cores that this process may use",
    "profiles": "the bot's own tiers",
    "evaluation.behaviour.prompts": "the bot's own prompts",
    **dict.fromkeys(("calibration.texts", "evaluation.text", "evaluation.tasks"), "the demo's"),
}


def keys_table() -> str:
    """A row for each key, by section."""
    return "\n".join((*HEAD, *_rows(Settings, "")))


def _rows(model: type[BaseModel], before: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{before}{name}"
        section = _section(field.annotation)
        if section is not None:
            yield from _rows(section, f"{key}.")
            continue
        takes = _takes(field.annotation).replace("|", "\\|")
        yield f"| `{key}` | {takes} | {HERE.get(key) or _default(field)} |"


def _section(kind: Any) -> type[BaseModel] | None:
    """The model of a section; None for a value."""
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _takes(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _takes(arguments[0])
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(_takes(part) for part in arguments if part is not NoneType)
    if origin is tuple:
        return f"a list: {_takes(arguments[0])}"
    if origin is dict:
        return f"names with each {_takes(arguments[1])}"
    section = _section(kind)
    if section is not None:
        return "a map of " + ", ".join(f"`{name}`" for name in section.model_fields)
    return WORDS.get(kind, "text")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "is needed"
    if value is None or value == () or value == {}:
        return "none"
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return f"`{json.dumps(plain, ensure_ascii=False)}`"
