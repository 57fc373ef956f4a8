"""Presets of sections of bot.yaml, put in where one is named, with the data sets that it names.

    evaluation: {preset: recommended}     # presets/evaluation/recommended.yaml
    calibration: {preset: recommended}    # presets/calibration/recommended.yaml

What the file itself says in the section stands over the preset's. Data sets of presets have names
that begin with `kit:`; they may be named without a preset, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

KITS = Path(__file__).resolve().parents[1] / "settings" / "presets"
SETS = KITS / "data" / "sets.yaml"
SECTIONS = ("evaluation", "calibration")
OURS = "kit:"  # how names of data sets begin that come with the bot


def with_presets(values: Any) -> Any:
    """Values of a settings file, with each preset that is named; an unknown one stays as it is."""
    if not isinstance(values, Mapping):
        return values
    filled = {name: _filled(name, values[name]) for name in SECTIONS if name in values}
    named = sorted({name for section in filled.values() for name in _named(section)})
    if not named:
        return {**values, **filled}
    given = values.get("data") or {}
    data = {name: data_sets()[name] for name in named} if isinstance(given, Mapping) else {}
    return {**values, **filled, "data": {**data, **given} if data else given}


def _filled(section: str, given: Any) -> Any:
    name = given.get("preset") if isinstance(given, Mapping) else None
    path = KITS / section / f"{name}.yaml"
    if not isinstance(name, str) or path not in _presets(section):
        return given
    return {**_read(path), **given}


@cache
def _presets(section: str) -> frozenset[Path]:
    return frozenset((KITS / section).glob("*.yaml"))


@cache
def data_sets() -> Mapping[str, Mapping[str, Any]]:
    """The data sets that come with the bot, by name: values of the settings' `data`."""
    return _read(SETS)


@cache
def _read(path: Path) -> Mapping[str, Any]:
    values: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def _named(value: Any) -> Iterator[str]:
    """Our data sets that a section names, wherever in it."""
    if isinstance(value, str) and value in data_sets():
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _named(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)
