"""Verbs about runs, on a local GitHub; a person's whole day with them: tests/e2e/test_github.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.errors import BotError, SettingsError
from tests.local_github.scripted import Script
from tests.local_github.server import TOKEN, GitHub
from tests.local_hub.server import Hub
from tests.unit.cli.running import bot

MODEL = "lab/Model"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, hub: Hub, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that name a Hub with a release, and a GitHub with the workflows."""
    monkeypatch.setenv("BOT_CONFIG", str(tmp_path / "bot.yaml"))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    maker = Client(hub.url, SecretStr(hub.token))
    maker.create_private(MODEL)
    maker.make_public(MODEL)
    (tmp_path / "bot.yaml").write_text(
        f"workdir: work\nhub: {{endpoint: '{hub.url}'}}\n"
        f"github: {{repo: me/builds, api_url: '{github.url}', poll_seconds: 0.01}}\n"
    )


def test_what_would_be_sent_is_shown_and_not_sent(github: GitHub) -> None:
    values = json.loads(bot("dispatch", MODEL, "--tiers", "I-Mini", "--dry-run", "--json"))
    assert (values["repo"], values["inputs"]["tiers"]) == ("me/builds", "I-Mini")
    lines = bot("dispatch", MODEL, "--dry-run").splitlines()
    assert lines[0].endswith("release.yml of me/builds at main")
    assert any(line.split() == ["tiers", "(all)"] for line in lines)
    assert bot("publish", MODEL, "--on", "github", "--dry-run").splitlines() == lines
    assert github.repository.runs == []


def test_an_order_is_sent_once_and_its_run_is_shown(github: GitHub) -> None:
    link = bot("dispatch", MODEL).strip()
    github.repository.wait()
    assert bot("dispatch", MODEL) == f"{link} is succeeded already\n"
    (run,) = json.loads(bot("runs", "--json"))
    assert (run["link"], run["state"], run["model"]) == (link, "succeeded", MODEL)
    assert bot("runs", str(run["id"])).startswith(f"{link}: succeeded\n{MODEL}, attempt 1")
    jobs = json.loads(bot("runs", str(run["id"]), "--json"))["jobs"]
    assert {job["name"] for job in jobs} == {"prepare", "quantize", "publish"}
    assert bot("rerun", MODEL) == f"{link} runs again\n"
    github.repository.wait()


def test_a_run_that_fails_ends_a_publication_with_what_repeats_it(
    github: GitHub, script: Script
) -> None:
    script.results.append({"prepare": "failure"})
    script.log = "Error: it is no mixture\n##[error]Process completed with exit code 4."
    with pytest.raises(BotError, match=r"failed: prepare.*it is no mixture; `bot rerun \d+ --fa"):
        bot("publish", MODEL, "--on", "github")
    assert bot("publish", MODEL, "--on", "github").endswith(" succeeded\n")
    github.repository.wait()


def test_a_repository_without_the_workflows_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_text("workdir: work\n")
    with pytest.raises(SettingsError, match=r"github\.repo is not set"):
        bot("runs")
