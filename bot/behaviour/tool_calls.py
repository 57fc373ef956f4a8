"""Tool calls in what a model wrote, by the form that its chat template teaches: strict and bounded.

A form is known by marks in the template, and is never guessed from an answer. Forms are those of
the templates of Hermes and Qwen (`<tool_call>` with JSON), Qwen3-Coder (`<function=…>`), GLM-4.5
(`<arg_key>`), Kimi-K2, DeepSeek-V3 and V3.1, Mistral (`[TOOL_CALLS]`), MiniMax-M2 (`<invoke …>`)
and gpt-oss (harmony's commentary channel).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.foreign import has_few_values

LONGEST = 1 << 18  # letters of an answer that are read
MOST = 32  # calls of one answer
FEW = 1_000  # values of a call's JSON


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool's name and arguments, as a model wrote them."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Offered:
    """A tool that may be called: names of its parameters."""

    name: str
    parameters: tuple[str, ...]
    required: tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """A family's form: marks of its template, all of them there, and how an answer is read."""

    name: str
    marks: tuple[str, ...]
    read: Callable[[str], Iterator[Call]]  # raises ValueError for what is begun and not well formed


def form_of(template: str) -> str:
    """The name of the form that a template teaches; empty where none of ours is."""
    return next((f.name for f in FORMS if all(mark in template for mark in f.marks)), "")


def calls_in(form: str, text: str) -> tuple[Call, ...]:
    """Every call of an answer, none where none is begun.

    Raises ValueError for one that is begun and not well formed, KeyError for an unknown form.
    """
    if len(text) > LONGEST:
        raise ValueError("an answer that is too long")
    calls = []
    for call in _BY_NAME[form].read(text):
        calls.append(call)
        if len(calls) > MOST:
            raise ValueError("too many calls")
    return tuple(calls)


def is_proper(form: str, text: str, offered: Collection[Offered]) -> bool:
    """Whether an answer calls a tool, and every call is of one offered, with its parameters."""
    try:
        calls = calls_in(form, text)
    except ValueError:
        return False
    tools = {tool.name: tool for tool in offered}
    return bool(calls) and all(
        call.name in tools
        and set(tools[call.name].required)
        <= set(call.arguments)
        <= set(tools[call.name].parameters)
        for call in calls
    )


# ── pieces ──────────────────────────────────────────────────────────────────────────────────


def _between(text: str, begin: str, end: str) -> Iterator[str]:
    """Texts between two marks, one after another. Raises ValueError where an end lacks."""
    at = text.find(begin)
    while at >= 0:
        stop = text.find(end, at + len(begin))
        if stop < 0:
            raise ValueError(f"{begin} without {end}")
        yield text[at + len(begin) : stop]
        at = text.find(begin, stop + len(end))


