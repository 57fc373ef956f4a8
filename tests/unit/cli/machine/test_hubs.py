"""The verbs of a Hub of one's own."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from bot.cli.main import cli


def test_a_hubs_user_is_one_document(tmp_path: Path) -> None:
    words = ["hub", "add-user", str(tmp_path / "hub"), "me", "--org", "lab", "--json"]
    values = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)
    assert (values["name"], values["orgs"]) == ("me", ["lab"])
    assert values["token"].startswith("hf_")
