"""`bot watch`, `bot dispatch` and the verbs about runs, as a person uses them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.road import BOT, Road
from tests.e2e.test_watching import MODEL, lines, release, status
from tests.local_github.repository import Runner as LocalRunner
from tests.local_github.scripted import Script
from tests.local_github.server import TOKEN, GitHub
from tests.local_hub.server import Hub

LOUD = "import logging; logging.basicConfig(level=0); from bot.cli.main import main; main()"


class Desk:
    """The command, with a Hub, a GitHub and a token for each."""

    def __init__(self, folder: Path, hub: Hub, github: GitHub) -> None:
        self.road = Road(folder=folder, url=hub.url, token=hub.token)
        self.github = github
        self.settings()

    def settings(self, **more: object) -> None:
        given = {"repo": "me/builds", "api_url": self.github.url, "poll_seconds": 0.1}
        self.road.settings(github={**given, **more})

    def bot(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {"GITHUB_TOKEN": TOKEN, **environment}
        return self.road.bot(*arguments, config=None, **environment)

    def json(self, *arguments: str) -> Any:
        done = self.bot(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def desk(tmp_path: Path, hub: Hub, github: GitHub) -> Desk:
    made = Desk(tmp_path, hub, github)
    release(made.road)
    return made


@pytest.mark.road
def test_the_watcher_has_a_release_built_by_github_and_shows_it(desk: Desk, script: Script) -> None:
    assert [found["decision"] for found in lines(desk.bot("watch", "--once", "--build", "--json"))]
    desk.github.repository.wait()
    done = desk.bot("watch", "--once", "--build")
    assert done.returncode == 0, done.stderr
    [task] = status(desk.road)["published"]
    [run] = desk.github.repository.runs
    assert task["link"].endswith(f"/me/builds/actions/runs/{run.id}")
    assert script.events[0]["inputs"]["model"] == MODEL
    assert f"`{MODEL}`" in desk.github.repository.issues[0].body
    assert "## Published (1)" in desk.github.repository.issues[0].body
    [listed] = desk.json("runs")
    assert (listed["state"], listed["model"], listed["id"]) == ("succeeded", MODEL, run.id)


@pytest.mark.road
def test_an_order_is_sent_once_and_a_failed_one_again(desk: Desk, script: Script) -> None:
    would = desk.json("dispatch", MODEL, "--dry-run", "--profiles", "I-Mini")
    assert would["inputs"]["tiers"] == "I-Mini"
    assert desk.github.repository.runs == []
    script.results.append({"prepare": "success", "quantize": "failure", "publish": "success"})
    script.log = "Error: the device is lost\n##[error]Process completed with exit code 8."
    first = desk.json("dispatch", MODEL)
    assert first["new"] is True
    desk.github.repository.wait()
    [failed] = desk.json("runs", MODEL)
    assert failed["state"] == "failed"
    told = desk.bot("runs", str(failed["id"])).stdout
    assert "quantize: Error: the device is lost" in told
    second = desk.json("dispatch", MODEL)
    assert second["order"]["delivery"] != first["order"]["delivery"]
    desk.github.repository.wait()
    third = desk.json("dispatch", MODEL)
    assert (third["new"], third["run"]["id"]) == (False, second["run"]["id"])
    assert "succeeded already" in desk.bot("dispatch", MODEL).stdout
    assert len(desk.github.repository.runs) == 2
    assert desk.bot("dispatch", "lab/Nothing-Here").returncode == 12
    assert desk.bot("dispatch", 'x"; touch PWNED; "').returncode == 4
    assert desk.bot("dispatch", MODEL, "--profiles", "I-Wrong").returncode == 3
    assert not list(desk.road.folder.rglob("PWNED"))


@pytest.mark.long
def test_a_run_is_cancelled_and_its_failed_jobs_run_again(desk: Desk, script: Script) -> None:
    with desk.github.repository.held():
        run = desk.json("dispatch", MODEL)["run"]
        assert desk.json("cancel", MODEL)["state"] == "cancelled"
    told = desk.json("runs", str(run["id"]))
    assert told["trouble"] == "it was cancelled by `bot cancel`"
    assert [job["conclusion"] for job in told["jobs"]] == ["cancelled"] * 3
    assert desk.bot("cancel", str(run["id"])).returncode == 4
    script.results.append({"prepare": "success", "quantize": "failure", "publish": "success"})
    assert desk.json("rerun", run["delivery"])["attempt"] == 2
    desk.github.repository.wait()
    assert desk.json("rerun", str(run["id"]), "--failed")["attempt"] == 3
    desk.github.repository.wait()
    assert "nothing of run" in desk.bot("rerun", MODEL, "--failed").stderr
    assert desk.json("runs", MODEL)[0]["state"] == "succeeded"
    desk.github.fail("POST", "rerun$", "after-500")
    assert desk.json("rerun", MODEL)["attempt"] == 4
    assert desk.bot("rerun", "lab/Other").returncode == 4


@pytest.mark.road
def test_a_failed_task_is_published_by_running_its_failed_jobs_again(
    desk: Desk, script: Script
) -> None:
    script.results.append({"prepare": "success", "quantize": "failure", "publish": "success"})
    assert desk.bot("watch", "--once", "--build").returncode == 0
    desk.github.repository.wait()
    assert desk.bot("watch", "--once", "--build").returncode == 0
    [task] = status(desk.road)["tasks"]
    assert (task["state"], task["attempts"]) == ("queued", 1)
    assert "queued, tried 1×" in desk.github.repository.issues[0].body
    assert desk.bot("rerun", MODEL, "--failed").returncode == 0
    assert status(desk.road)["counts"] == {"running": 1}
    desk.github.repository.wait()
    assert desk.bot("watch", "--once", "--build").returncode == 0
    assert status(desk.road)["counts"] == {"published": 1}
    [run] = desk.github.repository.runs
    assert run.attempt == 2


@pytest.mark.road
def test_publishing_on_github_is_followed_to_its_end(desk: Desk, script: Script) -> None:
    script.results.append({"prepare": "failure"})
    script.log = "Error: no mixture of experts\n##[error]Process completed with exit code 4."
    failed = desk.bot("publish", MODEL, "--on", "github")
    assert failed.returncode == 1
    assert "prepare, Run prepare: Error: no mixture of experts" in failed.stderr
    assert "--failed` repeats" in failed.stderr
    desk.github.fail("GET", r"runs/\d+$", "403-secondary", times=2)
    done = desk.bot("publish", MODEL, "--on", "github")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("succeeded\n")
    assert desk.bot("publish", MODEL, "--on", "github", "--private").returncode == 2
    assert "workflow_dispatch" in desk.bot("publish", MODEL, "--on", "github", "--dry-run").stdout


@pytest.mark.road
def test_the_doctor_looks_at_the_workflow_and_its_runners(desk: Desk) -> None:
    def said() -> str:
        found = json.loads(desk.bot("doctor", "--json").stdout)
        return str(next(finding["text"] for finding in found if finding["name"] == "github"))

    runners = desk.github.repository.runners
    assert "1 of 1 runners" not in said()
    assert "0 of 0 runners with the labels self-hosted, publish are online; start one" in said()
    runners.append(LocalRunner(name="desk", labels=("self-hosted", "publish")))
    there = "1 of 1 runners with the labels self-hosted, {} are online"
    assert f"me/builds: {there.format('gpu')}; {there.format('publish')}" in said()
    runners[1] = LocalRunner(name="all", labels=("self-hosted", "gpu", "publish"))
    assert "all opens strangers' models and publishes: give `publish` to another machine" in said()
    runners.clear()
    assert "0 of 0 runners with the labels self-hosted, gpu are online; start one" in said()


@pytest.mark.road
def test_what_is_missing_or_refused_ends_with_its_exit_code(desk: Desk) -> None:
    without = desk.bot("runs", GITHUB_TOKEN="")
    assert (without.returncode, "GITHUB_TOKEN is not set" in without.stderr) == (6, True)
    wrong = desk.bot("runs", GITHUB_TOKEN="ghp_wrong")
    assert (wrong.returncode, "renew GITHUB_TOKEN" in wrong.stderr) == (6, True)
    desk.github.fail("GET", "runs$", "500", times=4)  # a question is asked four times
    assert desk.bot("runs").returncode == 7
    desk.settings(workflow="other.yml")
    assert "bot init" in desk.bot("dispatch", MODEL).stderr
    desk.road.settings()
    assert "github.repo is not set" in desk.bot("runs").stderr


@pytest.mark.long
def test_tokens_are_in_no_output_file_or_payload_at_debug_level(desk: Desk, script: Script) -> None:
    script.results.append({"prepare": "failure"})
    script.log = "Error: something\n"
    desk.github.fail("POST", "dispatches$", "after-500")
    secrets = (TOKEN, desk.road.token)
    environment = desk.road.environment(GITHUB_TOKEN=TOKEN)
    said = []
    for arguments in (
        ("watch", "--once", "--build"),
        ("watch", "--once", "--build"),
        ("runs",),
        ("dispatch", MODEL),
        ("runs", MODEL, "--json"),
        ("cancel", "1"),
        ("doctor",),
    ):
        done = subprocess.run(
            [sys.executable, "-c", LOUD, *desk.road.command(*arguments)[len(BOT) :]],
            env=environment, cwd=desk.road.folder, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        said.append(done.stdout + done.stderr)
        desk.github.repository.wait()
    assert "DEBUG:urllib3" in said[0]
    assert "POST http" in said[0]  # github3 tells the bodies that it sends
    kept = [p for p in desk.road.folder.rglob("*") if p.is_file() and "hub" not in p.parts]
    assert any(path.name.startswith("ledger.sqlite") for path in kept)
    sent = [asked.path.encode() + asked.body for asked in desk.github.asked]
    assert len(sent) > 10
    for secret in secrets:
        assert all(secret not in text for text in said)
        assert all(secret.encode() not in path.read_bytes() for path in kept)
        assert all(secret.encode() not in text for text in sent)
    assert all("SIGNATURE" not in text for text in said)


@pytest.mark.road
def test_the_dashboards_boxes_command_the_queue(desk: Desk) -> None:
    desk.road.settings(
        policy={"approval": True}, github={"repo": "me/builds", "api_url": desk.github.url}
    )
    assert desk.bot("watch", "--once", "--build").returncode == 0
    assert "## Waiting for approval (1)" in desk.github.repository.issues[0].body
    time.sleep(1)  # an edit is told by the second
    desk.github.edit("writer", lambda body: body.replace("- [ ]", "- [x]"))
    done = desk.bot("watch", "--once", "--build")
    assert f"approve {MODEL}: queued" in done.stderr
    assert status(desk.road)["counts"] == {"queued": 1}


@pytest.mark.parametrize("verb", ["dispatch", "runs", "cancel", "rerun"])
def test_help_shows_an_example(desk: Desk, verb: str) -> None:
    assert f"bot {verb}" in desk.bot(verb, "--help").stdout.partition("\n\n")[2]
