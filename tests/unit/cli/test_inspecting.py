"""What a model is and what would be made of it, by its headers alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.errors import SettingsError, SourceError
from bot.settings.sections import DEMO
from tests import headers
from tests.unit.cli.running import bot
from tests.unit.detect.test_inspection import indexed


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with a config and headers of weights, without their rows."""
    indexed(tmp_path / "source", headers.deepseek_v4())
    return tmp_path / "source"


def test_a_checkpoint_is_told_by_its_headers(checkpoint: Path) -> None:
    values = json.loads(bot("inspect", str(checkpoint), "--json"))
    assert (values["decision"], values["outcome"]) == ("build", "eligible")
    assert values["architecture"]["experts"] == values["experts"]
    text = bot("inspect", str(checkpoint))
    assert f"{values['experts']} routed" in text
    assert f"stored      {values['architecture']['source_bytes']:,} bytes: MXFP4 " in text
    assert "for source, GGUF and tiers" in text
    assert values["foreseen"]["converted"] > 0


def test_a_gguf_file_tells_itself(demo_model: Path) -> None:
    values = json.loads(bot("inspect", str(demo_model), "--json"))
    assert values["source_type"] == "BF16"
    assert f"{values['layers']}" in bot("inspect", str(demo_model))


def test_a_config_alone_tells_whether_it_can_be_built_and_has_no_plan() -> None:
    values = json.loads(bot("inspect", str(DEMO / "config.json"), "--json"))
    assert (values["decision"], values["architecture"]) == ("build", None)
    with pytest.raises(SourceError, match=r"config\.json"):
        bot("plan", str(DEMO / "config.json"))


@pytest.mark.parametrize(
    "given",
    [
        ["--runner", "box"],
        ["--time", "--machines", "3"],
        ["--time", "--recipe", "I-Mini"],
        ["--time", "--recipe", "I-Mini", "--runner", "box"],
    ],
)
def test_options_that_do_nothing_together_are_refused(given: list[str]) -> None:
    with pytest.raises(SettingsError, match=r"; give (both|one)$"):
        bot("plan", "nothing/is-looked-up", *given)


def test_a_plan_is_made_without_weights(checkpoint: Path) -> None:
    recipes = json.loads(bot("plan", str(checkpoint), "--tiers", "I-Mini,Quality", "--json"))
    assert {recipe["tier"] for recipe in recipes} == {"Quality", "I-Mini"}
    assert all(recipe["file_bytes"] > 0 for recipe in recipes)
    text = bot("plan", str(checkpoint), "--tiers", "I-Mini,Quality")
    assert "disk: " in text
    lines = bot("plan", str(checkpoint), "--recipe", "I-Mini").splitlines()
    assert len(lines) == len(next(r for r in recipes if r["tier"] == "I-Mini")["assignments"])
    assert all(line.count("\t") == 3 for line in lines)
