"""Minutes for measuring: foreseen, settled, measured by, published, and the same in every job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from tests.e2e.road import Road
from tests.local_hub.server import running_hub
from tests.split_gguf import shrink

MODEL = "lab/Small-MoE"


def tasks_in(folder: Path, count: int) -> Path:
    """Tasks in six lines each; which ending is right does not matter here."""
    path = folder / "tasks.txt"
    lines = [
        line
        for n in range(count)
        for line in (f"The dog {n} ran", f"{n % 4}", "home", "away fast", "up a hill", "to me")
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def settings_of(folder: Path, minutes: float) -> dict[str, Any]:
    return {
        "workdir": str(folder / "work"),
        "hub": {"namespace": "alice"},
        "llama": {"threads": 2, "gpu_layers": 0},
        "jobs": {"tiers": 1},
        "evaluation": {
            "context": 32,
            "noise_chunks": 4,
            "tasks": [str(tasks_in(folder, 110))],
            "budget_minutes": minutes,
        },
    }


def publish_original(client: Client, folder: Path, model: Path) -> None:
    card = folder / "README.md"
    card.write_text("---\nlicense: apache-2.0\n---\n")
    client.create_private(MODEL)
    client.commit(MODEL, {card.name: card, model.name: model}, "Release", client.head(MODEL))
    client.make_public(MODEL)


@pytest.mark.long
def test_a_budget_decides_what_a_release_measures_in_all_its_jobs(
    tmp_path: Path, demo_model: Path
) -> None:
    small = tmp_path / "Small-MoE-BF16.gguf"
    shrink(demo_model, small, layers=4, experts=3)
    with running_hub(tmp_path / "hub") as hub:
        client = Client(hub.url, SecretStr(hub.token))
        publish_original(client, tmp_path, small)
        road = Road(folder=tmp_path, url=hub.url, token=hub.token)
        # however slow this machine is: twice what the least takes, by its own word
        tiny = road.settings("tiny.yaml", **settings_of(tmp_path, 1e-3))
        tiers = ("--tiers", "Balanced,Compact")
        refused = road.bot("plan", str(small), *tiers, "--time", config=tiny)
        assert refused.returncode != 0
        assert "0.001 is too little to say anything" in refused.stderr
        least = float(refused.stderr.split("; set ")[1].split(" or more")[0])
        road.settings(**settings_of(tmp_path, 2 * least))
        planned = road.bot("plan", str(small), *tiers, "--time", "--json")
        measuring = json.loads(planned.stdout)["measuring"]
        assert {row["origin"] for row in measuring["measures"]} == {"tried"}
        assert measuring["seconds"] <= 120 * least
        done = road.bot("step", "prepare", "--model", MODEL, *tiers, "--json")
        assert done.returncode == 0, done.stderr
        assert "minutes to measure in" in done.stderr
        told = json.loads(done.stdout)
        names = ("--release", told["release"], "--sentinel", told["sentinel"])
        for verb in (("quantize",), ("describe",), ("publish",)):
            done = road.bot("step", *verb, *names)
            assert done.returncode == 0, done.stderr
            assert "minutes to measure in" not in done.stderr
            assert "trial of" not in done.stderr
        repo_id = "alice/Small-MoE-APEX-GGUF"
        held = client.release(repo_id)
        results = client.read_json(repo_id, held.commit, "results.json", 10_000_000)
        again = road.bot("step", "prepare", "--model", MODEL, *tiers, "--json")
        assert json.loads(again.stdout)["count"] == 0  # published: by the same key
    assert isinstance(results, dict)
    facts = results["evaluation"]
    text, tasks = facts["budget"]["shares"]
    assert facts["chunks"] == text["taken"] >= 10
    assert text["taken"] <= text["of"]
    assert 100 <= tasks["taken"] <= tasks["of"] == 110
    for row in (results["reference"], *results["tiers"]):
        assert row["scores"]["choices"][0]["tasks"] == tasks["taken"]
    assert len(results["tiers"]) == 2
    card = client_card(tmp_path)
    assert f"{text['taken']} chunks" in card


def client_card(folder: Path) -> str:
    (path,) = (folder / "work").glob("jobs/*/release/README.md")
    return path.read_text()


@pytest.mark.road
def test_files_are_measured_within_a_budget_and_then_their_paces_are_known(
    tmp_path: Path, demo_model: Path, demo_candidate: Path
) -> None:
    road = Road(folder=tmp_path, url="http://127.0.0.1:9", token="none")
    evaluation = {"context": 64, "noise_chunks": 0, "tasks": [], "chunks": 40}
    road.settings(evaluation=evaluation)
    words = (str(demo_candidate), "--against", str(demo_model), "--measures", "kld")
    foreseen = json.loads(road.bot("evaluate", *words, "--dry-run", "--json").stdout)
    (row,) = foreseen["measures"]  # of one file the reference runs beside it
    assert (row["units"], row["unit"], row["origin"]) == (40, "chunks", "tried")
    minutes = foreseen["seconds"] / 60 * 0.6
    road.settings(evaluation={**evaluation, "budget_minutes": minutes})
    measured = [json.loads(road.bot("evaluate", *words, "--json").stdout) for _ in range(2)]
    assert measured[0] == measured[1]  # the second time by the ledger
    facts = measured[0]["evaluation"]
    (share,) = facts["budget"]["shares"]
    assert 10 <= facts["chunks"] == share["taken"] < 40
    assert facts["budget"]["minutes"] == minutes
    now = json.loads(road.bot("evaluate", *words, "--dry-run", "--json").stdout)
    assert [row["origin"] for row in now["measures"]] == ["measured"]
    said = road.bot("evaluate", *words, "--dry-run").stdout
    assert "measured before (1)" in said
    assert "minutes to measure in: " in said
