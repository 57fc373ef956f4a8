"""Regular expressions take time by the length of a text, whatever the text is.

Every one of bot/ is found here, in its source, with the methods it is used by; each gets a megabyte
of the worst text that its own parts give.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

BOT = Path(__file__).resolve().parents[2] / "bot"
METHODS = ("search", "match", "fullmatch", "findall", "finditer", "sub", "split")
TRIED, WHOLE = 1 << 14, 1_000_000  # characters: of each candidate, and of the worst
# seconds of CPU for the whole: a quiet machine takes less than one, and what is not linear hours
MOST = 20.0

# made of what a function is given: why that is bounded, or who tries it
MADE = {
    "measures/imported.py: pattern": "a table's, tried below",
    "quantize/verify.py: f'({re.escape(str(file.parent))}/)?{names}'": "literal words, in a reason",
    "actions/on_github.py: named": "an address of the settings, then bounded names",
    "predict/reshaping.py: names": "a table's, on a tensor's name, which a header bounds",
    "predict/conversion.py: spellings": "a table's, on a tensor's name, which a header bounds",
    "predict/conversion.py: words": "a table's, on a tensor's name, which a header bounds",
    "tensors/roles.py: _ROLES": "a table's, on a tensor's name, which a header bounds",
    "settings/policies.py: translate(whole.casefold())": "the user's, on ORG/NAME",
    r"lint/card_rules.py: f'(?<![\\w-]){re.escape(old)}(?![\\w-])'": "a literal word",
    "wording/naming.py: pattern": "a literal word and a character",
    "settings/showing.py: left": "the user's own setting",
    "detect/makers.py: '^(?:' + '|'.join(map(re.escape, names)) + ')$'": "literal words",
    "tensors/weights.py: end": "a literal word and shard numbers, on a file's name",
    "tensors/weights.py: inside": "a literal word, on a file's name",
}


@dataclass(frozen=True)
class Found:
    """A pattern, where it stands, and how it is used."""

    place: str
    pattern: str | bytes
    flags: int
    method: str


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(BOT.rglob("*.py")):
        yield path.relative_to(BOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _space(name: str) -> dict[str, Any]:
    dotted = "bot." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return vars(importlib.import_module(dotted))


def _value(node: ast.expr, space: dict[str, Any]) -> Any:
    try:
        return eval(compile(ast.Expression(node), "here", "eval"), dict(space))  # noqa: S307
    except NameError:
        return None


def _uses() -> dict[str, set[str]]:
    """Methods by the name of a constant, anywhere in bot/."""
    used: dict[str, set[str]] = {}
    for _, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                owner = node.value
                name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", None)
                if name:
                    used.setdefault(name, set()).add(node.attr)
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


def _all() -> list[Found]:
    used, found = _uses(), []
    for name, tree in _modules():
        space = _space(name)
        for call, method, constant in _calls(tree):
            pattern = _value(call.args[0], space)
            flags = [a for a in call.args[1:] if "re." in ast.unparse(a)]
            flags += [k.value for k in call.keywords if k.arg == "flags"]
            bits = int(_value(flags[0], space) or 0) if flags else 0
            place = f"{name}: {constant or ast.unparse(call.args[0])[:60]}"
            methods = used.get(constant or "", {"search"}) if method == "compile" else {method}
            text = pattern if isinstance(pattern, str | bytes) else ""
            found += [Found(place, text, bits, each) for each in sorted(methods)]
    return found


def _of_logs() -> list[Found]:
    """The table of patterns for llama-perplexity's log, which is searched row by row."""
    place = "measures/imported.py"
    rows: dict[str, str] = _space(place)["_LOG"]
    return [Found(f"{place}: {key}", row, re.MULTILINE, "search") for key, row in rows.items()]


FOUND = [*_all(), *_of_logs()]


def test_patterns_are_found() -> None:
    assert len(FOUND) > 120
    assert any(one.place == "lint/number_rules.py: STATED" for one in FOUND)
    assert {one.place for one in FOUND if not one.pattern} <= set(MADE)


# ── the worst text ──────────────────────────────────────────────────────────────────────────


def _sample(parsed: Any) -> str:
    """A short text that matches, as far as that is easily told."""
    made = ""
    for kind, value in parsed:
        match str(kind):
            case "LITERAL":
                made += chr(value)
            case "NOT_LITERAL":
                made += "a" if value != ord("a") else "b"
            case "ANY":
                made += "a"
            case "IN":
                made += _one_of(value)
            case "BRANCH":
                made += _sample(value[1][0])
            case "SUBPATTERN":
                made += _sample(value[-1])
            case "ATOMIC_GROUP":
                made += _sample(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                made += _sample(value[2]) * min(value[0], 50)
            case _:
                pass
    return made


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


def _texts(one: Found, length: int) -> Iterator[str]:
    """Candidates for the worst text, `length` long."""
    from re import _parser  # type: ignore[attr-defined]  # the parser that re itself uses

    parsed = _parser.parse(one.pattern, one.flags)
    pumps = dict.fromkeys(_pumps(parsed))
    units = {" ", "a", "\n", _sample(parsed) or "a"}
    for before, pump in pumps:
        yield (before + pump * (length // len(pump) + 1))[:length] + "\0"
        units |= {pump, before or "a", before + pump}
    for unit in sorted(units):
        yield (unit * (length // len(unit) + 1))[:length] + "\0"


def _spent(one: Found, text: str) -> float:
    given: Any = text
    if isinstance(one.pattern, bytes):
        given = text.encode("latin-1", "replace")
    ask: Any = getattr(re.compile(one.pattern, one.flags), one.method)
    start = time.process_time()
    for _ in (
        iter(ask(given[:0], given) if one.method == "sub" else ask(given) or ())
        if (one.method in ("sub", "finditer", "findall", "split"))
        else (ask(given),)
    ):
        pass
    return time.process_time() - start


@pytest.mark.parametrize(
    "one", dict.fromkeys(f for f in FOUND if f.pattern), ids=lambda f: f"{f.place} {f.method}"
)
def test_a_megabyte_takes_no_longer_than_by_its_length(one: Found) -> None:
    spent = [(_spent(one, text), number) for number, text in enumerate(_texts(one, TRIED))]
    worst, number = max(spent)
    # longer than its share by far: a megabyte could take hours
    assert worst < MOST * TRIED / WHOLE, f"{worst:.3f} s for {TRIED} characters"
    text = next(islice(_texts(one, WHOLE), number, None))
    assert _spent(one, text) < MOST
