"""Names that are safe on every disk."""

from __future__ import annotations

import pytest

from bot.disk.paths import slug


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
