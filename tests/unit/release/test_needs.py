"""What settings name and is not there, or is something else: found before anything is made."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from bot.cli.machine import doctor
from bot.cli.main import cli
from bot.disk.hashes import sha256
from bot.errors import SettingsError
from bot.progress import Narrator
from bot.records.findings import Finding
from bot.release import needs
from bot.settings.sections import DEMO
from bot.settings.settings import load
from bot.workplace.demo_texts import EVERY_USE, MATRIX, TEXT
from bot.workplace.demo_texts import TASKS as TASK_FILES
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub

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
    file.write_text(yaml.safe_dump({"workdir": "work", "demo_texts": True, **settings}))
    return file


@pytest.mark.parametrize("name", HERE)
def test_what_lacks_here_is_named_by_its_key(name: str, tmp_path: Path) -> None:
    settings, key, said = HERE[name]
    file = folder_with(tmp_path, settings)
    mine = Workplace(load(file), Narrator(quiet=True), None)
    found = [(".".join(map(str, place)), text) for place, text in needs.lacking_here(mine)]
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
    assert list(needs.lacking_here(Workplace(load(file), Narrator(quiet=True), None))) == []
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


ALL = {"calibration.texts", "evaluation.text"}
MIX, SHEET = {"texts": ["t.txt"]}, {"text": "t.txt", "tasks": ["t.txt"]}
NOT_NAMED: dict[str, tuple[dict[str, Any], tuple[str, ...], frozenset[str], set[str]]] = {
    "nothing is named": ({}, (), EVERY_USE, ALL),
    "it is said": ({"demo_texts": True}, (), EVERY_USE, set()),
    "all is named": ({"calibration": MIX, "evaluation": SHEET}, (), EVERY_USE, set()),
    "tiers without a matrix": ({"evaluation": SHEET}, ("Balanced", "Compact"), EVERY_USE, set()),
    "one with it": ({"evaluation": SHEET}, ("I-Mini",), EVERY_USE, {"calibration.texts"}),
    "a baseline with it": (
        {"evaluation": SHEET, "quantize": {"baselines": ["I-Q4_K_M"]}},
        ("Balanced",), EVERY_USE, {"calibration.texts"},
    ),
    "tasks alone": (
        {"calibration": MIX, "evaluation": {"text": "t.txt"}}, (), EVERY_USE, {"evaluation.tasks"},
    ),
    "no tasks at all": (
        {"calibration": MIX, "evaluation": {"text": "t.txt", "tasks": []}}, (), EVERY_USE, set(),
    ),
    "by its path": (
        {"calibration": {"texts": [str(DEMO / "calibration.txt")]}, "evaluation": SHEET},
        (), EVERY_USE, {"calibration.texts"},
    ),
    "by a name in data": (
        {
            "calibration": MIX,
            "evaluation": {**SHEET, "text": "pages"},
            "data": {"pages": {
                "path": str(DEMO / "evaluation.txt"),
                "sha256": sha256(DEMO / "evaluation.txt"),
                "licence": "CC0-1.0",
            }},
        },
        (), EVERY_USE, {"evaluation.text"},
    ),
    "calibrating alone": ({"calibration": MIX}, (), frozenset({MATRIX}), set()),
    "perplexity alone": ({"evaluation": {"text": "t.txt"}}, (), frozenset({TEXT}), set()),
    "tasks measured alone": ({"evaluation": SHEET}, (), frozenset({TASK_FILES}), set()),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_NAMED)
def test_the_demos_texts_are_for_a_real_model_only_where_that_is_said(
    name: str, tmp_path: Path
) -> None:
    settings, tiers, uses, keys = NOT_NAMED[name]
    file = folder_with(tmp_path, {"demo_texts": False, **settings})
    mine = Workplace(load(file), Narrator(quiet=True), None)
    found = {
        ".".join(map(str, place)): text for place, text in needs.lacking_here(mine, tiers, uses)
    }
    assert found.keys() == keys
    assert all("`demo_texts: true`" in text for text in found.values())


def test_a_ready_matrix_needs_no_text(tmp_path: Path) -> None:
    file = folder_with(
        tmp_path, {"demo_texts": False, "calibration": {"file": "m.dat"}, "evaluation": SHEET}
    )
    found = list(needs.lacking_here(Workplace(load(file), Narrator(quiet=True), None)))
    assert [place for place, _ in found] == [("calibration", "file")]  # that it is not there


@pytest.mark.parametrize(
    "verb",
    [
        ("publish", "--license", "mit"),
        ("publish", "--dry-run", "--license", "mit"),
        ("calibrate",),
        ("quantize",),
        ("evaluate",),
        ("evaluate", "--measures", "ppl"),
        ("evaluate", "--measures", "tasks"),
        ("card", "--to", "alice/M"),
    ],
)
def test_no_verb_takes_the_demos_texts_for_a_model_unasked(
    verb: tuple[str, ...],
    tmp_path: Path,
    demo_model: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    file = folder_with(tmp_path, {"demo_texts": False, "hub": {"endpoint": hub.url}})
    done = CliRunner().invoke(cli, ["--config", str(file), verb[0], str(demo_model), *verb[1:]])
    assert isinstance(done.exception, SettingsError), (done.output, done.exception)
    assert "}`, or `demo_texts: true`" in str(done.exception)
    assert not list((tmp_path / "work").rglob("*.gguf"))


def test_a_watcher_that_builds_here_says_so_at_its_start(tmp_path: Path, hub: Hub) -> None:
    file = folder_with(tmp_path, {"demo_texts": False, "hub": {"endpoint": hub.url}})
    watch = ["--config", str(file), "watch", "--once"]
    assert CliRunner().invoke(cli, watch).exit_code == 0
    done = CliRunner().invoke(cli, [*watch, "--build"])
    assert isinstance(done.exception, SettingsError), (done.output, done.exception)
    assert "`demo_texts: true`" in str(done.exception)


@pytest.mark.road
def test_the_check_asks_for_texts_once_it_is_said_who_publishes(tmp_path: Path) -> None:
    file = folder_with(tmp_path, {"demo_texts": False, "hub": {"namespace": "alice"}})
    shown = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert (shown.exit_code, shown.stdout.count("`demo_texts: true`")) == (3, 2)
    found = examined(file)
    assert (found.good, "evaluation: {preset: recommended}" in found.text) == (False, True)
    file.write_text("workdir: work\n")
    assert CliRunner().invoke(cli, ["config", "check", str(file)]).exit_code == 0
    assert examined(file).good is False


def examined(file: Path) -> Finding:
    """What the doctor says of all that a release needs."""
    return next(finding for finding in doctor.examine(file) if finding.name == "needs")
