"""What is looked at on the Hub before anybody sees it: the card as it is read, its commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from tests.e2e.road import Road
from tests.local_hub.server import Hub, large
from tests.unit.clients.hub.between import Fault, between

REPO = "alice/Tiny-MoE-14M-APEX-GGUF"
TIER = "Tiny-MoE-14M-APEX-Balanced.gguf"


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


pytestmark = pytest.mark.usefixtures("work")


@pytest.mark.road
@pytest.mark.parametrize(
    ("card", "key"),
    [
        ({}, "license"),
        pytest.param(
            {"license": "apache-2.0", "base_model_relation": ["quantized"]},
            "quantized_by",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_card_that_the_hub_reads_otherwise_is_not_shown(
    road: Road, hub: Hub, demo_model: Path, card: dict[str, object], key: str
) -> None:
    asked = ("publish", str(demo_model), "--profiles", "Balanced")
    read = json.dumps({"cardData": card}).encode()
    with between(hub.url) as proxy:
        # the reply to `expand=cardData`: no other request of a publication has that in its path
        proxy.choose = lambda _number, method, path: (
            Fault(method=method, part=path, status=200, body=read, arrives=False)
            if "expand=cardData" in path
            else None
        )
        beside = Road(folder=road.folder, url=proxy.url, token=road.token)
        done = beside.bot(*asked)
    assert done.returncode == 9, done.stderr
    assert f"{REPO} is not shown: README.md: the Hub does not read its {key}" in done.stderr
    mine = Client(hub.url, SecretStr(hub.token))
    assert mine.release(REPO).private
    assert hub.commits(REPO) == 1
    again = road.bot(*asked)
    assert again.returncode == 0, again.stderr
    assert not mine.release(REPO).private
    assert hub.commits(REPO) == 1


@pytest.mark.long
def test_a_command_that_would_fetch_another_file_is_not_shown(
    road: Road, hub: Hub, demo_model: Path
) -> None:
    """Somebody put a file into the repository that llama.cpp takes for the tier that is named."""
    asked = ("publish", str(demo_model), "--profiles", "Balanced")
    hub.create(REPO.split("/")[1])
    data = b"GGUF" + bytes(9000)
    oid = hub.send(REPO, data)
    assert hub.commit(REPO, large("A-APEX-Balanced.gguf", oid, len(data))).status == 200
    done = road.bot(*asked)
    assert done.returncode == 9, done.stderr
    assert f"fetches A-APEX-Balanced.gguf, not {TIER}; rename the other file" in done.stderr
    held = {file.path for file in Client(hub.url, None).release(REPO).files}
    assert "A-APEX-Balanced.gguf" in held  # nobody's file is touched
    assert TIER not in held  # what everybody sees is what was there before
    renamed = {"key": "deletedFile", "value": {"path": "A-APEX-Balanced.gguf"}}
    assert hub.commit(REPO, renamed).status == 200
    again = road.bot(*asked)
    assert again.returncode == 0, again.stderr


@pytest.mark.long
def test_through_a_pull_request_no_private_storage_is_asked_for(
    road: Road, hub: Hub, demo_model: Path
) -> None:
    """publish.hidden: an account without private storage publishes all the same."""
    config = road.settings(publish={"hidden": "pull-request"})
    asked = ("publish", str(demo_model), "--profiles", "Balanced,I-Compact")
    looks: list[list[str]] = []

    def choose(_number: int, method: str, path: str) -> Fault | None:
        if method == "PUT" and path.startswith("/lfs/"):  # the content is on its way
            looks.append([one.path for one in Client(hub.url, None).release(REPO).files])
        return None

    with between(hub.url) as proxy:
        proxy.choose = choose
        beside = Road(folder=road.folder, url=proxy.url, token=road.token)
        done = beside.bot(*asked, config=config, HF_HUB_DISABLE_XET="1")
        requests = list(proxy.requests)
    assert done.returncode == 0, done.stderr
    assert not any("/settings" in line for line in requests)
    assert looks
    assert all(set(files) <= {".gitattributes"} for files in looks)
    held = {file.path for file in Client(hub.url, None).release(REPO).files}
    assert TIER in held
    assert hub.commits(REPO) == 1
    hidden = road.bot(*asked, "--to", "alice/Hidden", "--private", config=config)
    assert hidden.returncode == 0, hidden.stderr
    assert Client(hub.url, SecretStr(hub.token)).release("alice/Hidden").private
