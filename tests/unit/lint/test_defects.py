"""All rules together, and words of strangers in what they say."""

from __future__ import annotations

from pathlib import Path

from tests.unit.lint.repositories import (
    defects_in,
    model,
    rules,
)


def test_a_repository_in_which_everything_holds(folder: Path) -> None:
    assert rules(folder) == set()


def test_words_of_strangers_are_legible(folder: Path) -> None:
    name = "M\x1b[31m-Q6_K\u202e.gguf"
    model(folder / name)
    named = [defect for defect in defects_in(folder) if "M-Q6_K.gguf" in defect.path + defect.text]
    assert named
    assert all(defect.path.isprintable() and defect.text.isprintable() for defect in named)
