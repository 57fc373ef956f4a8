"""Cards are rendered in a child: it gives text and no more, and is ended if it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.apart import sandbox
from bot.card import rendering
from bot.card.rendering import CardOrder, render
from bot.errors import BuildError, CapacityError, SettingsError
from tests.unit.card.samples import ABOUT, REPO, files, nine_tiers, rendered


def blocks(folder: Path, text: str) -> CardOrder:
    """An order whose last block is this text."""
    (folder / "credits.md.j2").write_text(text)
    return CardOrder(results=nine_tiers(), repo_id=REPO, files=(), about={}, templates=folder)


def test_a_template_without_an_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "LIMITS", replace(rendering.LIMITS, memory=400 << 20))
    with pytest.raises(BuildError, match="rendering the card failed: MemoryError"):
        render(blocks(tmp_path, "{{ 'a' * 10 ** 10 }}"))


@pytest.mark.road
def test_a_template_gives_text_and_no_more(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"credits\.md\.j2, line 1: access to attribute"):
        render(blocks(tmp_path, "{{ results.__class__.__mro__ }}"))
    assert "a[2Jb" in render(blocks(tmp_path, "a\x1b[2J\x07b"))
    with pytest.raises(BuildError, match="larger than 4 MB"):
        render(blocks(tmp_path, "{% for n in range(99999) %}" + "x" * 99 + "\n{% endfor %}"))


@pytest.mark.road
def test_the_child_renders_what_would_be_rendered_here() -> None:
    results = nine_tiers()
    values: dict[str, Any] = {"repo_id": REPO, "files": tuple(files(results)), "about": ABOUT}
    assert render(CardOrder(results=results, **values)) == rendered(results, **values)


def test_a_system_without_the_isolation_that_is_asked_for_renders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "none")
    with pytest.raises(CapacityError, match="isolation is cell"):
        render(blocks(tmp_path, "text"), "cell")
