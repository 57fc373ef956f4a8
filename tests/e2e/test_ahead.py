"""Names, owners, licences and files that lack: found by a publication before it makes anything."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import HfApi  # noqa: TID251 - somebody who is not the bot
from pydantic import SecretStr

from bot.cli.main import cli
from bot.clients.hub.hub import Hub as Client
from bot.errors import BotError
from tests.e2e.road import Road
from tests.local_hub.server import Hub


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended in this process."""

    code: int
    said: str
    out: str


def run(road: Road, *words: str) -> Ended:
    """A command in this process: nothing of it is made, so that nothing stays."""
    settings = str(road.folder / "bot.yaml")
    variables = {"HF_TOKEN": road.token, "BOT_HUB__ENDPOINT": road.url}
    done = CliRunner(env=variables).invoke(cli, ["-q", "--config", settings, *words])
    error = done.exception
    if isinstance(error, BotError):
        return Ended(code=error.exit_code, said=str(error), out="")
    return Ended(code=done.exit_code, said=done.stderr, out=done.stdout)


def refused(road: Road, *words: str, code: int) -> str:
    """What a rehearsal and the publication itself say: the same, and neither makes anything."""
    said = []
    for dry in ((), ("--dry-run",)):
        done = run(road, "publish", *words, *dry)
        assert done.code == code, done
        said.append(done.said)
    assert said[0] == said[1]
    assert "\n" not in said[0]
    assert not list(road.folder.glob("work/jobs/*"))
    return said[0]


@pytest.mark.road
def test_names_and_owners_are_refused_before_anything_is_made(road: Road, demo_model: Path) -> None:
    model = str(demo_model)
    assert "'foo' is no OWNER/NAME" in refused(road, model, "--to", "foo", code=4)
    assert "may not publish for nobody" in refused(road, model, "--to", "nobody/x", code=6)
    plain = road.folder / "My Model (v2).gguf"
    plain.symlink_to(demo_model)
    assert "is no name on a Hub" in refused(road, str(plain), code=4)
    long = road.folder / f"{'m' * 90}.gguf"
    long.symlink_to(demo_model)
    assert "96" in refused(road, str(long), code=4)
    assert "nothing.gguf is not there" in refused(road, "./nothing.gguf", code=4)
    named = run(road, "publish", str(plain), "--name", "My-Model", "--dry-run", "--json")
    assert json.loads(named.out)["target"] == "alice/My-Model-APEX-GGUF"
    road.settings(source={})
    assert "--license" in refused(road, model, code=11)


@pytest.mark.long
def test_a_release_by_labels_of_a_file_with_a_label_in_its_name(
    road: Road, hub: Hub, demo_model: Path
) -> None:
    """Named by the link that was given; its lint has no warning about labels."""
    road.settings(source={}, publish={"file": "{name}-APEX-{label}.gguf"})
    model = road.folder / "Tiny-MoE-14M-MXFP4.gguf"
    model.symlink_to(demo_model)
    told = ("--tiers", "Quality,Balanced", "--license", "mit", "--base-model", "lab/Tiny")
    words = ("publish", f"./{model.name}", *told)
    seen = json.loads(road.bot(*words, "--dry-run", "--json").stdout)
    assert seen["target"] == "alice/Tiny-MoE-14M-APEX-GGUF"
    assert "Tiny-MoE-14M-MXFP4 is called Tiny-MoE-14M" in seen["notes"][0]
    assert "does not exist yet" in seen["notes"][1]
    done = road.bot(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert "does not exist yet" in done.stderr
    made = json.loads(done.stdout)
    labels = {"Tiny-MoE-14M-APEX-Q6_K_QUALITY.gguf", "Tiny-MoE-14M-APEX-Q5_K_M_BALANCED.gguf"}
    assert {name for name in made["files"] if name.startswith("Tiny")} == labels
    card = (Path(made["folder"]) / "README.md").read_text()
    assert "\nlicense: mit\n" in card
    assert "\nbase_model: lab/Tiny\n" in card
    found = json.loads(road.bot("lint", made["folder"], "--json").stdout)
    assert not [one for one in found if "label" in one["rule"]]

    # an update says what it will make anew, and why, before it does
    again = road.bot(*words[:2], *told[2:], "--tiers", "Quality,Compact", "--dry-run")
    assert again.returncode == 0, again.stderr
    assert "alice/Tiny-MoE-14M-APEX-GGUF will be updated: new tiers: Compact" in again.stdout
    assert "tiers no longer published: Balanced" in again.stdout
    assert Client(hub.url, SecretStr(hub.token)).release(seen["target"]).commit == made["commit"]


def test_somebody_elses_file_of_the_same_name_is_found_first(
    road: Road, hub: Hub, demo_model: Path
) -> None:
    theirs = road.folder / "theirs.gguf"
    shutil.copy(demo_model, theirs)
    api = HfApi(hub.url, token=hub.token)
    api.create_repo("alice/x", exist_ok=True)
    api.upload_file(
        path_or_fileobj=theirs, path_in_repo="Tiny-MoE-14M-APEX-Quality.gguf", repo_id="alice/x"
    )
    words = (str(demo_model), "--to", "alice/x", "--tiers", "Quality")
    for dry in ((), ("--dry-run",)):
        done = run(road, "publish", *words, *dry)
        assert done.code == 9, done
        assert "holds a Tiny-MoE-14M-APEX-Quality.gguf that is not the bot's" in done.said
    assert not list(road.folder.glob("work/jobs/*/release/*.gguf"))
