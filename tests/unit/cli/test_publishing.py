"""Publishing as far as it asks no Hub; whole publications: tests/e2e/test_road.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import AccessError, BotError, SettingsError
from tests.unit.cli.running import bot


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))


@pytest.mark.parametrize(
    "words",
    [("--to", "me/M"), ("--private",), ("--prune",), ("--unless-published",), ("--refresh",)],
)
def test_options_of_a_publication_here_are_refused_for_a_workflow(words: tuple[str, ...]) -> None:
    refused = bot("publish", "lab/Model", "--on", "github", *words, code=2)
    assert "are the workflow's own" in " ".join(refused.split())


def test_a_workflow_needs_a_repository_that_has_it() -> None:
    with pytest.raises(SettingsError, match=r"github\.repo is not set"):
        bot("publish", "lab/Model", "--on", "github")


@pytest.mark.parametrize("verb", ["publish", "push"])
def test_a_publication_needs_a_token(verb: str, demo_model: Path) -> None:
    with pytest.raises(AccessError, match="HF_TOKEN"):
        bot(verb, str(demo_model), "--to", "me/M-APEX-GGUF")


def test_going_back_needs_a_token() -> None:
    with pytest.raises(AccessError, match="HF_TOKEN"):
        bot("rollback", "me/M-APEX-GGUF", "0" * 12)


def test_of_nothing_there_is_no_timeline(demo_model: Path, tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_text("demo_texts: true\n")
    with pytest.raises(BotError):
        bot("--config", str(tmp_path / "bot.yaml"), "timeline", str(demo_model))
