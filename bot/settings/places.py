"""Paths of settings, made whole where they come in: `~`, and what is relative to a file's folder.

Which values are paths is told by the types of the settings themselves. A value that may be a name
as well carries `Named` in its type, which knows the names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel


@dataclass(frozen=True)
class Named:
    """Marks a value that is a path unless it is one of `names`, which the whole file may tell."""

    names: Callable[[Mapping[str, Any]], Collection[str]]


def absolute(value: str, folder: Path) -> str:
    """An absolute path; one of a home that nobody has stays as it is, for `at_home` to refuse."""
    path = Path(value)
    if value.startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError:
            return value
    return str(folder / path)


def at_home(path: Path) -> Path:
    """Raise ValueError for a home that nobody has: no folder called `~name` is ever meant."""
    if str(path).startswith("~"):
        raise ValueError(f"{str(path).partition('/')[0]} is nobody's home folder here")
    return path


def placed(model: type[BaseModel], values: Any, folder: Path) -> Any:
    """The values of a settings file with every path in them whole, by `folder`."""
    root = values if isinstance(values, Mapping) else {}

    def at(kind: Any, value: Any, marks: tuple[Any, ...] = ()) -> Any:
        named = next((mark for mark in marks if isinstance(mark, Named)), None)
        if kind is Path or named:
            names = named.names(root) if named else ()
            return absolute(str(value), folder) if _is_path(value, names) else value
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return section(kind, value)
        inner = get_args(kind)
        if get_origin(kind) is Annotated:
            return at(inner[0], value, tuple(inner[1:]))
        if get_origin(kind) is dict and isinstance(value, Mapping):
            return {key: at(inner[1], one) for key, one in value.items()}
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            return [at(inner[0], one) for one in value]
        if get_origin(kind) in (tuple, dict) and not isinstance(value, str):
            return value
        for one in inner:  # of a union, the part that has paths; of a tuple, its rows
            value = at(one, value)
        return value

    def section(kind: type[BaseModel], value: Any) -> Any:
        short = "path" in kind.model_fields and _is_path(value)
        mapping = {"path": value} if short else value
        if not isinstance(mapping, Mapping):
            return value
        fields = kind.model_fields
        elsewhere = mapping.get("repository") is not None  # then it is a path of that repository
        return {
            key: at(fields[key].annotation, inner, tuple(fields[key].metadata))
            if key in fields and not (elsewhere and key == "path")
            else inner
            for key, inner in mapping.items()
        }

    return section(model, values)


def _is_path(value: Any, names: Collection[str] = ()) -> bool:
    return isinstance(value, str | Path) and str(value) not in ("", *names)
