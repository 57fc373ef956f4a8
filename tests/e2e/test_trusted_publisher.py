"""A build published with tokens that the Hub lends to the job, by the real command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from tests.e2e.road import Road
from tests.local_hub.runner import CLAIMS, ISSUER, PASSWORD, Runner, running_runner
from tests.local_hub.server import Hub, running_hub

REPO = "alice/Tiny-MoE-14M-APEX-GGUF"
pytestmark = pytest.mark.usefixtures("work")
LOUD = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture
def runner() -> Iterator[Runner]:
    with running_runner() as made:
        yield made


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    """A user whose own token may only read: it belongs to somebody else."""
    made = Road(folder=tmp_path, url=hub.url, token=hub.store.add_user("reader"))
    made.settings(publish={"trusted_publisher": True}, hub={"namespace": "alice"})
    return made


def trusted(road: Road, hub: Hub, runner: Runner) -> None:
    """The repository is there, and trusts the runner's jobs: `bot hub trust`."""
    hub.create(REPO.split("/")[1])
    claims = [part for name, value in CLAIMS.items() for part in ("--claim", f"{name}={value}")]
    keys = str(runner.public_keys(road.folder))
    done = road.bot(
        *("hub", "trust", str(hub.store.folder), REPO),
        *("--issuer", ISSUER, "--keys", keys, *claims),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_build_is_published_without_a_token_that_may_write(
    road: Road, hub: Hub, runner: Runner, demo_model: Path
) -> None:
    trusted(road, hub, runner)
    arguments = ("publish", str(demo_model), "--profiles", "Compact")
    done = road.bot(*arguments, config=None, **runner.environment, **LOUD)
    assert done.returncode == 0, done.stderr
    files = {file.path for file in Client(hub.url, None).release(REPO).files}
    assert "Tiny-MoE-14M-APEX-Compact.gguf" in files
    assert hub.commits(REPO) == 1
    again = road.bot(*arguments, config=None, **runner.environment)
    assert again.returncode == 0, again.stderr
    assert hub.commits(REPO) == 1
    # huggingface_hub's own way to ask for such tokens is not in the way
    named = {"HF_OIDC_RESOURCE": REPO, "HF_HUB_DISABLE_XET": "1"}
    other = ("publish", str(demo_model), "--profiles", "I-Compact", "--json")
    more = road.bot(*other, config=None, **runner.environment, **named)
    assert more.returncode == 0, more.stderr
    assert json.loads(more.stdout)["repo_id"] == REPO
    assert hub.commits(REPO) == 2
    # what was lent is nowhere: not in the loud output, not in what was written
    assert "/oauth/token" in done.stderr
    assert runner.given
    written = [path.read_bytes() for path in (road.folder / "work").rglob("*") if path.is_file()]
    for secret in ("hf_jwt_", PASSWORD, road.token, *runner.given):
        assert secret not in done.stdout + done.stderr + again.stderr
        assert not any(secret.encode() in content for content in written)
    found = json.loads(road.bot("doctor", "--json", config=None, **runner.environment).stdout)
    said = {finding["name"]: finding for finding in found}["publishing"]
    assert said["good"], said
    assert "HF_TOKEN only reads" in said["text"]


@pytest.mark.road
def test_a_token_that_may_write_is_no_way_out(
    road: Road, hub: Hub, runner: Runner, demo_model: Path
) -> None:
    """Exit code 6, before or after the work; the user's own token would have done it."""
    arguments = ("publish", str(demo_model), "--profiles", "Compact")
    before = set((road.folder / "work").rglob("*"))
    nowhere = road.bot(*arguments, HF_TOKEN=hub.token)
    assert nowhere.returncode == 6
    assert "id-token: write" in nowhere.stderr
    assert set((road.folder / "work").rglob("*")) == before  # nothing was done before
    missing = road.bot(*arguments, config=None, HF_TOKEN=hub.token, **runner.environment)
    assert missing.returncode == 6, missing.stderr
    assert f"{REPO} must exist and name this workflow" in missing.stderr
    assert hub.store.find(REPO) is None
    trusted(road, hub, runner)
    runner.status = 500
    refused = road.bot(*arguments, config=None, HF_TOKEN=hub.token, **runner.environment)
    assert refused.returncode == 7, refused.stderr
    assert hub.commits(REPO) == 0
    runner.status = 200
    resource = {"HF_OIDC_RESOURCE": "alice/other"}
    other = road.bot(
        "push",
        *arguments[1:],
        config=None,
        HF_TOKEN=hub.token,
        **runner.environment,
        **resource,
    )
    assert other.returncode == 6, other.stderr
    assert "alice/other, not" in other.stderr
    assert hub.commits(REPO) == 0
    done = road.bot("push", *arguments[1:], config=None, **runner.environment)
    assert done.returncode == 0, done.stderr
    assert hub.commits(REPO) == 1


@pytest.mark.long
def test_a_private_repository_stays_private_and_that_is_said(
    road: Road, hub: Hub, runner: Runner, demo_model: Path
) -> None:
    trusted(road, hub, runner)
    mine = Client(hub.url, SecretStr(hub.token))
    mine.ask(REPO, lambda api: api.update_repo_settings(REPO, visibility="private"))
    done = road.bot(
        "publish", str(demo_model), "--profiles", "Compact", config=None, **runner.environment
    )
    assert done.returncode == 6
    assert f"lent for {REPO} may not do this; see" in done.stderr
    assert mine.release(REPO).private
    assert hub.commits(REPO) == 1
    mine.make_public(REPO)
    again = road.bot(
        "push", str(demo_model), "--profiles", "Compact", config=None, **runner.environment
    )
    assert again.returncode == 0, again.stderr
    assert hub.commits(REPO) == 1


@pytest.mark.long  # by seconds: the Hub and the command each look at a clock
def test_a_token_that_runs_out_between_two_tiers(
    tmp_path: Path, runner: Runner, demo_model: Path
) -> None:
    with running_hub(tmp_path / "short", lent_seconds=1) as hub:
        road = Road(folder=tmp_path, url=hub.url, token=hub.token)
        road.settings(publish={"trusted_publisher": True}, hub={"namespace": "alice"})
        trusted(road, hub, runner)
        done = road.bot(
            *("publish", str(demo_model), "--profiles", "Compact,I-Compact"),
            config=None,
            **runner.environment,
        )
        assert done.returncode == 0, done.stderr
        assert len(runner.given) >= 3
        assert hub.commits(REPO) == 1


@pytest.mark.long
def test_the_doctor_says_with_what(road: Road, hub: Hub, runner: Runner) -> None:
    def publishing(**environment: str) -> tuple[bool | None, str]:
        found = json.loads(road.bot("doctor", "--json", config=None, **environment).stdout)
        said = {finding["name"]: finding for finding in found}["publishing"]
        return said["good"], said["text"]

    assert publishing() == (
        None,
        "with tokens that the Hub lends to jobs of GitHub Actions; this is none",
    )
    resource = {"HF_OIDC_RESOURCE": REPO}
    good, text = publishing(**runner.environment, **resource)
    assert (good, "must exist" in text) == (False, True)
    trusted(road, hub, runner)
    good, text = publishing(**runner.environment, **resource)
    assert (good, f"lends for {REPO};" in text) == (True, True)
    road.settings()
    assert publishing() == (None, "with HF_TOKEN")
    assert "set publish.trusted_publisher" in publishing(**runner.environment)[1]
