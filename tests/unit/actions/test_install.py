"""What is proposed to a repository, for the first time and later."""

from __future__ import annotations

import json

import pytest
import yaml

from bot.actions.install import (
    PLACES,
    RECORD,
    RELEASE,
    SINGLE,
    installed_namespace,
    proposal_of,
    wanted_files,
)
from bot.errors import SettingsError
from bot.settings.configcheck import mistakes
from bot.settings.sections import data_folder

OLD = {RELEASE: "one\ntwo\nthree\nfour\nfive\n", "bot.yaml": "workdir: /srv\n"}
NEW = {RELEASE: "one\ntwo\nthree\nfour\nFIVE\n", "bot.yaml": "workdir: /srv\n"}


def installed(**changed: str) -> dict[str, str]:
    """A repository with the old files, some changed by the user."""
    return {**OLD, RECORD: json.dumps({"files": OLD}), **changed}


@pytest.mark.parametrize("single", [False, True])
def test_an_empty_repository_gets_everything(single: bool) -> None:
    new = wanted_files(data_folder("workflows"), single=single)
    proposal = proposal_of({}, new, upgrade=False)
    assert set(proposal.files) == (set(PLACES) - {RELEASE if single else SINGLE}) | {RECORD}
    name = "release-single.yml" if single else "release.yml"
    assert f"workflow: {name}\n" in proposal.files["bot.yaml"]
    title = yaml.safe_load((data_folder("workflows") / name).read_text())["name"]
    assert f"*{title}*" in proposal.files["APEX-BOT.md"]
    assert json.loads(proposal.files[RECORD])["files"] == new
    assert "Nothing runs until this is merged" in proposal.body


def test_what_is_to_be_installed_comes_from_no_name_that_anybody_may_register() -> None:
    text = wanted_files(data_folder("workflows"), single=False)["APEX-BOT.md"]
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert installs
    assert all("pip install ./" in line and "GGML_CUDA" in line for line in installs)
    for needed in ("bot toolchain install", "bot doctor", "hub.namespace", "calibration.texts"):
        assert needed in text


def test_the_namespace_that_was_given_stays_with_an_upgrade() -> None:
    new = wanted_files(data_folder("workflows"), single=False, namespace="lab")
    assert yaml.safe_load(new["bot.yaml"])["hub"]["namespace"] == "lab"
    present = proposal_of({}, new, upgrade=False).files
    assert installed_namespace(present) == "lab"
    assert installed_namespace(installed()) is None


def test_the_settings_that_are_proposed_are_right() -> None:
    assert mistakes(data_folder("workflows") / "install" / "bot.yaml") == []


def test_a_file_that_is_there_stays_and_twice_is_once() -> None:
    proposal = proposal_of({"bot.yaml": "mine: 1\n"}, NEW, upgrade=False)
    assert "bot.yaml" not in proposal.files
    assert "`bot.yaml` is there already and stays as it is" in proposal.notes
    assert proposal_of({**NEW, RECORD: ""}, NEW, upgrade=False).files == {}


def test_an_upgrade_keeps_what_the_user_changed() -> None:
    edited = "one\nTWO\nthree\nfour\nfive\n"
    proposal = proposal_of(installed(**{RELEASE: edited}), NEW, upgrade=True)
    assert proposal.files[RELEASE] == "one\nTWO\nthree\nfour\nFIVE\n"
    assert proposal.notes == (f"`{RELEASE}` is renewed; your changes are kept",)
    assert json.loads(proposal.files[RECORD])["files"] == NEW
    merged = {**installed(**{RELEASE: edited}), **proposal.files}
    assert proposal_of(merged, NEW, upgrade=True).files == {}


def test_an_upgrade_never_overrides_a_line_of_the_users() -> None:
    edited = "one\ntwo\nthree\nfour\nmine\n"
    proposal = proposal_of(installed(**{RELEASE: edited}), NEW, upgrade=True)
    assert RELEASE not in proposal.files
    assert "FIVE" in proposal.body
    assert "left to you" in proposal.body


def test_an_upgrade_brings_back_nothing_that_was_removed() -> None:
    present = installed()
    del present[RELEASE]
    proposal = proposal_of(present, {**NEW, "APEX-BOT.md": "new\n"}, upgrade=True)
    assert RELEASE not in proposal.files
    assert proposal.files["APEX-BOT.md"] == "new\n"


def test_an_upgrade_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="without --upgrade"):
        proposal_of({}, NEW, upgrade=True)
    with pytest.raises(SettingsError, match="damaged"):
        proposal_of({RECORD: "[]"}, NEW, upgrade=True)
