"""The command line: verbs below headings, options of the whole command after a verb, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli.main import Bot, cli
from bot.cli.options import leaves

BOT = (sys.executable, "-m", "bot")


def test_every_verb_stands_below_one_heading() -> None:
    listed = [name for names in Bot.sections.values() for name in names]
    assert sorted(listed) == sorted(cli.commands)
    help_text = CliRunner().invoke(cli, ["--help"]).output
    assert "Others:" not in help_text
    for title in Bot.sections:
        assert f"{title}:" in help_text


def test_options_of_the_whole_command_stand_before_or_after_the_verb(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("workdir: here\n")
    for words in (
        ("--config", str(file), "-q", "status", "--json"),
        ("status", "--json", "--config", str(file), "-q"),
        ("status", "--quiet", "--config", str(file), "--json"),
    ):
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)
        assert (tmp_path / "here" / "ledger.sqlite").is_file()
    for command in leaves(cli):
        own = [word for param in command.params for word in param.opts]
        assert {"--config", "-q", "--quiet", "--log"} <= set(own), command.name
        assert len(own) == len(set(own)), f"{command.name}: an option twice"


@pytest.mark.road
def test_quiet_after_the_verb_is_quiet(tmp_path: Path, demo_model: Path) -> None:
    environment = {**os.environ, "BOT_WORKDIR": str(tmp_path / "work")}
    for words, silent in (
        (("plan", str(demo_model)), False),
        (("plan", str(demo_model), "-q"), True),
    ):
        done = subprocess.run(
            [*BOT, *words], capture_output=True, text=True, env=environment, check=True
        )
        assert (done.stderr == "") is silent


def test_the_shell_is_told_how_to_complete() -> None:
    environment = {**os.environ, "_BOT_COMPLETE": "bash_complete", "COMP_WORDS": "bot pla"}
    done = subprocess.run(
        BOT, capture_output=True, text=True, env={**environment, "COMP_CWORD": "1"}, check=False
    )
    assert "plan" in done.stdout
