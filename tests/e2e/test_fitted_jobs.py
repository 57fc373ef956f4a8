"""A fitted tier in the jobs of a workflow: types are chosen where the release is prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.quantize.fitted_tiers import FOUND
from tests.e2e.road import Road
from tests.local_hub.server import running_hub
from tests.split_gguf import shrink

MODEL = "lab/Small-MoE"
FIT = {"chunks": 2, "context": 32, "probes": 6, "rounds": 0, "types": ["Q8_0", "Q6_K", "Q4_K"]}


def _settings(folder: Path) -> dict[str, Any]:
    return {
        "workdir": str(folder / "work"),
        "hub": {"namespace": "alice"},
        "llama": {"threads": 2, "gpu_layers": 0},
        "calibration": {"context": 128, "chunks": 2},
        "evaluation": {"noise_chunks": 0, "context": 128, "chunks": 1, "tasks": [], "speed": False},
        "jobs": {"tiers": 1},
        "fit": FIT,
    }


def _publish_original(client: Client, folder: Path, model: Path) -> None:
    card = folder / "README.md"
    card.write_text("---\nlicense: apache-2.0\n---\n")
    client.create_private(MODEL)
    client.commit(MODEL, {card.name: card, model.name: model}, "Release", client.head(MODEL))
    client.make_public(MODEL)


@pytest.mark.road
def test_jobs_of_a_fitted_tier_find_what_preparing_found(tmp_path: Path, demo_model: Path) -> None:
    small = tmp_path / "Small-MoE-BF16.gguf"
    shrink(demo_model, small, layers=4, experts=3)
    with running_hub(tmp_path / "hub") as hub:
        client = Client(hub.url, SecretStr(hub.token))
        _publish_original(client, tmp_path, small)
        road = Road(folder=tmp_path, url=hub.url, token=hub.token)
        road.settings(**_settings(tmp_path))
        tiers = "I-Quality,Fit-I-Quality"
        done = road.bot("step", "prepare", "--model", MODEL, "--tiers", tiers, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        groups = [row["tiers"] for row in told["matrix"]["include"]]
        assert groups == ["I-Quality", "Fit-I-Quality"]
        (found,) = (tmp_path / "work").rglob(FOUND)
        before = found.read_bytes()
        names = ("--release", told["release"], "--sentinel", told["sentinel"])
        for verb in (("quantize", "--group", "1"), ("quantize", "--group", "2"), ("describe",)):
            done = road.bot("step", *verb, *names)
            assert done.returncode == 0, done.stderr
            assert "fitting" not in done.stderr
        assert found.read_bytes() == before
    (path,) = (tmp_path / "work").glob("jobs/*/release/results.json")
    results = json.loads(path.read_text())
    (fitted,) = results["fitted"]
    assert fitted["tier"] == "Fit-I-Quality"
    sizes = {tier["name"]: tier["bytes"] for tier in results["tiers"]}
    assert sizes["Fit-I-Quality"] <= sizes["I-Quality"] == fitted["asked_bytes"]
    assert "Fit-I-Quality" in (path.parent / "README.md").read_text()
    assert (path.parent / "sensitivity.json").is_file()
