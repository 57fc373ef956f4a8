"""The gate through the command: what it shows, what it leaves out, what it stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.errors import SourceError
from bot.settings.sections import DEMO
from tests.e2e.road import Road
from tests.local_hub.server import Hub, regular
from tests.unit.clients.hub.between import Fault, between

TIERS = "Balanced,I-Compact"
REPO = "alice/Tiny-MoE-14M-APEX-GGUF"


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


built = pytest.mark.usefixtures("work")  # two tiers that were made and measured before


@pytest.mark.road
@built
def test_a_tier_is_left_out_named_and_explained(road: Road, hub: Hub, demo_model: Path) -> None:
    asked = (str(demo_model), "--profiles", TIERS)
    early = road.bot("gate", *asked)
    assert early.returncode == 4
    assert "bot evaluate" in early.stderr
    strict = {"mean_kld": {"I-Compact": 1e-6}}
    config = road.settings(gate=strict)
    done = road.bot("publish", *asked, "--json", config=config)
    assert done.returncode == 0, done.stderr
    assert "I-Compact is left out" in done.stderr
    client = Client(road.url, SecretStr(road.token))
    held = {file.path for file in client.release(REPO).files}
    assert "Tiny-MoE-14M-APEX-Balanced.gguf" in held
    assert not [path for path in held if path.endswith("I-Compact.gguf")]
    card = client.read_text(REPO, "main", "README.md", 100_000)
    assert card is not None
    assert "I-Compact was built and is not published" in card.replace("\\", "")
    said = road.bot("gate", *asked, "--json", config=config)
    assert said.returncode == 0, said.stderr
    verdict = json.loads(said.stdout)
    assert [one["tier"] for one in verdict["left_out"]] == ["I-Compact"]
    assert verdict["stops"] is None
    # the same release may not go where no tier may be missing
    config = road.settings(gate={**strict, "failing": "stop"})
    stopped = road.bot("gate", *asked, config=config)
    assert stopped.returncode == 11
    assert "FAILED" in stopped.stdout
    assert "stops: I-Compact: mean KLD" in stopped.stdout
    again = road.bot("push", *asked, config=config)
    assert again.returncode == 11
    assert hub.commits(REPO) == 1


@pytest.mark.road
@built
def test_nothing_is_made_where_nothing_may_go(road: Road, hub: Hub, demo_model: Path) -> None:
    config = road.settings(gate={"max_kld": {"*": 1e-9}})
    done = road.bot("publish", str(demo_model), "--profiles", "Balanced", config=config)
    assert done.returncode == 11
    assert "no tier is good enough" in done.stderr
    assert hub.commits(REPO) is None
    with pytest.raises(SourceError):
        Client(road.url, None).release(REPO)


@pytest.mark.road
def test_what_may_not_be_handed_on_is_not_even_fetched(
    road: Road, hub: Hub, demo_model: Path
) -> None:
    makers = Client(hub.url, SecretStr(hub.token))
    makers.create_private("alice/Bare-MoE")
    files = {"config.json": DEMO / "config.json", demo_model.name: demo_model}
    makers.commit("alice/Bare-MoE", files, "Release", makers.head("alice/Bare-MoE"))
    makers.make_public("alice/Bare-MoE")
    before = set((road.folder / "work").rglob("*.gguf*"))
    done = road.bot("publish", "alice/Bare-MoE", "--profiles", "Balanced")
    assert done.returncode == 11
    assert "nothing made of alice/Bare-MoE may be published" in done.stderr
    assert "names no licence" in done.stderr
    assert set((road.folder / "work").rglob("*.gguf*")) == before


@pytest.mark.long
@built
def test_a_card_with_errors_stops_the_release(road: Road, hub: Hub, demo_model: Path) -> None:
    templates = road.folder / "templates"
    templates.mkdir()
    (templates / "credits.md.j2").write_text("## Credits\n\n[our thanks](THANKS.md)\n")
    asked = (str(demo_model), "--profiles", "Balanced")
    config = road.settings(templates=str(templates))
    done = road.bot("publish", *asked, config=config)
    assert done.returncode == 11, done.stderr
    assert f"{REPO} is not published: README.md: links to THANKS.md" in done.stderr
    assert hub.commits(REPO) == 0
    with pytest.raises(SourceError):
        Client(road.url, None).release(REPO)
    said = road.bot("gate", *asked, config=config)
    assert said.returncode == 11
    assert "FAILED" in said.stdout
    assert "dead-link" in said.stdout
    # who wants it so publishes it
    config = road.settings(templates=str(templates), gate={"card": False})
    assert road.bot("publish", *asked, config=config).returncode == 0
    assert hub.commits(REPO) == 1
    clean = road.bot("gate", *asked)
    assert clean.returncode == 0, clean.stdout
    assert "card, names and hashes are sound" in clean.stdout


@pytest.mark.road
@built
def test_another_bot_that_published_meanwhile(road: Road, hub: Hub, demo_model: Path) -> None:
    """Its results came after this run began: nothing is overwritten until somebody says so."""
    theirs = regular("results.json", b'{"tiers": []}\n')

    def meanwhile() -> None:
        assert hub.commit(REPO, theirs).status == 200

    asked = ("publish", str(demo_model), "--profiles", "Balanced")
    with between(hub.url) as proxy:
        proxy.faults = [
            Fault(method="POST", part="/preupload/", status=0, arrives=True, meanwhile=meanwhile)
        ]
        beside = Road(folder=road.folder, url=proxy.url, token=road.token)
        stopped = beside.bot(*asked)
    assert stopped.returncode == 11, stopped.stderr
    assert "got other results from another bot meanwhile; run it again to replace" in stopped.stderr
    assert hub.commits(REPO) == 1
    again = road.bot(*asked)
    assert again.returncode == 0, again.stderr
    assert hub.commits(REPO) == 2
