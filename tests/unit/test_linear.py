"""Regular expressions take time by the length of a text, whatever the text is.

Every one of bot/ is found here, in its source, with the methods it is used by; each gets a megabyte
of the worst text that its own parts give.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

BOT = Path(__file__).resolve().parents[2] / "bot"
HARNESS = "benchmarks/harness.py"
METHODS = ("search", "match", "fullmatch", "findall", "finditer", "sub", "split")
# every test process looks for them while it begins: trees are made where there is a pattern alone
RE, USE = re.compile(r"\bre2?\."), re.compile(rf"\b(\w+)\s*\.\s*({'|'.join(METHODS)})\b")
TRIED, WHOLE = 1 << 14, 1_000_000  # characters: of each candidate, and of the worst
# seconds of CPU for the whole: a quiet machine takes less than one, and what is not linear hours
MOST = 20.0

# patterns that a function makes of what it is given, by the function:
# why they are bounded, or who tries them
MADE = {
    "measures/imported.py: _log": "a table's, tried below",
    "quantize/verify.py: _named_it": "literal words, in a reason",
    "actions/on_github.py: published_at": "an address of the settings, then bounded names",
    "predict/reshaping.py: _table": "a table's, on a tensor's name, which a header bounds",
    "predict/conversion.py: _guess": "a table's, on a tensor's name, which a header bounds",
    "predict/conversion.py: _known": "a table's, on a tensor's name, which a header bounds",
    "tensors/roles.py: _ROLES": "a table's, on a tensor's name, which a header bounds",
    "settings/policies.py: _compiled": "the user's, on ORG/NAME",
    "lint/card_rules.py: check_commands": "a literal word",
    "resolvers/localai.py: _has_word": "a literal word",
    "resolvers/llamacpp.py: llama_file": "a literal word and a character",
    "settings/showing.py: _template": "the user's own setting",
    "detect/makers.py: _exactly": "literal words",
    "tensors/weights.py: named": "a literal word and shard numbers, on a file's name",
}


@dataclass(frozen=True)
class Found:
    """A pattern, where it stands, and how it is used."""

    place: str
    pattern: str | bytes
    flags: int
    method: str


def _sources() -> dict[str, str]:
    """Of every module that can be imported here."""
    paths = sorted(BOT.rglob("*.py"))
    sources = {path.relative_to(BOT).as_posix(): path.read_text("utf-8") for path in paths}
    if find_spec("lm_eval") is None:  # it needs an extra, and has no pattern
        assert not RE.search(sources.pop(HARNESS))
    return sources


def _space(name: str) -> dict[str, Any]:
    dotted = "bot." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return vars(importlib.import_module(dotted))


def _value(node: ast.expr, space: dict[str, Any]) -> Any:
    try:
        return eval(compile(ast.Expression(node), "here", "eval"), dict(space))  # noqa: S307
    except NameError:
        return None


def _uses(sources: Iterable[str]) -> dict[str, set[str]]:
    """Methods by the name of a constant, anywhere in bot/."""
    used: dict[str, set[str]] = {}
    for source in sources:
        for name, method in USE.findall(source):
            used.setdefault(name, set()).add(method)
    return used


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str, str | None]]:
    """Calls of re, by what method, and the constant that a compiled pattern becomes."""
    names: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.update({id(part): node.targets[0].id for part in ast.walk(node.value)})
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            pairs = zip(node.targets[0].elts, getattr(node.value, "elts", ()), strict=False)
            names.update({id(v): t.id for t, v in pairs if isinstance(t, ast.Name)})
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in ("compile", *METHODS)
        ):
            yield node, node.func.attr, names.get(id(node))


def _functions(tree: ast.Module) -> dict[int, str]:
    """The innermost function around each call."""
    names: dict[int, str] = {}
    for node in ast.walk(tree):  # outer ones first
        if isinstance(node, ast.FunctionDef):
            names |= {id(part): node.name for part in ast.walk(node) if isinstance(part, ast.Call)}
    return names


def _all() -> list[Found]:
    sources, patterns = _sources(), []
    used = _uses(sources.values())
    for name, source in sources.items():
        if not RE.search(source):
            continue
        tree = ast.parse(source)
        space, functions = _space(name), _functions(tree)
        for call, method, constant in _calls(tree):
            pattern = _value(call.args[0], space)
            flags = [a for a in call.args[1:] if "re." in ast.unparse(a)]
            flags += [k.value for k in call.keywords if k.arg == "flags"]
            bits = int(_value(flags[0], space) or 0) if flags else 0
            methods = used.get(constant or "", {"search"}) if method == "compile" else {method}
            text = pattern if isinstance(pattern, str | bytes) else ""
            what = constant or ast.unparse(call.args[0])[:60]
            place = f"{name}: {what if text else functions.get(id(call), what)}"
            patterns += [Found(place, text, bits, each) for each in sorted(methods)]
    return patterns


def _of_logs() -> list[Found]:
    """The table of patterns for llama-perplexity's log, which is searched row by row."""
    place = "measures/imported.py"
    rows: dict[str, str] = _space(place)["_LOG"]
    return [Found(f"{place}: {key}", row, re.MULTILINE, "search") for key, row in rows.items()]


