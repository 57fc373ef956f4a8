"""Mistakes in bot.yaml, each on its line; and the shipped schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings.configcheck import check, mistakes, settings_schema

SHIPPED = Path(__file__).resolve().parents[3] / "bot.schema.json"

WRONG = """\
workdir: /tmp/x
policy:
  settle_hours: -1
  approvel: true
  rules:
    - match: [Qwen]
      tires: [I-Mini]
    - approval: true
watch:
  page: 100
  page: 5000
"""


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(WRONG)
    assert [(m.line, m.key) for m in mistakes(file)] == [
        (3, "policy.settle_hours"),
        (4, "policy.approvel"),
        (7, "policy.rules.0.tires"),
        (8, "policy.rules.1.match"),
        (10, "watch.page"),
        (11, "watch.page"),
    ]
    assert str(mistakes(file)[1]) == "4: policy.approvel: there is no such key"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: [1\nb: 2\n", 2, "not YAML"),
        ("- 1\n", 1, "holds no keys"),
        ("policy: {extends: bold}\n", 1, "'bold' is no file and no preset"),
    ],
)
def test_what_is_no_settings_file_at_all(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(text)
    [found] = mistakes(file)
    assert found.line == line
    assert said in found.text


def test_a_right_file_has_none_and_a_missing_one_is_said(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("policy: {extends: [recommended], rules: [{match: [Qwen], likes: 3}]}\n")
    assert check(file) == []
    with pytest.raises(SettingsError, match="cannot be read"):
        check(tmp_path / "none.yaml")


def test_the_environment_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("watch: {page: 100}\n")
    monkeypatch.setenv("BOT_WATCH__LIMIT", "0")
    assert any("limit" in mistake.key for mistake in check(file))


def test_the_shipped_schema_is_that_of_the_settings() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == settings_schema(), "run bot config schema"
