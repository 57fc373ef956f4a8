"""The demo's texts are taken for a real model only where settings say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.errors import SettingsError
from bot.settings.sections import DEMO
from bot.settings.settings import Settings, load
from bot.workplace.demo_texts import EVERY_USE, MATRIX, TASKS, TEXT, not_named, refuse


def settings(folder: Path, **sections: Any) -> Settings:
    return load(workdir=folder / "work", **sections)


def keys(made: Settings, *tiers: str, uses: frozenset[str] = EVERY_USE) -> list[str]:
    return [key for key, _ in not_named(made, uses, tiers)]


def test_each_use_of_a_demo_text_is_named_with_what_to_write(tmp_path: Path) -> None:
    (matrix, of_matrix), (text, of_measures) = not_named(settings(tmp_path), EVERY_USE, ())
    assert (matrix, text) == (MATRIX, TEXT)
    assert "`calibration: {preset: recommended}`" in of_matrix
    assert "`evaluation: {preset: recommended}`" in of_measures
    with pytest.raises(SettingsError, match=r"^evaluation\.tasks: only the demo's few pages"):
        refuse(settings(tmp_path), {TASKS})
    refuse(settings(tmp_path), ())


def test_settings_may_take_them_all_the_same(tmp_path: Path) -> None:
    assert keys(settings(tmp_path, demo_texts=True)) == []


def test_a_text_of_the_users_is_none_of_the_demos(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("words")
    assert keys(settings(tmp_path, evaluation={"text": own})) == [MATRIX, TASKS]
    named = {"path": str(DEMO / "evaluation.txt"), "sha256": "0" * 64, "licence": "CC0"}
    under_a_name = settings(tmp_path, data={"pages": named}, evaluation={"text": "pages"})
    assert TEXT in keys(under_a_name)  # it is still the demo's
    assert MATRIX not in keys(settings(tmp_path, calibration={"texts": [own]}))


def test_a_matrix_needs_a_text_where_a_tier_needs_a_matrix(tmp_path: Path) -> None:
    only_matrix = frozenset({MATRIX})
    assert keys(settings(tmp_path), "Balanced", uses=only_matrix) == []
    assert keys(settings(tmp_path), "I-Mini", uses=only_matrix) == [MATRIX]
    weighed = settings(tmp_path, quantize={"baselines": ["I-Q4_K_M"]})
    assert keys(weighed, "Balanced", uses=only_matrix) == [MATRIX]
    ready = settings(tmp_path, calibration={"file": tmp_path / "imatrix.gguf"})
    assert keys(ready, "I-Mini", uses=only_matrix) == []