FOUND = [*_all(), *_of_logs()]


def test_patterns_are_found() -> None:
    assert len(FOUND) > 120
    assert any(pattern.place == "lint/number_rules.py: STATED" for pattern in FOUND)
    assert {pattern.place for pattern in FOUND if not pattern.pattern} == set(MADE)


# ── the worst text ──────────────────────────────────────────────────────────────────────────


def _sample(parsed: Any) -> str:
    """A short text that matches, as far as that is easily told."""
    sample = ""
    for kind, value in parsed:
        match str(kind):
            case "LITERAL":
                sample += chr(value)
            case "NOT_LITERAL":
                sample += "a" if value != ord("a") else "b"
            case "ANY":
                sample += "a"
            case "IN":
                sample += _one_of(value)
            case "BRANCH":
                sample += _sample(value[1][0])
            case "SUBPATTERN":
                sample += _sample(value[-1])
            case "ATOMIC_GROUP":
                sample += _sample(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                sample += _sample(value[2]) * min(value[0], 50)
            case _:
                pass
    return sample


def _one_of(value: Any) -> str:
    every = "a0 .-_/:\n\t\"'x9Z|*#~`(){}[]<>,;=+é"
    kind, what = value[0]
    if str(kind) == "LITERAL":
        return chr(what)
    if str(kind) == "RANGE":
        return chr(what[0])
    for letter in every:
        if _in(value, letter):
            return letter
    return "a"


def _in(value: Any, letter: str) -> bool:
    negated, inside = False, False
    for kind, what in value:
        match str(kind):
            case "NEGATE":
                negated = True
            case "LITERAL":
                inside |= letter == chr(what)
            case "RANGE":
                inside |= what[0] <= ord(letter) <= what[1]
            case "CATEGORY":
                name = str(what)
                is_one = (
                    letter.isdigit() if "DIGIT" in name
                    else letter.isspace() if "SPACE" in name
                    else letter.isalnum() or letter == "_"
                )  # fmt: skip
                inside |= is_one != ("NOT" in name)
            case _:
                pass
    return inside != negated


def _pumps(parsed: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """For each repeat what stands before it and what it repeats."""
    for kind, value in parsed:
        name = str(kind)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            yield before, _sample(value[2]) or "a"
            yield from _pumps(value[2], before)
        elif name == "SUBPATTERN":
            yield from _pumps(value[-1], before)
        elif name == "ATOMIC_GROUP":
            yield from _pumps(value, before)
        elif name == "BRANCH":
            for branch in value[1]:
                yield from _pumps(branch, before)
        before += _sample([(kind, value)])


def _texts(pattern: Found, length: int) -> Iterator[str]:
    """Candidates for the worst text, `length` long."""
    from re import _parser  # type: ignore[attr-defined]  # the parser that re itself uses

    parsed = _parser.parse(pattern.pattern, pattern.flags)
    pumps = dict.fromkeys(_pumps(parsed))
    units = {" ", "a", "\n", _sample(parsed) or "a"}
    for before, pump in pumps:
        yield (before + pump * (length // len(pump) + 1))[:length] + "\0"
        units |= {pump, before or "a", before + pump}
    for unit in sorted(units):
        yield (unit * (length // len(unit) + 1))[:length] + "\0"


def _spent(pattern: Found, text: str) -> float:
    content: Any = text
    if isinstance(pattern.pattern, bytes):
        content = text.encode("latin-1", "replace")
    ask: Any = getattr(re.compile(pattern.pattern, pattern.flags), pattern.method)
    start = time.process_time()
    for _ in (
        iter(ask(content[:0], content) if pattern.method == "sub" else ask(content) or ())
        if (pattern.method in ("sub", "finditer", "findall", "split"))
        else (ask(content),)
    ):
        pass
    return time.process_time() - start


@pytest.mark.parametrize(
    "pattern", dict.fromkeys(f for f in FOUND if f.pattern), ids=lambda f: f"{f.place} {f.method}"
)
def test_a_megabyte_takes_no_longer_than_by_its_length(pattern: Found) -> None:
    spent = [(_spent(pattern, text), number) for number, text in enumerate(_texts(pattern, TRIED))]
    worst, number = max(spent)
    # longer than its share by far: a megabyte could take hours
    assert worst < MOST * TRIED / WHOLE, f"{worst:.3f} s for {TRIED} characters"
    text = next(islice(_texts(pattern, WHOLE), number, None))
    assert _spent(pattern, text) < MOST
