"""Parts of a release one by one: a look at a file, and what is missing for others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli.main import cli
from bot.errors import BotError
from bot.settings.sections import DEMO

SMALL = DEMO / "tiny-moe-Q8_0.gguf"


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))


def test_a_file_is_looked_at_without_being_run() -> None:
    done = run("verify", str(SMALL), "--no-run")
    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["ok", "header"], ["ok", "rows"], ["note", "recipe"],
        ["note", "template"],
    ]  # fmt: skip


def test_a_file_is_held_against_its_model() -> None:
    done = run("verify", str(SMALL), "--against", str(SMALL), "--no-run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)[2]
    assert (found["name"], found["good"]) == ("weights", True)
    assert "are the 16-bit model's, rounded" in found["text"]


def test_findings_before_the_wrong_one_are_in_the_document_too(tmp_path: Path) -> None:
    broken = tmp_path / "m.gguf"
    broken.write_bytes(SMALL.read_bytes()[:1_000_000])
    done = run("verify", str(broken), "--no-run", "--json")
    assert isinstance(done.exception, BotError)
    findings = json.loads(done.stdout)
    assert findings[-1]["good"] is False
    assert findings[-1]["text"] == str(done.exception)


def test_the_converter_is_asked_for_where_it_is_missing() -> None:
    done = run("toolchain", "show")
    assert isinstance(done.exception, BotError)
    assert "bot toolchain install" in str(done.exception)


def test_a_model_that_is_no_file_and_no_repository_is_refused(tmp_path: Path) -> None:
    for verb in ("calibrate", "quantize"):
        done = run(verb, str(tmp_path / "none.gguf"))
        assert isinstance(done.exception, BotError), verb
