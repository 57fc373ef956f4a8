"""The verbs around the watcher, over a ledger and without one."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from bot.cli.main import cli


def test_mistakes_of_settings_are_one_document(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("workdr: x\nwatch: {pages: 3}\n")
    done = CliRunner().invoke(cli, ["config", "check", str(file), "--json"])
    assert done.exit_code == 3
    found = json.loads(done.stdout)["mistakes"]
    assert [(one["line"], one["key"]) for one in found] == [(1, "workdr"), (2, "watch.pages")]
