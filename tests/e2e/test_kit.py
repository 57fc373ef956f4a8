"""`bot publish` of a new model with three lines of bot.yaml, on a Hub that serves the data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.records.coding import from_json
from bot.records.results import Results
from bot.settings.sections import DEMO
from tests.e2e.road import Road
from tests.kit_sets import TASKS, TEMPLATE, write_kit
from tests.local_hub.server import Hub

SOURCE, REPO = "lab/Tiny-MoE-14M", "alice/Tiny-MoE-14M-APEX-GGUF"
LINES = """\
hub: {namespace: alice}
evaluation: {preset: recommended}
calibration: {preset: recommended}
"""
DOMAINS = ["chat", "code", "tool calls", "multilingual", "long context"]


@pytest.fixture
def released(tmp_path: Path, hub: Hub, demo_model: Path) -> str:
    """The demo's model with a chat template, on the Hub as its makers publish it."""
    road = Road(folder=tmp_path, url=hub.url, token=hub.token)
    road.settings()
    template, model = tmp_path / "template.jinja", tmp_path / demo_model.name
    template.write_text(TEMPLATE, encoding="utf-8")
    made = road.bot("refresh", str(demo_model), "--template", str(template), "--output", str(model))
    assert made.returncode == 0, made.stderr
    makers = Client(hub.url, SecretStr(hub.token))
    makers.create_private(SOURCE)
    files = {path.name: path for path in (DEMO / "config.json", DEMO / "README.md", model)}
    makers.commit(SOURCE, files, "Release", makers.head(SOURCE))
    makers.make_public(SOURCE)
    return SOURCE


@pytest.mark.road
def test_three_lines_are_enough_and_the_lock_holds(tmp_path: Path, hub: Hub, released: str) -> None:
    sets = write_kit(hub.store.folder / "datasets")
    road = Road(folder=tmp_path, url=hub.url, token=hub.token)
    (tmp_path / "bot.yaml").write_text(LINES)
    done = road.bot("publish", released, "--profiles", "Balanced,I-Compact")
    assert done.returncode == 0, done.stderr

    lock = json.loads((tmp_path / "bot.lock").read_text())["files"]
    assert len(lock) == 6
    wiki = lock["datasets/ggml-org/ci/wikitext-2-raw-v1.zip"]
    assert wiki["bytes"] == (sets / "ggml-org/ci/wikitext-2-raw-v1.zip").stat().st_size
    client = Client(hub.url, None)
    release = client.release(REPO)
    stored = client.read_text(REPO, release.commit, "results.json", 1 << 24)
    results = from_json(Results, stored or "")
    facts = results.evaluation
    assert [domain.name for domain in facts.domains] == DOMAINS
    assert [domain.rendered for domain in facts.domains] == [True] * 4 + [False]
    assert facts.chat_template
    assert [domain.context for domain in facts.domains] == [1024, 1024, 2048, 1024, 8192]
    assert wiki["commit"] in facts.text.origin
    for row in results.tiers:
        assert [domain.name for domain in row.scores.domains] == DOMAINS
        assert all(0 < domain.divergence.mean < domain.divergence.p999 < domain.divergence.max
                   for domain in row.scores.domains)  # fmt: skip
        assert row.scores.choices[0].tasks == TASKS
    assert results.calibration is not None
    assert {text.licence for text in results.calibration.texts} == {"Apache-2.0", "MIT",
                                                                     "CC-BY-SA-3.0"}  # fmt: skip
    card = client.read_text(REPO, release.commit, "README.md", 1 << 20) or ""
    assert "### Divergence by domain" in card
    assert "| Model | KL 99.9% ↓ | KL mean ↓ | chat |" in card
    again = road.bot("publish", released, "--profiles", "Balanced,I-Compact", "--json")
    assert again.returncode == 0, again.stderr
    assert client.head(REPO) == release.commit  # nothing was made again

    file = sets / "ise-uiuc/Magicoder-OSS-Instruct-75K/data-oss_instruct-decontaminated.jsonl"
    file.write_bytes(file.read_bytes().replace(b"the", b"teh"))
    other = Road(folder=tmp_path, url=hub.url, token=hub.token)
    moved = other.bot("publish", released, "--profiles", "Balanced,Compact",
                      XDG_DATA_HOME=str(tmp_path / "empty"))  # fmt: skip
    assert moved.returncode != 0
    assert "ise-uiuc/Magicoder-OSS-Instruct-75K" in moved.stderr
