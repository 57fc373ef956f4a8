"""Folders as publishers' repositories are, and changes that break them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bot.clients.files.gguf import write_arrays
from bot.lint.contents import Defect
from bot.lint.defects import defects_of
from bot.lint.linted import of_folder
from bot.progress import Narrator

CARD = """---
license: mit
---
# M

- **Layers**: 40

| Model | PPL |
|---|---|
| I-Mini | 7.2 ± 0.1 |

[the file](M-Q6_K.gguf) `ollama run hf.co/someone/M:M-Q6_K.gguf`
"""


def model(
    path: Path, *, name: str = "M 30B", file_type: int = 18, layers: int = 40, wide: int = 0
) -> None:
    """A GGUF file that says little more than what it is."""
    about = [
        ("general.architecture", "qwen3moe"),
        ("general.name", name),
        ("general.file_type", file_type),
        ("qwen3moe.block_count", layers),
    ]
    write_arrays(path, about, [("blk.0.ffn_up.weight", np.zeros((4, 8 + wide), np.float32))])


def sums(folder: Path) -> None:
    """SHA256SUMS of all that is there."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name not in ("README.md", "SHA256SUMS")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def defects_in(folder: Path) -> list[Defect]:
    """All that is wrong with it."""
    return defects_of(of_folder(folder, Narrator(quiet=True), hashes=True))


def rules(folder: Path) -> set[str]:
    """Rules that it breaks; nothing was measured in any of these."""
    return {defect.rule for defect in defects_in(folder)} - {"not-measured"}


def card_with(old: str, new: str) -> Callable[[Path], None]:
    """A change of the card: one text for another."""

    def change(folder: Path) -> None:
        card = folder / "README.md"
        assert old in card.read_text()
        card.write_text(card.read_text().replace(old, new))

    return change


def with_model(file: str, **about: str | int) -> Callable[[Path], None]:
    """A change that adds a model, or writes another in its place."""

    def change(folder: Path) -> None:
        model(folder / file, **about)  # type: ignore[arg-type]  # of model, by name
        sums(folder)

    return change


def with_bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A change of a file's bytes."""

    def write(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes() if path.is_file() else b""))
        sums(folder)

    return write


def require_rules(folder: Path, change: Callable[[Path], None], broken: set[str]) -> None:
    """Fail unless a change breaks these rules and no other."""
    change(folder)
    assert rules(folder) == broken


def require_error(folder: Path, change: Callable[[Path], None], rule: str) -> None:
    """Fail unless a change is an error by this rule, whatever else follows from it."""
    change(folder)
    defects = defects_in(folder)
    errors = {defect.rule for defect in defects if defect.level == "error"}
    assert rule in errors
    assert errors <= {rule, "wrong-command", "dead-link", "hash-differs"}
    assert all(str(folder) not in defect.text for defect in defects)


def require_fine(folder: Path, text: str) -> None:
    """Fail if a text on the card breaks a rule."""
    card = folder / "README.md"
    card.write_text(card.read_text() + "\n" + text)
    assert rules(folder) == set()
