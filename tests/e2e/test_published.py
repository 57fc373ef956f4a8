"""`bot publish` of what is published: said at once, on any machine, by a few small requests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.settings.sections import DEMO
from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.unit.clients.hub.between import Between, between

SOURCE, REPO = "lab/Tiny-MoE-14M", "alice/Tiny-MoE-14M-APEX-GGUF"
MODEL = (SOURCE, "--profiles", "Balanced,Compact")
FEW = 5  # requests


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.fixture
def released(hub: Hub, demo_model: Path) -> None:
    makers = Client(hub.url, SecretStr(hub.token))
    makers.create_private(SOURCE)
    files = {path.name: path for path in (DEMO / "config.json", DEMO / "README.md", demo_model)}
    makers.commit(SOURCE, files, "Release", makers.head(SOURCE))
    makers.make_public(SOURCE)


def machine(folder: Path, url: str, token: str) -> Road:
    folder.mkdir()
    made = Road(folder=folder, url=url, token=token)
    made.settings(quantize={"baselines": ["Q8_0"], "missing_data": "next"})
    return made


@pytest.mark.road
def test_an_empty_machine_finds_it_published(
    tmp_path: Path, hub: Hub, proxy: Between, released: None, demo_model: Path
) -> None:
    del released
    first = machine(tmp_path / "first", hub.url, hub.token)
    done = first.bot("publish", *MODEL, "--json")
    assert done.returncode == 0, done.stderr
    commit = json.loads(done.stdout)["commit"]

    for more in ((), ("--unless-published",), ("--timeline",)):
        empty = machine(tmp_path / f"empty{more}", proxy.url, hub.token)
        proxy.requests.clear()
        again = empty.bot("publish", *MODEL, *more, "--json")
        assert again.returncode == 0, again.stderr
        assert (json.loads(again.stdout)["commit"], json.loads(again.stdout)["changed"]) == (
            commit,
            [],
        )
        assert len(proxy.requests) <= FEW
        assert not any(demo_model.name in line for line in proxy.requests)
        left = [path for path in (empty.folder / "work").rglob("*") if path.is_file()]
        assert not any(path.stat().st_size > 1_000_000 for path in left)
    assert hub.commits(REPO) == 1

    # and its maker's disk can be had again
    freed = json.loads(first.bot("clean", "--json").stdout)
    went = {one["path"].split("/")[0] for one in freed["places"] if one["goes"]}
    assert {"jobs", "sources"} <= went
    large = [path for path in (first.folder / "work").rglob("*.gguf") if path.is_file()]
    assert (large, freed["freed"] > demo_model.stat().st_size) == ([], True)

    # what looks at a job's folder fetches nothing for it either
    for verb in ("timeline", "gate"):
        proxy.requests.clear()
        looked = empty.bot(verb, *MODEL)
        assert looked.returncode == 4, looked.stderr
        assert len(proxy.requests) <= FEW
        assert not any("/resolve/" in line for line in proxy.requests)
    proxy.requests.clear()
    looked = empty.bot("push", *MODEL, "--to", "alice/Elsewhere")
    assert looked.returncode == 4, looked.stderr
    assert "run `bot publish`" in looked.stderr
    assert not any("/resolve/" in line for line in proxy.requests)


@pytest.mark.long
def test_two_machines_at_once(tmp_path: Path, hub: Hub, released: None) -> None:
    del released
    roads = [machine(tmp_path / name, hub.url, hub.token) for name in ("one", "two")]
    running = [
        subprocess.Popen(
            road.command("publish", *MODEL, "--json"),
            env=road.environment(),
            cwd=road.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        for road in roads
    ]
    ends = [json.loads(process.communicate(timeout=300)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert ends[0]["commit"] == ends[1]["commit"]
    assert hub.commits(REPO) == 1
    assert all(end["public"] for end in ends)
