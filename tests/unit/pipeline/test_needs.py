"""What settings name and is not there, or is something else: found before anything is made."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from bot.cli import cli
from bot.errors import SettingsError
from bot.pipeline import needs
from bot.pipeline.models import Pipeline
from bot.progress import Narrator
from bot.settings import DEMO, load

TASKS = (DEMO / "tasks.txt").read_bytes()
OTHER = {"path": "t.txt", "sha256": "0" * 64, "licence": "MIT"}
HERE: dict[str, tuple[dict[str, Any], str, str]] = {
    "a text misspelt": ({"evaluation": {"text": "wikitxt"}}, "evaluation.text", "neither a file"),
    "a task misspelt": ({"evaluation": {"tasks": ["hela"]}}, "evaluation.tasks.0", "neither a"),
    "tasks in bzip2": ({"evaluation": {"tasks": ["t.bz2"]}}, "evaluation.tasks.0", "(bzip2)"),
    "tasks in gzip": ({"evaluation": {"tasks": "t.gz"}}, "evaluation.tasks.0", "(gzip)"),
    "tasks that are none": ({"evaluation": {"tasks": "b.txt"}}, "evaluation.tasks.0", "UTF-8"),
    "a text in bzip2": ({"evaluation": {"text": "t.bz2"}}, "evaluation.text", "(bzip2)"),
    "a folder as text": ({"evaluation": {"text": "folder"}}, "evaluation.text", "neither a file"),
    "a text that is none": ({"evaluation": {"text": "b.txt"}}, "evaluation.text", "UTF-8"),
    "no results": ({"evaluation": {"imported": ["x.log"]}}, "evaluation.imported.0", "no file of"),
    "no templates": ({"templates": "gone"}, "templates", "is no folder"),
    "no block": ({"templates": "other"}, "templates", "replaces no block"),
    "a broken template": ({"templates": "folder"}, "templates", "line 1"),
    "no device": ({"llama": {"devices": ["CUDA7"]}}, "llama.devices", "no device 'CUDA7'"),
    "no such type": ({"quantize": {"baselines": ["Q9"]}}, "quantize.baselines", "no file type"),
    "no matrix": ({"calibration": {"file": "m.gguf"}}, "calibration.file", "does not exist"),
    "another matrix": ({"calibration": {"file": "b.txt"}}, "calibration.file", ""),
    "no mix": ({"calibration": {"texts": ["a.txt"]}}, "calibration.texts.0", "does not exist"),
    "a packed mix": ({"calibration": {"texts": ["t.gz"]}}, "calibration.texts.0", "(gzip)"),
    "no profiles": ({"profiles": "folder"}, "profiles", "has no profiles"),
    "other data": ({"data": {"x": OTHER}}, "data.x", "has the sha256"),
}  # fmt: skip


def folder_with(tmp_path: Path, settings: dict[str, Any]) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "folder" / "header.md.j2").write_text("{% if %}")
    (tmp_path / "other" / "heder.md.j2").write_text("x")
    (tmp_path / "t.txt").write_bytes(TASKS)
    (tmp_path / "t.bz2").write_bytes(bz2.compress(TASKS))
    (tmp_path / "t.gz").write_bytes(gzip.compress(TASKS))
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe" + bytes(range(256)))
    file = tmp_path / "bot.yaml"
    file.write_text(yaml.safe_dump({"workdir": "work", **settings}))
    return file


@pytest.mark.parametrize("name", HERE)
def test_what_lacks_here_is_named_by_its_key(name: str, tmp_path: Path) -> None:
    settings, key, said = HERE[name]
    file = folder_with(tmp_path, settings)
    mine = Pipeline(load(file), Narrator(quiet=True), None)
    found = [(".".join(map(str, place)), text) for place, text in needs.here(mine)]
    assert [place for place, _ in found] == [key], found
    assert said in found[0][1]
    with pytest.raises(SettingsError, match=key):
        needs.require_here(mine)
    shown = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert shown.exit_code == 3
    assert shown.stdout.startswith(f"{file}:")
    assert key.split(".")[0] in shown.stdout


def test_what_is_there_is_no_lack(tmp_path: Path) -> None:
    file = folder_with(tmp_path, {"evaluation": {"tasks": "t.txt"}})
    assert list(needs.here(Pipeline(load(file), Narrator(quiet=True), None))) == []
    assert CliRunner().invoke(cli, ["config", "check", str(file)]).exit_code == 0


def test_a_rehearsal_finds_all_that_lacks(tmp_path: Path, demo_model: Path) -> None:
    lacking = {"evaluation": {"text": "wikitxt", "tasks": ["t.bz2"]}, "templates": "gone"}
    file = folder_with(tmp_path, lacking)
    done = CliRunner().invoke(
        cli, ["--config", str(file), "publish", str(demo_model), "--dry-run", "--license", "mit"]
    )
    assert isinstance(done.exception, SettingsError)
    for key in ("evaluation.text", "evaluation.tasks.0", "templates"):
        assert key in str(done.exception)
