"""What llama.cpp's converter can do, read from its source: nothing is imported or run."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

from bot.errors import BuildError

MAPS = ("TEXT_MODEL_MAP", "MMPROJ_MODEL_MAP")


def _parse(path: Path) -> ast.Module:
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError) as error:
        raise BuildError(
            f"{path} is not llama.cpp's converter; run `bot toolchain install`"
        ) from error


@lru_cache(maxsize=64)
def _parsed(path: Path, _changed: int) -> ast.Module:
    """A source file's tree; parsed again when the file changed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def maps(tree: Path) -> dict[str, dict[str, str]]:
    """The literal maps of conversion/__init__.py: architecture → module of its class.

    Raises BuildError when `tree` is not a llama.cpp source tree with such maps.
    """
    path = tree / "conversion" / "__init__.py"
    found: dict[str, dict[str, str]] = {}
    for node in _parse(path).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict() as value):
                if name in MAPS:
                    found[name] = ast.literal_eval(value)
            case _:
                continue
    if len(found) != len(MAPS):
        raise BuildError(f"{path} lacks the maps of architectures; name another convert.llama_cpp")
    return found


def has_mtp_switch(tree: Path, architecture: str) -> bool:
    """Whether the converter takes --no-nextn and --mtp for this architecture.

    It takes them where `supports_mtp_export` of the architecture's class is true; the class and
    its bases are looked through depth first, in the order they are written.
    """
    module = maps(tree)["TEXT_MODEL_MAP"].get(architecture)
    if module is None:
        return False
    # a module may register a text model and a projector under one name; projectors never have it
    return any(
        bool(_attribute(tree, module, node.name, "supports_mtp_export"))
        for node in _parse(tree / "conversion" / f"{module}.py").body
        if isinstance(node, ast.ClassDef) and architecture in _registered(node)
    )


def _registered(node: ast.ClassDef) -> set[str]:
    """Names in the class's `@ModelBase.register(…)` lines."""
    calls = [d for d in node.decorator_list if isinstance(d, ast.Call)]
    return {
        str(argument.value)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "register"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def _attribute(tree: Path, module: str, name: str, wanted: str) -> object:
    """A constant class attribute, looked up in the class, then in its bases; None if nowhere."""
    parsed = _parse(tree / "conversion" / f"{module}.py")
    origins = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(parsed)
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for alias in node.names
    }
    classes = {node.name: node for node in parsed.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        origin = origins.get(name)
        return _attribute(tree, *origin, wanted) if origin else None
    for node in classes[name].body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        value = getattr(node, "value", None)
        if any(isinstance(t, ast.Name) and t.id == wanted for t in targets) and value is not None:
            return value.value if isinstance(value, ast.Constant) else None
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            value = _attribute(tree, module, base.id, wanted)
            if value is not None:
                return value
    return None
