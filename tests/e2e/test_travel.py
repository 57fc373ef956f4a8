"""Jobs that see nothing of each other but a private repository on the Hub: see travel.py."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.jobs.orders import Folder
from bot.jobs.travel import staging_name
from bot.localhub.reviewing import review_pull
from tests.e2e.road import BOT
from tests.e2e.test_workflows import (
    MODEL,
    REPO,
    Builds,
    Desk,
    builds,
    models,
    no_token,
)
from tests.local_github.act import Act
from tests.local_github.server import GitHub, running_github
from tests.local_hub.server import Hub
from tests.unit.clients.hub.between import Between, Fault, between

__all__ = ["builds"]  # the fixture
BETWEEN = "carriers"  # who owns what lies between jobs
TIERS = ["Compact", "I-Mini", "Quality"]
# each job of act has a checkout of its own: with a folder in there none sees another's files
JOBS: dict[str, Any] = {"tiers": 1, "travel": "hub", "staging": BETWEEN}
APART: dict[str, Any] = {"workdir": "work", "jobs": JOBS}
UPLOAD = re.compile(r"PUT /lfs/([^/]+/[^/]+)/([0-9a-f]{64})\?")


@pytest.fixture
def line(hub: Hub) -> Iterator[Between]:
    """All that runners and the Hub say to each other."""
    with between(hub.url) as proxy:
        yield proxy


@pytest.fixture
def apart(builds: Builds, hub: Hub, line: Between) -> Builds:
    """Runners without a disk in common, and a token for the repositories between them alone."""
    builds.carrier = hub.store.add_user("carrier", orgs=[BETWEEN])
    hub.store.add_user("alice", orgs=[BETWEEN])  # whose token publishes: it has to read them
    builds.road = replace(builds.road, url=line.url)
    return builds


@pytest.fixture
def runner(apart: Builds) -> Act:
    act = apart.act  # over HTTP, where bytes can be counted
    return replace(act, machine={**act.machine, "HF_HUB_DISABLE_XET": "1"})


@pytest.fixture
def actions(tmp_path: Path, runner: Act) -> Iterator[GitHub]:
    with running_github(tmp_path / "github", runner) as running:
        yield running
        assert running.errors == []


def sent(line: Between) -> dict[tuple[str, str], int]:
    """Bytes of every content that was sent, by the repository and the content's hash."""
    found: dict[tuple[str, str], int] = {}
    for asked in line.delivered:
        if match := UPLOAD.match(asked):
            size = int(parse_qs(urlsplit(asked.partition(" ")[2]).query)["size"][0])
            found[match[1], match[2]] = found.get((match[1], match[2]), 0) + size
    return found


def staging(hub: Hub) -> list[str]:
    """The repositories between jobs that there are."""
    found = hub.store.repositories(hub.store.viewer(hub.token))
    return [repo.id for repo, _ in found if repo.owner == BETWEEN]


