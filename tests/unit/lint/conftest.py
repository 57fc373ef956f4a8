"""A repository in which everything holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.lint.repositories import CARD, model, sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small repository in which everything holds but that nothing was measured here."""
    place = tmp_path / "release"
    place.mkdir()
    model(place / "M-Q6_K.gguf")
    (place / "README.md").write_text(CARD)
    sums(place)
    return place
