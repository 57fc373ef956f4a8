"""The real workflow files, run by act: from a release on a local Hub to its repository there."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.settings.sections import DEMO, data_folder
from tests.e2e.road import Road
from tests.local_github.act import Act, Result
from tests.local_github.repository import Run
from tests.local_github.scripted import Script
from tests.local_github.server import TOKEN, GitHub, running_github
from tests.local_hub.server import Hub

MODEL = "lab/Tiny-MoE-14M"
REPO = "alice/Tiny-MoE-14M-APEX-GGUF"
DELIVERY = "0123456789abcdef"


@dataclass(kw_only=True)
class Builds:
    """A repository with the workflows, a runner, and a Hub with a release."""

    road: Road
    hub: Hub
    reader: str
    carrier: str = ""  # a token for what lies between jobs, where files travel through the Hub
    runs: list[Path] = field(default_factory=list)

    def run(
        self, tiers: str, *, model: str = MODEL, workflow: str = "release.yml", **settings: Any
    ) -> dict[str, Result]:
        """A run of a release, started as the bot starts it."""
        checkout = self.checkout(workflow, settings)
        inputs = {"model": model, "revision": "main", "tiers": tiers, "delivery": DELIVERY}
        environment = {
            "GITHUB_RUN_ID": str(1000 + len(self.runs)),
            "GITHUB_REPOSITORY": "me/builds",
        }
        self.runs.append(checkout.parent / f"{checkout.name}.log")
        return dict(self.act(checkout, workflow, {"inputs": inputs}, environment, self.runs[-1]))

    @property
    def act(self) -> Act:
        """The runner, which says all that its libraries can say."""
        return Act(
            home=self.road.folder / "runner",
            machine={
                "HF_ENDPOINT": self.road.url,
                "HF_HUB_VERBOSITY": "debug",
                "HF_DEBUG": "1",
                "OMP_WAIT_POLICY": "passive",  # jobs side by side leave each other the cores
            },
            secrets={
                "HF_READ_TOKEN": self.reader,
                "HF_WRITE_TOKEN": self.hub.token,
                **({"HF_STAGING_TOKEN": self.carrier} if self.carrier else {}),
            },
        )

    def settings(self, **more: Any) -> str:
        """A bot.yaml for runs of seconds."""
        values = {
            "workdir": str(self.road.folder / "work"),
            "llama": {"threads": 1, "gpu_layers": 0},
            "hub": {"namespace": "alice"},
            "calibration": {"context": 128, "chunks": 2},
            "evaluation": {"noise_chunks": 0, "context": 128, "chunks": 4, "task_count": 4},
            "demo_texts": True,
        }
        return str(yaml.safe_dump({**values, **more}))

    def checkout(self, workflow: str, settings: Mapping[str, Any]) -> Path:
        """The repository as a run sees it."""
        folder = self.road.folder / f"checkout-{len(self.runs)}"
        target = folder / ".github" / "workflows" / workflow
        target.parent.mkdir(parents=True)
        target.write_text((data_folder("workflows") / workflow).read_text())
        (folder / "bot.yaml").write_text(self.settings(**settings))
        return folder

    @property
    def log(self) -> str:
        """What the last run said."""
        return self.runs[-1].read_text()

    def order(self) -> Path:
        """Where the jobs of the release will meet."""
        commit = Client(self.hub.url, None).release(MODEL).commit
        return self.road.folder / "work" / "orders" / f"lab--Tiny-MoE-14M-{commit[:12]}"

    def published(self) -> tuple[str, ...]:
        """Tiers that everybody can see on the Hub, by results.json."""
        seen = Client(self.hub.url, None)
        results = seen.read_json(REPO, seen.release(REPO).commit, "results.json", 1_000_000)
        assert isinstance(results, dict)
        held = {file.path for file in seen.release(REPO).files}
        assert {row["file"] for row in results["tiers"]} <= held
        return tuple(row["name"] for row in results["tiers"])


@pytest.fixture
def builds(tmp_path: Path, hub: Hub, demo_model: Path) -> Builds:
    makers = Client(hub.url, SecretStr(hub.token))
    makers.create_private(MODEL)
    files = {name: DEMO / name for name in ("config.json", "README.md")}
    files[demo_model.name] = demo_model
    makers.commit(MODEL, files, "Release", makers.head(MODEL))
    makers.make_public(MODEL)
    road = Road(folder=tmp_path, url=hub.url, token=hub.token)
    return Builds(road=road, hub=hub, reader=hub.store.add_user("reader"))


@dataclass(kw_only=True)
class Desk:
    """A watcher of that Hub, and a GitHub that really runs the workflows `bot init` proposes."""

    builds: Builds
    github: GitHub
    folder: Path

    @classmethod
    def ready(cls, builds: Builds, github: GitHub, **settings: Any) -> Desk:
        """With the pull request merged, and the bot.yaml of both in place."""
        made = cls(builds=builds, github=github, folder=builds.road.folder / "watcher")
        policy = {"policy": settings.pop("policy", {})}
        there = {"repo": "me/builds", "api_url": github.url, "poll_seconds": 0.1}
        builds.road.settings(workdir=str(made.folder), github=there, **policy)
        made.bot("init", "me/builds")
        github.repository.merge(github.repository.pulls[-1].number)
        github.repository.push({"bot.yaml": builds.settings(**settings).encode()})
        return made

    def bot(self, *arguments: str) -> str:
        done = self.builds.road.bot(*arguments, GITHUB_TOKEN=TOKEN, HF_TOKEN="")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def turn(self) -> Run:
        """Let the watcher look and start what it decided; the run, when it is over."""
        self.bot("watch", "--once", "--build")
        self.github.repository.wait(600)
        run = self.github.repository.runs[-1]
        self.builds.runs.append(self.github.repository.log(run))
        return run


@pytest.fixture
def actions(tmp_path: Path, builds: Builds) -> Iterator[GitHub]:
    with running_github(tmp_path / "github", builds.act) as running:
        yield running
        assert running.errors == []


@pytest.mark.road
def test_a_release_is_seen_built_by_workflows_and_published(
    builds: Builds, actions: GitHub, hub: Hub
) -> None:
    """The whole way of one tier; test_three_jobs_of_the_watchers_… goes it with three jobs."""
    desk = Desk.ready(builds, actions, policy={"tiers": ["Compact"]})
    run = desk.turn()
    assert run.results == {
        "prepare": "success", "quantize (1)": "success", "describe": "success",
        "publish": "success", "report": "success",
    }, builds.log  # fmt: skip
    assert builds.published() == ("Compact",)
    desk.bot("watch", "--once", "--build")
    assert "## Published (1)" in actions.repository.issues[0].body
    assert f"[repository]({hub.url}/{REPO})" in actions.repository.issues[0].body
    assert f"{hub.url}/{REPO}\n" in desk.bot("status")
    assert hub.commits(REPO) == 1
    assert no_token(builds) == []
    sent = b"".join(asked.path.encode() + asked.body for asked in actions.asked)
    assert builds.reader.encode() not in sent
    assert builds.hub.token.encode() not in sent


@pytest.mark.long
def test_three_jobs_of_the_watchers_order_one_of_which_fails(
    builds: Builds, actions: GitHub, hub: Hub
) -> None:
    """The others are published by policy, the run has failed, `bot rerun --failed` completes it."""
    tiers = ["Compact", "I-Mini", "Quality"]
    jobs = {"tiers": 1, "policy": "min:2"}
    baselines = {"baselines": ["Q8_0"]}
    desk = Desk.ready(builds, actions, policy={"tiers": tiers}, jobs=jobs, quantize=baselines)
    trap = builds.order() / "group-2.sqlite"
    trap.mkdir(parents=True)  # that job cannot keep its ledger
    run = desk.turn()
    legs = {name: how for name, how in run.results.items() if name.startswith("quantize")}
    assert legs == {
        "quantize (1)": "success", "quantize (2)": "failure", "quantize (3)": "success"
    }, builds.log  # fmt: skip
    assert (run.conclusion, run.results["publish"]) == ("failure", "success")
    assert len(builds.published()) == 2
    desk.bot("watch", "--once", "--build")
    assert "## Published" not in actions.repository.issues[0].body
    assert "failed" in desk.bot("runs", MODEL)

    trap.rmdir()
    desk.bot("rerun", MODEL, "--failed")
    actions.repository.wait(600)
    assert (run.conclusion, run.attempt, len(actions.repository.runs)) == ("success", 2, 1)
    assert set(builds.published()) == set(tiers)
    assert hub.commits(REPO) == 2
    desk.bot("watch", "--once", "--build")
    assert "## Published (1)" in actions.repository.issues[0].body
    assert no_token(builds) == []


@pytest.mark.long
def test_a_run_is_cancelled_at_work_and_completed_later(
    builds: Builds, actions: GitHub, hub: Hub
) -> None:
    """Nothing is published, what was under way is cleaned up, and running it again completes it."""
    desk = Desk.ready(builds, actions, policy={"tiers": ["Compact", "Quality"]}, jobs={"tiers": 1})
    desk.bot("watch", "--once", "--build")
    jobs = builds.road.folder / "work" / "jobs"
    end = time.monotonic() + 300
    while not list(jobs.glob("*/release/*.gguf*")):  # both jobs make their tier
        assert time.monotonic() < end
        time.sleep(0.02)
    assert json.loads(desk.bot("cancel", MODEL, "--json"))["model"] == MODEL
    actions.repository.wait(120)
    (run,) = actions.repository.runs
    builds.runs.append(actions.repository.log(run))
    assert (run.status, run.conclusion) == ("completed", "cancelled"), builds.log
    assert run.results.get("publish") == "skipped", builds.log
    assert "removed unfinished files" in builds.log  # a step with always()
    assert "quantizing" in builds.log
    assert not list(jobs.rglob("*.partial"))
    assert hub.commits(REPO) is None
    told = json.loads(desk.bot("runs", str(run.id), "--json"))
    assert (told["state"], told["trouble"]) == ("cancelled", "it was cancelled by `bot cancel`")

    desk.bot("rerun", MODEL)
    actions.repository.wait(600)
    assert (run.conclusion, run.attempt) == ("success", 2)
    assert set(builds.published()) == {"Compact", "Quality"}
    assert no_token(builds) == []


@pytest.mark.long
def test_a_release_of_one_tier_and_the_same_order_again(builds: Builds, hub: Hub) -> None:
    first = builds.run("Compact")
    assert first == {
        "prepare": "success", "quantize (1)": "success", "describe": "success",
        "publish": "success", "report": "success",
    }, builds.log  # fmt: skip
    assert builds.published() == ("Compact",)
    assert "| Compact | 1 | published |" in builds.log
    assert not list(builds.road.folder.glob("work/jobs/*/release/*.gguf"))  # the disk is free again
    assert no_token(builds) == []

    # delivered twice: an empty plan, nothing is built and nothing sent
    again = builds.run("Compact")
    assert again == {
        "prepare": "success", "quantize": "skipped", "describe": "skipped",
        "publish": "skipped", "report": "success",
    }, builds.log  # fmt: skip
    assert hub.commits(REPO) == 1


def no_token(builds: Builds) -> list[str]:
    """Places where a token can be read: logs, and every file of runner, checkout and workdir.

    act masks secrets in its log as GitHub does; a mask there is a token that was said.
    """
    secrets = (builds.reader, builds.hub.token, builds.carrier, TOKEN)
    planted = [secret.encode() for secret in secrets if secret]
    own = builds.road.folder / "hub"  # where the local Hub keeps its users
    found = [
        str(path)
        for path in builds.road.folder.rglob("*")
        if path.is_file() and own not in path.parents
        and any(token in path.read_bytes() for token in planted)
    ]  # fmt: skip
    return [*found, *(str(log) for log in builds.runs if "***" in log.read_text())]


@pytest.mark.road
@pytest.mark.parametrize(("model", "tiers"), [('x"; touch PWNED; "', ""), (MODEL, "`touch PWNED`")])
def test_what_is_no_model_is_refused_and_never_executed(
    builds: Builds, hub: Hub, model: str, tiers: str
) -> None:
    found = builds.run(tiers, model=model)
    assert found == {
        "prepare": "failure", "quantize": "skipped", "describe": "skipped",
        "publish": "skipped", "report": "failure",
    }, builds.log  # fmt: skip
    assert "start the workflow with another" in builds.log
    assert not list(builds.road.folder.rglob("PWNED*"))
    assert not (builds.road.folder / "work").exists()
    assert hub.commits(REPO) is None


@pytest.mark.long
def test_jobs_side_by_side_one_of_which_fails(builds: Builds, hub: Hub) -> None:
    """The others are published by policy, the run has failed, and the next attempt completes it."""
    trap = builds.order() / "group-2.sqlite"
    trap.mkdir(parents=True)  # that job cannot keep its ledger
    settings: dict[str, Any] = {
        "jobs": {"tiers": 1, "policy": "min:2"},
        "quantize": {"baselines": ["Q8_0"]},
    }
    found = builds.run("Compact,I-Mini,Quality", **settings)
    legs = {name: found.pop(name) for name in sorted(found) if name.startswith("quantize")}
    assert sorted(legs.values()) == ["failure", "success", "success"], builds.log
    assert legs["quantize (2)"] == "failure"
    assert found == {
        "prepare": "success", "describe": "success", "publish": "success", "report": "failure"
    }, builds.log  # fmt: skip
    first = builds.published()
    assert len(first) == 2
    assert "**failed or not reached**" in builds.log

    trap.rmdir()
    found = builds.run("Compact,I-Mini,Quality", **settings)
    assert set(found.values()) == {"success"}, builds.log
    assert len(found) == 7
    assert set(builds.published()) == {"Compact", "I-Mini", "Quality"}
    assert hub.commits(REPO) == 2
    assert "calibrating" not in builds.log  # what was done once is not done again
    assert no_token(builds) == []


@pytest.mark.long
@pytest.mark.parametrize("policy", ["all", "any"])
def test_the_policy_decides_on_what_is_complete(builds: Builds, hub: Hub, policy: str) -> None:
    (builds.order() / "group-1.sqlite").mkdir(parents=True)
    found = builds.run("Compact,Quality", jobs={"tiers": 1, "policy": policy})
    expected = ("failure", "skipped") if policy == "all" else ("success", "success")
    assert (found["describe"], found["publish"]) == expected, builds.log
    assert found["report"] == "failure"  # whatever is published, a tier is missing
    assert ("nothing is published" in builds.log) is (policy == "all")
    assert hub.commits(REPO) == (None if policy == "all" else 1)


@pytest.mark.long
def test_one_runner_does_all_of_it(builds: Builds) -> None:
    found = builds.run("Compact,Quality", workflow="release-single.yml", jobs={"tiers": 1})
    assert found == {"release": "success"}, builds.log
    assert set(builds.published()) == {"Compact", "Quality"}


@pytest.mark.road
def test_a_machine_without_a_gpu_ends_before_anything_is_fetched(builds: Builds) -> None:
    config = builds.road.settings(jobs={"require_gpu": True}, hub={"namespace": "alice"})
    done = builds.road.bot("step", "prepare", "--model", MODEL, config=config)
    assert (done.returncode, "llama.cpp finds no GPU here" in done.stderr) == (5, True)
    nobody = builds.road.bot("step", "prepare", "--model", MODEL, config=builds.road.settings())
    assert (nobody.returncode, "hub.namespace is not set" in nobody.stderr) == (3, True)
    assert not (builds.road.folder / "work").exists()


@pytest.mark.road
def test_the_watcher_on_a_schedule_keeps_what_it_knows_in_a_branch(
    builds: Builds, github: GitHub, script: Script
) -> None:
    """watch.yml twice, on runners that keep nothing: one order, and its end is seen."""
    remote = builds.road.folder / "git" / "me" / "builds.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    where = {"repo": "me/builds", "api_url": github.url, "poll_seconds": 0.1}
    act = Act(
        home=builds.road.folder / "runner",
        machine={"HF_ENDPOINT": builds.hub.url},
        secrets={"HF_READ_TOKEN": builds.reader, "GITHUB_TOKEN": TOKEN},
        variables={"APEX_BOT_WATCH": "on"},
    )
    environment = {
        "GITHUB_REPOSITORY": "me/builds",
        "GITHUB_SERVER_URL": (builds.road.folder / "git").as_uri(),
    }
    for number in (1, 2):
        workdir = builds.road.folder / f"runner-{number}"
        checkout = builds.checkout("watch.yml", {"github": where, "workdir": str(workdir)})
        builds.runs.append(checkout.parent / f"{checkout.name}.log")
        event = {"schedule": "17 * * * *"}
        found = act(checkout, "watch.yml", event, environment, builds.runs[-1])
        assert found == {"watch": "success"}, builds.log
        github.repository.wait()
    assert [event["inputs"]["model"] for event in script.events] == [MODEL]
    assert "## Published (1)" in github.repository.issues[0].body
    assert "took the ledger of the last run" in builds.log
    assert no_token(builds) == []

    off = replace(act, variables={})
    checkout = builds.checkout("watch.yml", {})
    with pytest.raises(AssertionError):  # act reaches no job
        off(checkout, "watch.yml", event, environment, checkout.parent / "off.log")


@pytest.mark.long
def test_a_folder_that_is_not_shared_is_said(builds: Builds) -> None:
    road = builds.road
    config = road.settings(hub={"namespace": "alice"})
    ready = road.bot("step", "prepare", "--model", MODEL, "--tiers", "Compact", "--json")
    assert ready.returncode == 0, ready.stderr
    told = json.loads(ready.stdout)
    where = {"APEX_RELEASE": told["release"], "APEX_SENTINEL": told["sentinel"]}
    elsewhere = road.settings("other.yaml", workdir=str(road.folder / "other"))
    lost = road.bot("step", "quantize", "--group", "1", config=elsewhere, **where)
    assert lost.returncode == 5
    assert "that all runners share" in lost.stderr
    changed = road.settings("changed.yaml", evaluation={"context": 64})
    other = road.bot("step", "quantize", "--group", "1", config=changed, **where)
    assert (other.returncode, "rerun all jobs" in other.stderr) == (3, True)
    where["APEX_SENTINEL"] = "0" * 64
    assert road.bot("step", "quantize", "--group", "1", config=config, **where).returncode == 5


@pytest.mark.long
def test_jobs_side_by_side_make_what_one_machine_makes(builds: Builds, hub: Hub) -> None:
    """By hand, without a workflow; one of three jobs is killed at work and started again."""
    road, tiers = builds.road, "Compact,I-Mini,Quality"
    road.settings(hub={"namespace": "alice"}, jobs={"tiers": 1})
    ready = road.bot("step", "prepare", "--model", MODEL, "--tiers", tiers, "--json")
    assert ready.returncode == 0, ready.stderr
    told = json.loads(ready.stdout)
    assert told["count"] == 3
    where = {"APEX_RELEASE": told["release"], "APEX_SENTINEL": told["sentinel"], "HF_TOKEN": ""}
    jobs = [
        subprocess.Popen(
            road.command("step", "quantize", "--group", str(number)),
            env=road.environment(**where),
            cwd=road.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in (1, 2, 3)
    ]
    at_work = next(n for n, row in enumerate(told["matrix"]["include"]) if row["tiers"] == "I-Mini")
    try:
        [release] = road.folder.glob("work/jobs/*/release")
        while not list(release.glob("*I-Mini*.partial")):
            assert jobs[at_work].poll() is None
            time.sleep(0.01)
        jobs[at_work].kill()
        codes = [job.wait(timeout=300) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
            job.wait()
    assert [code for n, code in enumerate(codes) if n != at_work] == [0, 0]
    early = road.bot("step", "describe", **where)
    assert (early.returncode, "2 of 3 tiers are complete" in early.stderr) == (8, True)

    again = road.bot("step", "quantize", "--group", str(at_work + 1), **where)
    assert again.returncode == 0, again.stderr
    for step, token in (("describe", ""), ("publish", hub.token), ("report", "")):
        done = road.bot("step", step, **{**where, "HF_TOKEN": token})
        assert done.returncode == 0, done.stderr
    alone = road.settings("alone.yaml", workdir=str(road.folder / "alone"))
    whole = ("publish", MODEL, "--profiles", tiers, "--to", "alice/whole")
    done = road.bot(*whole, config=alone)
    assert done.returncode == 0, done.stderr
    assert models(hub, REPO) == models(hub, "alice/whole")
    assert len(models(hub, REPO)) == 4  # and the importance matrix


def models(hub: Hub, repo_id: str) -> dict[str, str | None]:
    """Hashes of a repository's GGUF files, the importance matrix among them."""
    files = Client(hub.url, None).release(repo_id).files
    return {f.path: f.sha256 for f in files if f.path.endswith((".gguf", ".gguf_file"))}
