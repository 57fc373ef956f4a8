"""A rehearsal's repository: linked, not copied, and gone at the end."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from bot.disk.hashes import sha256
from bot.errors import SettingsError
from bot.localhub.files.commit_body import REGULAR_LIMIT
from bot.localhub.files.repositories import Store
from bot.localhub.server import RunningHub
from bot.records.built import Built
from bot.verbs.card_preview import fill


def _built(path: Path) -> Built:
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Built]:
    """A card, and a model that git would not hold."""
    card, model = tmp_path / "README.md", tmp_path / "M-I-Mini.gguf"
    card.write_text("---\nlicense: mit\n---\n# A card\n")
    with model.open("wb") as file:
        file.truncate(REGULAR_LIMIT + 1)
    return {path.name: _built(path) for path in (card, model)}


def test_the_page_is_served_and_large_files_are_not_copied(
    tmp_path: Path, files: dict[str, Built]
) -> None:
    with RunningHub(tmp_path / "hub") as hub:
        fill(hub.store, "me/M-GGUF", files)
        with urllib.request.urlopen(f"{hub.url}/me/M-GGUF") as reply:
            html = reply.read().decode()
    assert "<h1>A card</h1>" in html
    assert "10.5 MB" in html
    model = files["M-I-Mini.gguf"]
    card = files["README.md"]
    stored = Store(tmp_path / "hub").objects
    assert stored.path(model.sha256).samefile(model.path)
    assert not stored.path(card.sha256).samefile(card.path)


@pytest.mark.parametrize("name", ["me/..", "me/" + "x" * 200])
def test_names_that_a_hub_refuses(tmp_path: Path, files: dict[str, Built], name: str) -> None:
    with pytest.raises(SettingsError):
        fill(Store(tmp_path / "hub"), name, files)
