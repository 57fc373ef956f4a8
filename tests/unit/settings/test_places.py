"""Paths of settings and of the command line: made whole at the edge, by the right folder."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from bot.errors import SettingsError
from bot.settings.making import DataSettings
from bot.settings.settings import Settings, load

EVERYWHERE: dict[str, Any] = {
    "workdir": "rel/work",
    "lock": "rel/bot.lock",
    "data_from": "rel/sets",
    "profiles": "rel/profiles",
    "templates": "rel/templates",
    "calibration": {"file": "rel/im.gguf", "texts": ["rel/a.txt", {"name": "b", "path": "rel/b"}]},
    "data": {
        "here": {"path": "rel/data", "sha256": "0" * 64, "licence": "MIT"},
        "there": {
            "path": "in/repository.txt", "repository": "a/b", "commit": "0" * 40,
            "sha256": "0" * 64, "licence": "MIT",
        },
    },
    "evaluation": {
        "text": "rel/text", "tasks": ["here", "rel/tasks"], "imported": ["rel/log"],
        "behaviour": {"prompts": "rel/prompts.json"}, "domains": {"chat": {"data": "rel/chat"}},
    },
    "convert": {"llama_cpp": "rel/llama", "python": "rel/python"},
    "llama": {"library": "rel/libraries"},
    "watch": {"advisories": ["rel/advisories.yaml"]},
}  # fmt: skip


def paths(value: Any) -> list[Path]:
    """Every path that settings hold, but those of a repository."""
    if isinstance(value, Path):
        return [value]
    if isinstance(value, DataSettings) and value.repository:
        return []
    if isinstance(value, BaseModel):
        return [path for name in type(value).model_fields for path in paths(getattr(value, name))]
    inner = value.values() if isinstance(value, dict) else value
    return [p for one in inner for p in paths(one)] if isinstance(value, dict | tuple) else []


def kinds(model: type[BaseModel]) -> int:
    """How many kinds of paths settings know."""

    def count(kind: Any) -> int:
        if kind is Path:
            return 1
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kinds(kind)
        return sum(count(one) for one in typing.get_args(kind))

    return sum(count(field.annotation) for field in model.model_fields.values())


def test_relative_paths_of_the_file_start_at_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "settings").mkdir()
    file = tmp_path / "settings" / "bot.yaml"
    file.write_text(yaml.safe_dump(EVERYWHERE))
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = load(Path("../settings/bot.yaml"))
    told = [path for path in paths(found) if path != Path("here")]
    assert len(told) == len(paths(found)) - 1, "a name in `data` is no path"
    for path in told:
        assert path.is_absolute()
        assert "elsewhere" not in path.parts or ".." in path.parts
        assert path.resolve().is_relative_to(file.parent / "rel"), path
    assert found.data["there"].path == Path("in/repository.txt")
    # every kind of path that settings have is among those that were tried
    assert kinds(Settings) == 19


def test_home_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("workdir: ~/work\nevaluation: {text: ~/t.txt, tasks: ~/tasks.txt}\n")
    home = tmp_path / "home"
    found = load(file)
    assert found.workdir == home / "work"
    assert (found.evaluation.text, *found.evaluation.tasks) == (home / "t.txt", home / "tasks.txt")
    monkeypatch.setenv("BOT_WORKDIR", "~/other")
    assert load(file).workdir == home / "other"
    monkeypatch.delenv("BOT_WORKDIR")
    file.write_text("convert: {python: ~nobody-at-all/python}\n")
    with pytest.raises(SettingsError, match=r"convert\.python: ~nobody-at-all is nobody's home"):
        load(file)


def test_what_the_environment_says_starts_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOT_WORKDIR", "rel")
    monkeypatch.setenv("BOT_EVALUATION__TASKS", '["rel/tasks"]')
    found = load(None, evaluation={"text": "text.txt"})
    assert found.workdir == tmp_path / "rel"
    assert found.evaluation.tasks == (tmp_path / "rel" / "tasks",)
    assert found.evaluation.text == tmp_path / "text.txt"


def test_a_policy_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "bot.yaml").write_text("policy: {extends: [recommended, deep/mine.yaml]}\n")
    (tmp_path / "deep" / "mine.yaml").write_text("extends: base.yaml\nlikes: 4\n")
    (tmp_path / "deep" / "base.yaml").write_text("downloads: 9\n")
    policy = load(tmp_path / "bot.yaml").policy
    assert (policy.likes, policy.downloads) == (4, 9)
