"""The table of families against what the unmodified converter registers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bot.predict.converter_classes import BY_TYPE, CLASSES
from bot.toolchain import converter_source
from bot.toolchain.toolchain import Toolchain

# classes that decide by what they find in the config
DECIDED_LATER = {
    "Mistral3ForConditionalGeneration",
    "Ministral3ForCausalLM",
    "NemotronHForCausalLM",
}


def registered(tree: Path) -> dict[str, str]:
    """Model class → the architecture of the Python class that the converter runs for it."""
    classes = {node.name: node for path in modules(tree) for node in classes_of(path)}
    named, families = names(tree), {}
    for node in classes.values():
        arch = architecture(node, classes)
        for name in names_of(node):
            if arch is not None and not arch.startswith("MMPROJ"):
                families[name] = named[arch]
    return families


def names(tree: Path) -> dict[str, str]:
    """MODEL_ARCH_NAMES of the gguf-py that belongs to the converter."""
    text = (tree / "gguf-py" / "gguf" / "constants.py").read_text(encoding="utf-8")
    return dict(re.findall(r"^    MODEL_ARCH\.(\w+)\s*:\s*\"([^\"]+)\"", text, re.MULTILINE))


def modules(tree: Path) -> Iterator[Path]:
    yield from sorted((tree / "conversion").glob("*.py"))


def classes_of(path: Path) -> list[ast.ClassDef]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node for node in body if isinstance(node, ast.ClassDef)]


def names_of(node: ast.ClassDef) -> list[str]:
    calls = [call for call in node.decorator_list if isinstance(call, ast.Call)]
    return [str(arg.value) for c in calls for arg in c.args if isinstance(arg, ast.Constant)]


def architecture(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> str | None:
    """`model_arch = gguf.MODEL_ARCH.X` of a class or the first of its bases that has one."""
    for line in node.body:
        match line:
            case ast.Assign(
                targets=[ast.Name(id="model_arch")], value=ast.Attribute(attr=str(name))
            ):
                return name
            case _:
                continue
    bases = [classes[b.id] for b in node.bases if isinstance(b, ast.Name) and b.id in classes]
    return next((families for base in bases if (families := architecture(base, classes))), None)


def test_every_class_has_the_converters_architecture(toolchain: Toolchain) -> None:
    known_classes = registered(toolchain.tree)
    listed = {name: family for family, own in CLASSES.items() for name in own}
    assert set(listed) <= set(converter_source.maps(toolchain.tree)["TEXT_MODEL_MAP"])
    wrong = {
        name: (family, known_classes.get(name))
        for name, family in listed.items()
        if name not in DECIDED_LATER and known_classes.get(name) != family
    }
    assert wrong == {}
    assert {family for family, _ in BY_TYPE} <= set(CLASSES)
