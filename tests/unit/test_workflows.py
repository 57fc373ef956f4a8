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

from bot.settings import data_folder

FILES = sorted(data_folder("workflows").glob("*.yml"))
BIN = Path(sys.executable).parent
WRITING = ("publish", "release")  # the jobs that have the token that may write


def checked(*command: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker that has no network: a proxy that nobody serves."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return subprocess.run(
        [str(BIN / command[0]), *command[1:], *map(str, FILES)],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )


def test_zizmor_finds_nothing(tmp_path: Path) -> None:
    done = checked("zizmor", "--offline", "--no-progress", "--persona=pedantic", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_of_workflows_holds(tmp_path: Path) -> None:
    done = checked("check-jsonschema", "--builtin-schema", "vendor.github-workflows", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_act_takes_it(file: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(BIN / "act"), "-W", str(file), "--strict", "--validate"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


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
        whole = yaml.safe_load(path.read_text())
        assert whole["permissions"] == {}, path.name
        assert whole["concurrency"]["cancel-in-progress"] is False, path.name
        assert set(whole[True]) <= {"repository_dispatch", "workflow_dispatch", "schedule"}


def test_only_the_step_that_sends_has_the_token_that_may_write() -> None:
    for file, name, job in jobs():
        assert "secrets" not in str({key: job[key] for key in job if key != "steps"}), (file, name)
        for step in job["steps"]:
            if "HF_WRITE_TOKEN" in str(step):
                assert (step["run"], name in WRITING) == ("bot step publish", True)
                assert job["environment"] == "hub-publish"
            if step.get("run") in ("bot step quantize", "bot step describe"):
                said = str(step).replace("secrets.HF_STAGING_TOKEN", "")
                assert "secrets" not in said, (file, name)


def test_no_job_may_ask_for_an_id_token_unless_the_user_lets_the_sending_one() -> None:
    """`id-token: write` stands as a comment in one place."""
    offered = re.compile(r"^( +)# (id-token: write) #.*$", re.MULTILINE)
    texts = {path.name: path.read_text() for path in FILES}
    assert [name for name, text in texts.items() if "id-token" in text] == ["release.yml"]
    assert not any("id-token" in str(job) for _, _, job in jobs())
    text, count = offered.subn(r"\1\2", texts["release.yml"])
    assert count == 1
    granted = {
        name: job["permissions"]
        for name, job in yaml.safe_load(text)["jobs"].items()
        if "id-token" in job["permissions"]
    }
    assert granted == {"publish": {"contents": "read", "id-token": "write"}}


def test_actions_run_on_a_node_that_github_keeps() -> None:
    """checkout runs on Node 24 from its fifth version on; before on Node 20, which goes."""
    used = [
        re.fullmatch(r"actions/checkout@[0-9a-f]{40} # v(\d+)\.\d+\.\d+", line.split("uses: ")[1])
        for file in FILES
        for line in file.read_text(encoding="utf-8").splitlines()
        if "uses: " in line
    ]
    assert used
    assert all(found is not None and int(found[1]) >= 5 for found in used)
