"""A release whose parts overlap ends as one whose parts follow one another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.unit.clients.hub.between import Between, Fault, between

TIERS = "Balanced,Compact,I-Compact"
REPO = "alice/Tiny-MoE-14M-APEX-GGUF"


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.fixture
def road(tmp_path: Path, hub: Hub, proxy: Between) -> Road:
    made = Road(folder=tmp_path, url=proxy.url, token=hub.token)
    made.settings()
    return made


def scores(results: dict[str, Any]) -> dict[str, Any]:
    """All numbers of all rows, without when and how fast they were measured."""
    rows = {row["name"]: row for row in (results["reference"], *results["tiers"])}
    for row in rows.values():
        row["scores"].pop("runs")
    return {**rows, "noise": results["evaluation"]["noise"], "pairs": results["comparisons"]}


@pytest.mark.road
def test_overlapping_changes_no_result(
    road: Road, hub: Hub, proxy: Between, demo_model: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.append(hub.ask("GET", f"/api/models/{REPO}").status)

    trouble = Fault(method="PUT", part="/lfs/", status=500, arrives=False, meanwhile=look)
    proxy.faults.append(trouble)
    chosen = (str(demo_model), "--profiles", TIERS)
    done = road.bot("publish", *chosen, "--json", "--timeline", HF_HUB_DISABLE_XET="1")
    assert done.returncode == 0, done.stderr
    assert seen == [401]  # nobody saw the repository while it was filled
    assert hub.commits(REPO) == 1

    # every tier was sent once, before the commit and while others were still to be made
    contents = [line for line in proxy.requests if line.startswith("PUT") and "/lfs/" in line]
    assert len({line.split("?")[0] for line in contents}) == len(contents) - 1  # one try failed
    commit = next(n for n, line in enumerate(proxy.requests) if "/commit/main" in line)
    ahead = [line for line in proxy.requests[:commit] if line in contents]
    assert len(ahead) >= 4
    assert sum(" network  send " in line for line in done.stderr.splitlines()) == 3

    # one after another, elsewhere
    config = road.settings("other.yaml", workdir=str(tmp_path / "elsewhere"))
    plain = road.bot("evaluate", *chosen, "--json", config=config)
    assert plain.returncode == 0, plain.stderr
    folder = Path(json.loads(done.stdout)["folder"])
    overlapped = json.loads((folder / "results.json").read_text())
    assert scores(overlapped) == scores(json.loads(plain.stdout))


@pytest.mark.long
def test_the_timeline_of_a_release(road: Road, demo_model: Path) -> None:
    chosen = (str(demo_model), "--profiles", "Balanced")
    before = road.bot("timeline", *chosen)
    assert before.returncode == 4
    assert "run `bot publish` first" in before.stderr
    assert road.bot("publish", *chosen).returncode == 0
    shown = road.bot("timeline", *chosen)
    assert shown.returncode == 0, shown.stderr
    names = [line[28:].split("  ")[0] for line in shown.stdout.splitlines()[1:]]
    wanted = ["reference", "make Balanced", "measure Balanced", "send Balanced", "card", "commit"]
    assert [name for name in names if name in wanted] == wanted
    trace = json.loads(road.bot("timeline", *chosen, "--json").stdout)
    tasks = {event["name"] for event in trace["traceEvents"] if event.get("cat") == "task"}
    assert tasks >= set(wanted)
    lanes = {e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"}
    assert lanes == {"cpu", "gpu", "network"}


@pytest.mark.long
def test_sent_files_are_freed_and_published_all_the_same(
    road: Road, hub: Hub, proxy: Between, demo_model: Path
) -> None:
    road.settings(publish={"free": "always"})
    chosen = (str(demo_model), "--profiles", "Balanced,Compact", "--json")
    # the commit fails for good: what was sent and freed is known to the next run
    proxy.faults.append(Fault(method="POST", part="/commit/", status=403, arrives=False, times=1))
    first = road.bot("publish", *chosen, HF_HUB_DISABLE_XET="1")
    assert first.returncode == 6, first.stderr
    assert not list(road.folder.glob("work/jobs/*/release/*.gguf"))
    assert hub.ask("GET", f"/api/models/{REPO}").status == 401
    again = road.bot("publish", *chosen, HF_HUB_DISABLE_XET="1")
    assert again.returncode == 0, again.stderr
    assert "quantizing" not in again.stderr
    assert hub.commits(REPO) == 1
    contents = [line for line in proxy.requests if line.startswith("PUT") and "/lfs/" in line]
    done = json.loads(again.stdout)
    large = {name for name in done["files"] if name.endswith(".gguf")}
    assert len(large) == 2
    names = [line.split("?")[0] for line in contents]
    assert len(names) == len(set(names))  # nothing was sent twice
    results = json.loads((Path(done["folder"]) / "results.json").read_text())
    repo = hub.store.find(REPO)
    assert repo is not None
    tree = hub.store.tree(hub.store.commit(repo, "main"))
    assert {row["file"]: row["sha256"] for row in results["tiers"]} == {
        name: tree[name].sha256 for name in large
    }


@pytest.mark.long
def test_a_freed_file_that_the_hub_lost_is_made_again(
    road: Road, hub: Hub, proxy: Between, demo_model: Path
) -> None:
    road.settings(publish={"free": "always"})
    chosen = (str(demo_model), "--profiles", "Balanced,Compact", "--json")
    proxy.faults.append(Fault(method="POST", part="/commit/", status=403, arrives=False, times=1))
    assert road.bot("publish", *chosen, HF_HUB_DISABLE_XET="1").returncode == 6
    road.settings(publish={"free": "always", "repository": "other"})  # which holds nothing
    done = road.bot("publish", *chosen, HF_HUB_DISABLE_XET="1")
    assert done.returncode == 0, done.stderr
    for tier in ("Balanced", "Compact"):
        assert f"{tier} is made again" in done.stderr
    assert hub.commits("alice/other") == 1
