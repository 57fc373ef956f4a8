"""Architectures and switches of llama.cpp's converter, read from its source; none of it runs."""

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
    model_maps: dict[str, dict[str, str]] = {}
    for node in _parse(path).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict() as value):
                if name in MAPS:
                    model_maps[name] = ast.literal_eval(value)
            case _:
                continue
    if len(model_maps) != len(MAPS):
        raise BuildError(f"{path} lacks the maps of architectures; name another convert.llama_cpp")
    return model_maps


def source_has_mtp_switch(tree: Path, architecture: str) -> bool:
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


def _origins(parsed: ast.Module) -> dict[str, tuple[str, str]]:
    """Names that a module of the converter takes from others: name → module, name there."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(parsed)
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for alias in node.names
    }


def _attribute(tree: Path, module: str, name: str, attribute: str) -> object:
    """A constant class attribute, looked up in the class, then in its bases; None if nowhere."""
    parsed = _parse(tree / "conversion" / f"{module}.py")
    origins = _origins(parsed)
    classes = {node.name: node for node in parsed.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        origin = origins.get(name)
        return _attribute(tree, *origin, attribute) if origin else None
    for node in classes[name].body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        value = getattr(node, "value", None)
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if attribute in names and value is not None:
            return value.value if isinstance(value, ast.Constant) else None
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            value = _attribute(tree, module, base.id, attribute)
            if value is not None:
                return value
    return None


def preprocessor_needs(tree: Path, architecture: str) -> frozenset[str]:
    """Keys of preprocessor_config.json without which a projector's class fails (KeyError).

    Those that its methods read in any case, and a vision tower's image_mean and image_std
    (MmprojModel.set_gguf_parameters), without those that a class fills in by itself.
    """
    module = maps(tree)["MMPROJ_MODEL_MAP"].get(architecture)
    if module is None:
        return frozenset()
    class_names = [
        node.name
        for node in _parse(tree / "conversion" / f"{module}.py").body
        if isinstance(node, ast.ClassDef)
        and architecture in _registered(node)
        and _descends(tree, module, node.name, "MmprojModel")
    ]
    encoders = (_attribute(tree, module, name, "has_vision_encoder") for name in class_names)
    needed, filled = set[str](), set[str]()
    if any(encoder is not False for encoder in encoders):
        needed |= {"image_mean", "image_std"}
    for node in _line(tree, module, class_names[0]) if class_names else []:
        if node.name != "MmprojModel":
            needed |= _read_always(node)
            filled |= _filled_in(node)
    return frozenset(needed - filled)


def _line(tree: Path, module: str, name: str) -> list[ast.ClassDef]:
    """A class and its bases, depth first, as far as they are the converter's own."""
    parsed = _parse(tree / "conversion" / f"{module}.py")
    node = next((n for n in parsed.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        origin = _origins(parsed).get(name)
        return _line(tree, *origin) if origin else []
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return [node, *(ancestor for base in bases for ancestor in _line(tree, module, base))]


def _descends(tree: Path, module: str, name: str, ancestor: str) -> bool:
    return any(node.name == ancestor for node in _line(tree, module, name))


_CONFIG = "preprocessor_config"


def _read_always(node: ast.ClassDef) -> set[str]:
    """Keys of `self.preprocessor_config["…"]` in plain statements of a class's methods."""
    plain = (
        statement
        for method in node.body
        if isinstance(method, ast.FunctionDef)
        for statement in method.body
        if isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign)
    )
    return {
        str(part.slice.value)
        for statement in plain
        for part in ast.walk(statement)
        if isinstance(part, ast.Subscript)
        and isinstance(part.ctx, ast.Load)
        and _is_config(part.value)
        and isinstance(part.slice, ast.Constant)
        and not any(isinstance(expression, ast.IfExp) for expression in ast.walk(statement))
    }


def _filled_in(node: ast.ClassDef) -> set[str]:
    """Keys that a class's methods put into the config."""
    config_keys = set[str]()
    for part in ast.walk(node):
        match part:
            case ast.Subscript(value=value, slice=ast.Constant(value=str(key)), ctx=ast.Store()):
                config_keys |= {key} if _is_config(value) else set()
            case ast.Call(
                func=ast.Attribute(value=value, attr="setdefault"),
                args=[ast.Constant(value=key), *_],
            ):
                config_keys |= {str(key)} if _is_config(value) else set()
            case ast.Assign(targets=[target], value=ast.Dict(keys=keys)) if _is_config(target):
                config_keys |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
            case _:
                continue
    return config_keys


def _is_config(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == _CONFIG
