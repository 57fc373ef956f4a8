"""Names that are safe on every disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.disk.paths import remove, slug
from bot.errors import SourceError


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Qwen/Qwen3.6-35B-A3B", "Qwen--Qwen3.6-35B-A3B"),
        ("../../etc/passwd", "..--..--etc--passwd".strip(".-")),
        ("a b\n\0c", "a-b-c"),
        ("...", "model"),
        ("ü" * 300, "model"),
    ],
)
def test_slug_is_one_harmless_component(name: str, clean: str) -> None:
    made = slug(name)
    assert made == clean
    assert "/" not in made
    assert made not in {"", ".", ".."}


def test_nothing_is_deleted_that_is_not_proven_to_be_below(tmp_path: Path) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    (place / "in").mkdir(parents=True)
    other.mkdir()
    (other / "kept").write_text("x")
    (place / "link").symlink_to(other)
    for path in (other, other / "kept", place, place / "..", place / "link" / "kept", tmp_path):
        with pytest.raises(SourceError, match="left alone"):
            remove(path, place)
    remove(place / "link", place)
    remove(place / "in", place)
    remove(place / "gone", place)
    assert (other / "kept").is_file()
    assert list(place.iterdir()) == []
