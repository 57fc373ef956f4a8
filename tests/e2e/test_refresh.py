"""New metadata without new weights: what the converter would write, in files and releases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.files.gguf import read_gguf
from bot.clients.files.ggufheader import read_header
from bot.clients.hub.hub import Hub as Client
from bot.detect.inspection import candidate
from bot.progress import Narrator
from bot.refresh.metadata import between
from bot.settings.settings import load
from bot.source.obtain import bring
from bot.source.without_weights import keys_of_release
from bot.toolchain.toolchain import Toolchain
from bot.workplace.workplace import Workplace
from tests import checkpoints
from tests.checkpoints import FAMILIES
from tests.e2e.road import Road
from tests.e2e.test_source import released, told, with_converter
from tests.local_hub.server import Hub

QUICK = ("granite",)
OLD = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
NEW = OLD + "{% if enable_thinking %}<think>{% endif %}"


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    return Road(folder=tmp_path, url=hub.url, token=hub.token)


@pytest.mark.road
@pytest.mark.parametrize(
    "family", [pytest.param(n, marks=() if n in QUICK else pytest.mark.long) for n in FAMILIES]
)
def test_the_converter_writes_the_same_metadata_with_and_without_weights(
    family: str, road: Road, hub: Hub, toolchain: Toolchain
) -> None:
    """All keys of a conversion, byte for byte, but for what is of each file itself."""
    source = checkpoints.write(FAMILIES[family](), road.folder / "source", toolchain)
    (source / "chat_template.jinja").write_text(OLD)
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_k": 20}))
    repo_id = released(hub, source, "Tiny-4x1M")
    with_converter(road, toolchain)
    settings = load(road.folder / "bot.yaml", hub={"endpoint": hub.url})
    workplace = Workplace(settings, Narrator(quiet=True), SecretStr(hub.token))
    release = Client(hub.url, None).release(repo_id)
    keys = keys_of_release(workplace, release)
    written = dict(read_header(bring(workplace, candidate(workplace, release)).path).keys)
    assert len(keys) > 20
    assert between(keys, written) == {}


@pytest.mark.road
def test_a_file_takes_the_metadata_that_its_makers_have_by_now(
    road: Road, hub: Hub, toolchain: Toolchain
) -> None:
    source = checkpoints.write(FAMILIES["granite"](), road.folder / "source", toolchain)
    (source / "chat_template.jinja").write_text(OLD)
    repo_id = released(hub, source, "Tiny-4x1M")
    with_converter(road, toolchain)
    mine = road.folder / "mine.gguf"
    assert road.bot("convert", str(source), str(mine), "--name", "Mine").returncode == 0
    assert told(road, "refresh", str(mine), "--from", repo_id, "--dry-run")["changes"] != []

    (source / "chat_template.jinja").write_text(NEW)
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.6}))
    released(hub, source, "Tiny-4x1M")
    before = read_gguf(mine)
    done = told(road, "refresh", str(mine), "--from", repo_id)
    after = read_gguf(mine)
    assert {change["key"] for change in done["changes"]} == {
        "tokenizer.chat_template",
        "general.sampling.temp",
        "general.license",  # which the folder did not tell
    }
    assert after.metadata["tokenizer.chat_template"] == NEW
    assert after.metadata["general.name"] == "Mine"
    assert after.tensors == before.tensors
    assert told(road, "refresh", str(mine), "--from", repo_id)["changes"] == []
    assert not [*(road.folder / "work").glob("sources/*")]
