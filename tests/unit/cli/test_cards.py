"""Cards, rules and the gate, as far as nothing has to be measured for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli.main import cli
from bot.errors import SourceError
from bot.settings.sections import DEMO
from tests.unit.cli.running import bot


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder, and settings that may measure on the demo's texts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bot.yaml").write_text("workdir: work\ndemo_texts: true\n")


def test_the_card_of_a_model_lies_in_its_jobs_folder(demo_model: Path) -> None:
    assert "--out is for sheets" in bot("card", str(demo_model), "--out", "card", code=2)


def test_what_is_not_measured_has_no_verdict(demo_model: Path) -> None:
    with pytest.raises(SourceError, match="run `bot evaluate`"):
        bot("gate", str(demo_model), "--to", "me/M-APEX-GGUF")


def test_errors_of_a_folder_end_with_one_and_are_a_document(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    shutil.copyfile(DEMO / "tiny-moe-Q8_0.gguf", folder / "Tiny-Q8_0.gguf")
    (folder / "README.md").write_text("[the file](Other-Q8_0.gguf)\n")
    done = CliRunner().invoke(cli, ["lint", str(folder), "--json"])
    defects = json.loads(done.stdout)
    assert done.exit_code == int(any(defect["level"] == "error" for defect in defects))
    lines = CliRunner().invoke(cli, ["lint", str(folder)]).stdout.splitlines()
    assert len(lines) == len(defects) > 0
    assert all(f"{d['path']}: {d['text']}" in line for d, line in zip(defects, lines, strict=True))
