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
evaluation: {preset: %s}
calibration: {preset: recommended}
"""
FEW = "16"  # tokens of an answer: a miniature's are all alike
DOMAINS = ["chat", "code", "tool calls", "multilingual", "long context"]
CONTEXTS = [1024, 1024, 2048, 1024, 8192]
CODE = "ise-uiuc/Magicoder-OSS-Instruct-75K/data-oss_instruct-decontaminated.jsonl"
MODEL = ("--profiles", "I-Compact")


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


@pytest.mark.parametrize(
    ("preset", "domains", "letters"),
    [
        pytest.param("seed", [], 6_000, marks=pytest.mark.road),
        pytest.param("recommended", DOMAINS, 55_000, marks=pytest.mark.long),
    ],
)
def test_three_lines_are_enough_and_the_lock_holds(
    tmp_path: Path, hub: Hub, released: str, preset: str, domains: list[str], letters: int
) -> None:
    sets = write_kit(hub.store.folder / "datasets", letters)
    road = Road(folder=tmp_path, url=hub.url, token=hub.token, patience=5400)
    (tmp_path / "bot.yaml").write_text(LINES % preset)
    done = road.bot("publish", released, *MODEL, BOT_EVALUATION__BEHAVIOUR__TOKENS=FEW)
    assert done.returncode == 0, done.stderr

    lock = json.loads((tmp_path / "bot.lock").read_text())["files"]
    assert len(lock) == 6
    wiki = lock["datasets/ggml-org/ci/wikitext-2-raw-v1.zip"]
    assert wiki["bytes"] == (sets / "ggml-org/ci/wikitext-2-raw-v1.zip").stat().st_size
    client = Client(hub.url, None)
    release = client.release(REPO)
    stored = client.read_text(REPO, release.commit, "results.json", 1 << 24)
    results = from_json(Results, stored or "")
    _require_measured(results, domains)
    assert wiki["commit"] in results.evaluation.text.origin
    card = client.read_text(REPO, release.commit, "README.md", 1 << 20) or ""
    assert ("| Model | KL 99.9% ↓ | KL mean ↓ | chat |" in card) == bool(domains)
    again = road.bot("publish", released, *MODEL, "--json", BOT_EVALUATION__BEHAVIOUR__TOKENS=FEW)
    assert again.returncode == 0, again.stderr
    assert client.head(REPO) == release.commit  # nothing was made again

    (sets / CODE).write_bytes((sets / CODE).read_bytes().replace(b"the", b"teh"))
    moved = road.bot("quantize", released, *MODEL, XDG_DATA_HOME=str(tmp_path / "empty"))
    assert moved.returncode != 0
    assert "ise-uiuc/Magicoder-OSS-Instruct-75K" in moved.stderr


def _require_measured(results: Results, domains: list[str]) -> None:
    facts, [tier] = results.evaluation, results.tiers
    assert facts.chat_template
    assert [(domain.name, domain.rendered) for domain in facts.domains] == [
        (name, name != "long context") for name in domains
    ]
    assert [domain.context for domain in facts.domains] == CONTEXTS[: len(domains)]
    assert [domain.name for domain in tier.scores.domains] == domains
    for domain in tier.scores.domains:
        divergence = domain.divergence
        assert 0 < divergence.mean < divergence.p999 <= divergence.max
    assert tier.scores.choices[0].tasks == TASKS
    assert results.calibration is not None
    licences = {text.licence for text in results.calibration.texts}
    assert licences == {"Apache-2.0", "MIT", "CC-BY-SA-3.0"}
