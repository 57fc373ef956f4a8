"""Results as text: what is shown of which values."""

from __future__ import annotations

from pathlib import Path

from bot.cli.text import text_tables
from bot.detect.inspection import look_at_folder
from tests import headers
from tests.unit.detect.test_inspection import indexed


def test_roles_told_by_words_are_shown(tmp_path: Path) -> None:
    indexed(tmp_path / "source", headers.deepseek_v4())
    seen = look_at_folder(tmp_path / "source")
    assert "guessed" in text_tables.sight_text(seen)
    assert len(text_tables.sight_values(seen)["guessed"]) > 1