def _parted(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise ValueError(f"no {mark}")
    return before, after


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _json(text: str) -> Any:
    if not has_few_values(text.encode("utf-8", "replace"), FEW):
        raise ValueError("a value of too many parts")
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("a value that is nested too deep") from error


def _call(name: Any, arguments: Any) -> Call:
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise ValueError("a call without a name, or whose arguments are no object")
    return Call(name=name, arguments=arguments)


def _function(name: str) -> str:
    """`functions.NAME:0` and `functions.NAME` without what harmony and Kimi put around it."""
    return name.strip().removeprefix("functions.").partition(":")[0]


# ── forms ───────────────────────────────────────────────────────────────────────────────────


def _hermes(text: str) -> Iterator[Call]:
    for inner in _between(text, "<tool_call>", "</tool_call>"):
        value = _json(inner)
        if not isinstance(value, dict):
            raise ValueError("a call that is no object")
        yield _call(value.get("name"), value.get("arguments"))


def _pairs(text: str, key: tuple[str, str], value: tuple[str, str]) -> dict[str, str]:
    keys, values = list(_between(text, *key)), list(_between(text, *value))
    if len(keys) != len(values) or len(set(keys)) != len(keys):
        raise ValueError("keys without values, or twice")
    return {name.strip(): inner for name, inner in zip(keys, values, strict=True)}


def _coder(text: str) -> Iterator[Call]:
    for inner in _between(text, "<tool_call>", "</tool_call>"):
        functions = list(_between(inner, "<function=", "</function>"))
        if not functions:
            raise ValueError("a call of nothing")
        for function in functions:
            name, body = _parted(function, ">")
            arguments: dict[str, str] = {}
            for parameter in _between(body, "<parameter=", "</parameter>"):
                key, value = _parted(parameter, ">")
                if key.strip() in arguments:
                    raise ValueError("a parameter twice")
                arguments[key.strip()] = value.strip("\n")
            yield _call(name.strip(), arguments)


def _glm(text: str) -> Iterator[Call]:
    for inner in _between(text, "<tool_call>", "</tool_call>"):
        name = inner.partition("<arg_key>")[0].strip()
        pairs = _pairs(inner, ("<arg_key>", "</arg_key>"), ("<arg_value>", "</arg_value>"))
        yield _call(name, pairs)


def _kimi(text: str) -> Iterator[Call]:
    for section in _between(text, "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"):
        for inner in _between(section, "<|tool_call_begin|>", "<|tool_call_end|>"):
            name, arguments = _parted(inner, "<|tool_call_argument_begin|>")
            yield _call(_function(name), _json(arguments))


_DEEPSEEK = tuple(f"<｜tool▁call{part}｜>" for part in ("▁begin", "▁end", "s▁begin", "s▁end"))
_SEP = "<｜tool▁sep｜>"


def _deepseek(text: str) -> Iterator[Call]:
    begin, end, section_begin, section_end = _DEEPSEEK
    for section in _between(text, section_begin, section_end):
        for inner in _between(section, begin, end):
            name, arguments = _parted(inner, _SEP)
            if name.strip() == "function" and "```json" in arguments:  # V3; V3.1 has neither
                name, arguments = _parted(arguments, "```json")
                arguments = _parted(arguments, "```")[0]
            yield _call(name.strip(), _json(arguments))


def _mistral(text: str) -> Iterator[Call]:
    for inner in text.split("[TOOL_CALLS]")[1:]:
        inner = inner.partition("</s>")[0].strip()
        if inner.startswith("["):
            value = _json(inner)
            for one in value:
                if not isinstance(one, dict):
                    raise ValueError("a call that is no object")
                yield _call(one.get("name"), one.get("arguments"))
        else:
            name, arguments = _parted(inner, "[ARGS]" if "[ARGS]" in inner else "{")
            rest = arguments if "[ARGS]" in inner else "{" + arguments
            yield _call(name.partition("[CALL_ID]")[0].strip(), _json(rest))


def _minimax(text: str) -> Iterator[Call]:
    for section in _between(text, "<minimax:tool_call>", "</minimax:tool_call>"):
        for inner in _between(section, '<invoke name="', "</invoke>"):
            name, body = _parted(inner, '">')
            arguments = {}
            for parameter in _between(body, '<parameter name="', "</parameter>"):
                key, value = _parted(parameter, '">')
                arguments[key] = value
            yield _call(name, arguments)


def _harmony(text: str) -> Iterator[Call]:
    """`<|channel|>commentary to=functions.NAME …<|message|>JSON<|call|>`; the end may lack.

    llama.cpp ends a generation at `<|call|>`, which then is no part of the text.
    """
    for piece in text.split("to=functions.")[1:]:
        head, body = _parted(piece, "<|message|>")
        name = head.split("<|", 1)[0].split()
        yield _call(name[0] if name else "", _json(body.partition("<|call|>")[0]))


FORMS: Sequence[Form] = (
    Form("Qwen3-Coder", ("<tool_call>", "<function=", "<parameter="), _coder),
    Form("GLM", ("<tool_call>", "<arg_key>", "<arg_value>"), _glm),
    Form("Kimi", ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"), _kimi),
    Form("DeepSeek", (_DEEPSEEK[0], _SEP), _deepseek),
    Form("MiniMax", ("<minimax:tool_call>", "<invoke name="), _minimax),
    Form("Mistral", ("[TOOL_CALLS]",), _mistral),
    Form("harmony", ("<|channel|>", "to=functions."), _harmony),
    Form("Hermes", ("<tool_call>", "arguments"), _hermes),
    Form("Hermes", ("<tool_call>", "tojson"), _hermes),
)
_BY_NAME = {form.name: form for form in FORMS}