class ThirdCommit:
    """The third commit to what lies between: that of the job that is done first; it is refused."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, number: int, method: str, path: str) -> Fault | None:
        del number
        if method == "POST" and f"/{BETWEEN}/" in path and path.endswith("/commit/main"):
            self.seen += 1
            if self.seen == 3:
                return Fault(method=method, part="", status=403, arrives=False)
        return None


@pytest.mark.long
def test_runners_without_a_common_disk_publish_what_one_machine_does(
    apart: Builds, actions: GitHub, hub: Hub, line: Between
) -> None:
    """One of three jobs fails: the others are published, and running it again completes it.

    Tiers are sent once, and copied by the Hub into the one commit; nobody fetches them.
    """
    desk = Desk.ready(
        apart, actions, policy={"tiers": TIERS}, quantize={"baselines": ["Q8_0"]},
        workdir="work", jobs={**JOBS, "policy": "min:2"},
    )  # fmt: skip
    line.choose = ThirdCommit()
    run = desk.turn()
    legs = sorted(how for name, how in run.results.items() if name.startswith("quantize"))
    assert legs == ["failure", "success", "success"], apart.log
    assert (run.conclusion, run.results["publish"]) == ("failure", "success"), apart.log
    assert len(apart.published()) == 2
    assert len(staging(hub)) == 1  # for the jobs that are run again

    line.choose = None
    before = len(line.delivered)
    desk.bot("rerun", MODEL, "--failed")
    actions.repository.wait(600)
    assert (run.conclusion, run.attempt) == ("success", 2), actions.repository.log(run).read_text()
    assert set(apart.published()) == set(TIERS)
    assert staging(hub) == []
    again = [asked for asked in line.delivered[before:] if "-BF16.gguf" in asked]
    # act runs `prepare` again too, on a machine that was told nothing: it adopts no plan that lies
    # between the jobs, so every job fetches the model, and makes the same bytes
    assert sum(asked.startswith("HEAD") for asked in again) == 4

    tiers = {oid for path, oid in models(hub, REPO).items() if path != "imatrix.gguf_file"}
    uploads = sent(line)
    for oid in tiers:
        there = [repo for repo, sha in uploads if sha == oid]
        assert [repo.partition("/")[0] for repo in there] == [BETWEEN]
        assert oid is not None
        (size,) = (size for (_, sha), size in uploads.items() if sha == oid)
        assert size == file_size(hub, oid)
    assert not any(path.endswith(".gguf") and "APEX" in path for path in fetched(line))
    assert no_token(apart) == []

    alone = apart.road.settings(
        "alone.yaml",
        **{**json_settings(apart), "workdir": str(apart.road.folder / "alone")},
        quantize={"baselines": ["Q8_0"]},
    )
    whole = ("publish", MODEL, "--profiles", ",".join(TIERS), "--to", "alice/whole")
    done = apart.road.bot(*whole, config=alone)
    assert done.returncode == 0, done.stderr
    assert models(hub, REPO) == models(hub, "alice/whole")


def json_settings(builds: Builds) -> dict[str, Any]:
    """What all runs have in common."""
    found: dict[str, Any] = yaml.safe_load(builds.settings())
    return found


def file_size(hub: Hub, oid: str) -> int:
    files = Client(hub.url, None).release(REPO).files
    return next(file.size for file in files if file.sha256 == oid)


def fetched(line: Between) -> list[str]:
    return [asked for asked in line.delivered if asked.startswith("GET ") and "/resolve/" in asked]


@pytest.mark.long
def test_an_order_published_already_ends_at_once(apart: Builds, hub: Hub, runner: Act) -> None:
    """By other machines than those that published it: what they leave behind is on the Hub."""
    del runner
    first = apart.run("Compact", **APART)
    assert first == {
        "prepare": "success", "quantize (1)": "success", "describe": "success",
        "publish": "success", "report": "success",
    }, apart.log  # fmt: skip
    assert staging(hub) == []
    again = apart.run("Compact", **APART)
    assert again == {
        "prepare": "success", "quantize": "skipped", "describe": "skipped",
        "publish": "skipped", "report": "success",
    }, apart.log  # fmt: skip
    assert "All of it was published before." in apart.log
    assert hub.commits(REPO) == 1
    assert staging(hub) == []
    assert no_token(apart) == []


@pytest.mark.long
def test_a_job_that_was_killed_goes_on_on_another_machine(apart: Builds, hub: Hub) -> None:
    """Tiers that it handed on are neither made again nor fetched; a person then merges the rest."""
    road, folder = apart.road, apart.order().name

    def step(machine: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        where = {"HF_TOKEN": "", "HF_STAGING_TOKEN": apart.carrier, **environment}
        return road.bot("step", *words, config=settings(machine), **where)

    def settings(machine: str) -> Path:
        return road.settings(
            f"{machine}.yaml",
            **{**json_settings(apart), "workdir": str(road.folder / machine)},
            jobs={**JOBS, "tiers": 2},
            publish={"approval": "pull-request"},
        )

    ready = step("a", "prepare", "--model", MODEL, "--tiers", "Compact,Quality", "--json")
    assert ready.returncode == 0, ready.stderr
    told = json.loads(ready.stdout)
    assert told["count"] == 1
    where = {
        "APEX_RELEASE": told["release"],
        "APEX_SENTINEL": told["sentinel"],
        "APEX_SEALS": told["seals"],
    }
    quantize = ("--config", str(settings("b")), "step", "quantize", "--group", "1")
    record = road.folder / "b" / "orders" / folder / "group-1.json"
    with subprocess.Popen(
        [*BOT, *quantize], cwd=road.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=road.environment(**where, HF_TOKEN="", HF_STAGING_TOKEN=apart.carrier),
    ) as process:  # fmt: skip
        end = time.monotonic() + 300
        while hub.commits(staging(hub)[0]) != 3:  # sentinel, what was prepared, the first tier
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        process.kill()
    assert record.is_file()
    again = step("c", "quantize", "--group", "1", **where)
    assert again.returncode == 0, again.stderr
    assert "quantizing 1 tier" in again.stderr
    assert not list((road.folder / "c").glob("jobs/*/release/*-APEX-*"))  # it is handed on

    common = json_settings(apart)
    faster = {**common, "workdir": str(road.folder / "x"), "jobs": {**JOBS, "tiers": 2}}
    faster["evaluation"] = {**dict(common["evaluation"]), "speed": True}
    odd = road.settings("odd.yaml", **faster)
    refused = road.bot(
        "step", "describe", config=odd, **where, HF_TOKEN="", HF_STAGING_TOKEN=apart.carrier
    )  # nobody measured that: what it has here is a header
    assert (refused.returncode, "did not measure all of it" in refused.stderr) == (8, True)
    assert not list((road.folder / "x").rglob("publish.sqlite"))

    for _ in range(2):  # again, as the job of a workflow would be run again
        assert step("d", "describe", **where).returncode == 0
        asked = step("d", "publish", "--json", **where, HF_TOKEN=hub.token)
        assert asked.returncode == 0, asked.stderr
    said = {"APEX_PUBLISHED": json.dumps(json.loads(asked.stdout)["published"])}
    waiting = step("e", "report", **where, **said, APEX_COUNT="1")
    assert "waits for a person" in waiting.stdout
    assert "removed unfinished files" in step("e", "clean", **where, **said).stdout
    assert "is merged" in review_pull(hub.store, REPO, 1, agreed=True)
    # the same order where it was prepared: nothing is made again
    ready = step("a", "prepare", "--model", MODEL, "--tiers", "Compact,Quality", "--json")
    assert json.loads(ready.stdout) == told
    assert "calibrating" not in ready.stderr
    assert "fetching" not in step("g", "quantize", "--group", "1", **where).stderr
    assert step("h", "describe", **where).returncode == 0
    done = step("h", "publish", "--json", **where, HF_TOKEN=hub.token)
    assert done.returncode == 0, done.stderr
    said = {"APEX_PUBLISHED": json.dumps(json.loads(done.stdout)["published"])}
    assert "All tiers are published." in step("i", "report", **where, **said).stdout
    assert "removed the model's files" in step("i", "clean", **where, **said).stdout
    assert set(apart.published()) == {"Compact", "Quality"}
    assert staging(hub) == []


@pytest.mark.road
def test_only_a_repository_of_ours_is_written_to_or_deleted(
    apart: Builds, hub: Hub, tmp_path: Path
) -> None:
    road = apart.road
    config = road.settings("apart.yaml", hub={"namespace": "alice"}, jobs=JOBS)
    order = ("step", "prepare", "--model", MODEL, "--tiers", "Compact", "--json")
    none = road.bot(*order, config=config, HF_TOKEN="")
    assert (none.returncode, "HF_STAGING_TOKEN is not set" in none.stderr) == (6, True)
    theirs = f"{BETWEEN}/{staging_name(Folder(apart.order()))}"
    maker = Client(hub.url, SecretStr(hub.token))
    maker.create_private(theirs)
    note = tmp_path / "note.txt"
    note.write_text("mine")
    maker.commit(theirs, {"note.txt": note}, "Mine", maker.head(theirs))
    refused = road.bot(*order, config=config, HF_TOKEN="", HF_STAGING_TOKEN=apart.carrier)
    assert (refused.returncode, "is left alone" in refused.stderr) == (3, True), refused.stderr
    clean = ("step", "clean", "--release", apart.order().name, "--sentinel", "0" * 64)
    road.bot(*clean, config=config, HF_TOKEN="", HF_STAGING_TOKEN=apart.carrier)
    assert {file.path for file in maker.release(theirs).files} >= {"note.txt"}
