"""The workflow files as they are installed: checked by others' tools, and by our own rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.settings.sections import data_folder
from tests.workflow_forms import OFFER, made, written

FILES = sorted(data_folder("workflows").glob("*.yml"))
BIN = Path(sys.executable).parent
WRITING = ("publish", "release")  # the jobs that have the token that may write


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Each form that `bot init` makes, as a file."""
    folder = tmp_path_factory.mktemp("forms")
    return written(made(folder), folder / "all")


def checked(*command: str, home: Path, files: list[Path]) -> subprocess.CompletedProcess[str]:
    """Run a checker that has no network: a proxy that nobody serves."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return subprocess.run(
        [str(BIN / command[0]), *command[1:], *map(str, files)],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )


ZIZMOR = ("zizmor", "--offline", "--no-progress", "--no-config", "--persona=pedantic")


@pytest.mark.road
def test_zizmor_finds_nothing_in_any_form(tmp_path: Path, forms: list[Path]) -> None:
    done = checked(*ZIZMOR, home=tmp_path, files=forms)
    assert done.returncode == 0, done.stdout + done.stderr
    # it would find something: a job that lets every step have what one needs
    worse = tmp_path / "worse.yml"
    worse.write_text(forms[0].read_text().replace("permissions: {}", "permissions: write-all"))
    assert checked(*ZIZMOR, home=tmp_path, files=[worse]).returncode != 0


def test_the_schema_of_workflows_holds_for_any_form(tmp_path: Path, forms: list[Path]) -> None:
    schema = ("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    done = checked(*schema, home=tmp_path, files=forms)
    assert done.returncode == 0, done.stdout + done.stderr


def test_act_takes_every_form(tmp_path: Path, forms: list[Path]) -> None:
    for file in forms:
        done = checked("act", "--strict", "--validate", "-W", home=tmp_path, files=[file])
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_forms_are_all_that_can_be_made(forms: list[Path]) -> None:
    """For one runner and for more, with the user's labels, renewed, and with lent tokens."""
    texts = [path.read_text() for path in forms]
    assert {path.name.partition("-")[2] for path in forms} == {file.name for file in FILES}
    assert any("cuda, big]" in text for text in texts)
    lent = [text for text in texts if "      id-token: write" in text]
    assert lent
    for text in lent:
        granted = {
            name: job["permissions"]
            for name, job in yaml.safe_load(text)["jobs"].items()
            if "id-token" in str(job)
        }
        assert granted == {"publish": {"contents": "read", "id-token": "write"}}


def test_the_job_that_may_be_lent_tokens_does_nothing_but_send() -> None:
    """No template is rendered there, no plot drawn, no model opened."""
    release = yaml.safe_load((data_folder("workflows") / "release.yml").read_text())
    steps = release["jobs"]["publish"]["steps"]
    assert [step.get("run", "checkout") for step in steps] == ["checkout", "bot step publish"]


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each job of each file."""
    for file in FILES:
        for name, job in yaml.safe_load(file.read_text())["jobs"].items():
            yield file.name, name, job


def test_there_are_workflows() -> None:
    assert {"release.yml", "release-single.yml"} <= {file.name for file in FILES}


def test_every_step_is_the_bot_and_holds_no_expression() -> None:
    for file, name, job in jobs():
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/checkout@[0-9a-f]{40}", step["uses"]), (file, name)
                assert step["with"] == {"persist-credentials": False}
            else:
                assert re.fullmatch(r"bot [a-z -]+", step["run"]), (file, name, step["run"])


def test_every_job_ends_and_may_do_little() -> None:
    for file, name, job in jobs():
        assert isinstance(job["timeout-minutes"], int), (file, name)
        assert "self-hosted" in job["runs-on"], (file, name)
    for path in FILES:
        text = yaml.safe_load(path.read_text())
        assert text["permissions"] == {}, path.name
        assert text["concurrency"]["cancel-in-progress"] is False, path.name
        assert set(text[True]) <= {"repository_dispatch", "workflow_dispatch", "schedule"}


def test_only_the_step_that_sends_has_the_token_that_may_write() -> None:
    for file, name, job in jobs():
        assert "secrets" not in str({key: job[key] for key in job if key != "steps"}), (file, name)
        for step in job["steps"]:
            if "HF_WRITE_TOKEN" in str(step):
                assert (step["run"], name in WRITING) == ("bot step publish", True)
                assert job["environment"] == "hub-publish"
            if step.get("run") in ("bot step quantize", "bot step describe"):
                text = str(step).replace("secrets.HF_STAGING_TOKEN", "")
                assert "secrets" not in text, (file, name)


def test_no_job_may_ask_for_an_id_token_unless_the_user_lets_the_sending_one() -> None:
    """`id-token: write` stands as a comment in one place."""
    texts = {path.name: path.read_text() for path in FILES}
    assert [name for name, text in texts.items() if "id-token" in text] == ["release.yml"]
    assert not any("id-token" in str(job) for _, _, job in jobs())
    assert len(OFFER.findall(texts["release.yml"])) == 1


def test_actions_run_on_a_node_that_github_keeps() -> None:
    """checkout runs on Node 24 from its fifth version on; before on Node 20, which goes."""
    used = [
        re.fullmatch(r"actions/checkout@[0-9a-f]{40} # v(\d+)\.\d+\.\d+", line.split("uses: ")[1])
        for file in FILES
        for line in file.read_text(encoding="utf-8").splitlines()
        if "uses: " in line
    ]
    assert used
    assert all(match is not None and int(match[1]) >= 5 for match in used)
