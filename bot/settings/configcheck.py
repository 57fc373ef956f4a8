"""All that is wrong with a bot.yaml, each with its line; and the schema that editors check by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bot.errors import SettingsError
from bot.records.coding import SCHEMA
from bot.settings.mistakes import each_mistake
from bot.settings.settings import Settings, load, read_file


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One wrong place of a settings file."""

    line: int  # from 1
    key: str  # policy.rules.0.match
    text: str

    def __str__(self) -> str:
        return f"{self.line}: {self.key}: {self.text}" if self.key else f"{self.line}: {self.text}"


def mistakes(file: Path) -> list[Mistake]:
    """Everything wrong in a settings file by itself, in the order of its lines.

    Raises SettingsError when there is no such file.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}); name a settings file") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        return [Mistake(line=line, key="", text=f"not YAML: {error.problem or error.context}")]
    file_mistakes = [*_twice(root, ())]
    try:
        Settings.model_validate(read_file(file))
    except ValidationError as error:
        file_mistakes += [_mistake(root, place, text) for place, text in each_mistake(error)]
    except SettingsError as error:
        file_mistakes.append(Mistake(line=1, key="", text=str(error).removeprefix(f"{file} ")))
    return sorted(set(file_mistakes), key=lambda mistake: (mistake.line, mistake.key))


def check(file: Path) -> list[Mistake]:
    """As `mistakes`; and where there are none, whether file and environment go together."""
    file_mistakes = mistakes(file)
    if not file_mistakes:
        load(file)
    return file_mistakes


def at_lines(file: Path, problems: Iterable[tuple[Sequence[int | str], str]]) -> list[Mistake]:
    """What is wrong at some keys, with the lines on which these stand, or their sections."""
    root = yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    return [_mistake(root, place, text) for place, text in problems]


def settings_schema() -> str:
    """The JSON schema of bot.yaml."""
    schema = Settings.model_json_schema(mode="validation")
    for name in ("workdir", "hub", "llama"):  # defaults of the machine that made the schema
        schema["properties"].get(name, {}).pop("default", None)
    head = {"$schema": SCHEMA, "title": "bot.yaml of apex-bot"}
    cleaned = _without_local(schema)
    return json.dumps(head | {k: v for k, v in cleaned.items() if k != "title"}, indent=2) + "\n"


def _without_local(value: Any) -> Any:
    """No default that is a path or a number of this machine."""
    if isinstance(value, list):
        return [_without_local(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    cleaned = {key: _without_local(inner) for key, inner in value.items()}
    if any("/" in str(part) for part in _leaves(cleaned.get("default"))):
        del cleaned["default"]
    return cleaned


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value


def _mistake(root: yaml.Node | None, path: Sequence[int | str], text: str) -> Mistake:
    """Where a path of pydantic's lies in the file: as deep as the file has it."""
    node, line, words = root, 1, []
    for part in path:
        step = _step(node, part)
        if step is None:
            if not isinstance(node, yaml.MappingNode | yaml.SequenceNode):
                break
            words.append(str(part))
            continue
        line, node = step
        words.append(str(part))
    return Mistake(line=line, key=".".join(words), text=text)


def _step(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _twice(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[Mistake]:
    """Keys that stand twice: YAML keeps the last one silently."""
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in names:
                line = key.start_mark.line + 1
                yield Mistake(line=line, key=".".join((*path, name)), text="stands here twice")
            names.add(name)
            yield from _twice(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _twice(value, (*path, str(number)))
