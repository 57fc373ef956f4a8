"""Publishing with tokens that a Hub lends to a job: renewed, for one repository, no other used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot import secrecy
from bot.clients.hub.hub import Hub as Client
from bot.clients.hub.trusted import TrustedPublisher
from bot.disk.hashes import sha256
from bot.errors import AccessError, BotError, UnreachableError
from bot.localhub.routes.lending import trusted_repository
from bot.publish.send import send_files
from bot.publish.upload import publish_commit
from bot.records.built import Built
from tests.hand_clock import HandClock
from tests.local_hub.runner import CLAIMS, ISSUER, PASSWORD, Runner, running_runner
from tests.local_hub.server import Hub, running_hub
from tests.unit.clients.hub.between import Between, Fault, between

# huggingface_hub's own way to send a part of a file
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

OWN = "hf_the_users_own_token"
Files = dict[str, Built]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A Hub whose repository trusts the runner's jobs, behind a proxy; tokens hold two seconds."""

    hub: Hub
    proxy: Between
    runner: Runner
    repo: str

    def client(self, repo_id: str | None = None) -> Client:
        lender = TrustedPublisher(self.proxy.url, repo_id or self.repo)
        return Client(self.proxy.url, lender, pause=0.01, timeout=10.0)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(secrecy, "_KEPT", set())
    with (
        running_hub(tmp_path / "hub", lent_seconds=2) as hub,
        between(hub.url) as proxy,
        running_runner() as runner,
    ):
        for name, value in {**runner.environment, "HF_TOKEN": OWN}.items():
            monkeypatch.setenv(name, value)
        repo = hub.create("model")
        trusted_repository(hub.store, repo, ISSUER, runner.public_keys(tmp_path), CLAIMS)
        yield Scene(hub=hub, proxy=proxy, runner=runner, repo=repo)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    contents = {"a.gguf": b"a" * 70_000, "b.gguf": b"b" * 50_000, "README.md": b"# Model\n"}
    built_files = {}
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        built_files[name] = Built(path=str(path), bytes=len(content), sha256=sha256(path))
    return built_files


def seen(scene: Scene) -> set[str]:
    return {file.path for file in Client(scene.hub.url, None).release(scene.repo).files}


def test_an_update_with_lent_tokens(scene: Scene, files: Files) -> None:
    client = scene.client()
    send_files(client, scene.repo, {"a.gguf": files["a.gguf"]})
    publish_commit(client, scene.repo, files, "Release", private=False)
    assert seen(scene) >= set(files)
    assert scene.hub.commits(scene.repo) == 1
    assert len(scene.runner.given) == scene.proxy.count("POST", "/oauth/token") >= 1
    repo = scene.hub.store.find(scene.repo)
    assert repo is not None
    assert scene.hub.store.commit(repo, "main").author.startswith("[OIDC] repo:me/builds")


@pytest.mark.road
@pytest.mark.parametrize("xet", [False, True])
def test_a_token_that_runs_out_while_a_file_is_sent(
    scene: Scene, files: Files, monkeypatch: pytest.MonkeyPatch, xet: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", not xet)
    slow = ("POST", "/preupload/") if xet else ("PUT", "/lfs/")
    scene.proxy.faults = [
        Fault(method=slow[0], part=slow[1], status=0, arrives=True, delay=2.2, times=2)
    ]
    client = scene.client()
    send_files(client, scene.repo, {name: files[name] for name in ("a.gguf", "b.gguf")})
    publish_commit(client, scene.repo, files, "Release", private=False)
    assert seen(scene) >= set(files)
    assert scene.hub.commits(scene.repo) == 1
    assert scene.proxy.count("POST", "/oauth/token") >= 3
    assert all(fault.times == 0 for fault in scene.proxy.faults)
    sent = [line.partition("?")[0] for line in scene.proxy.delivered if "PUT /lfs" in line]
    assert len(sent) == len(set(sent)) == (0 if xet else 2)  # nothing twice


def test_a_new_one_comes_before_the_last_runs_out(scene: Scene) -> None:
    clock = HandClock()
    lender = TrustedPublisher(scene.proxy.url, scene.repo, clock)
    first = lender.token()
    clock.time += 1.8
    assert lender.token() == first
    assert not lender.is_over(first)
    clock.time += 0.1  # less than a twelfth of two seconds is left
    second = lender.token()
    assert second != first
    assert lender.is_over(first)
    assert not lender.is_over(second)
    clock.time += 2.0
    assert lender.is_over(second)


def test_another_repository_is_refused(scene: Scene, files: Files) -> None:
    other = scene.hub.create("other")
    for repo_id in (other, "alice/not-there"):
        with pytest.raises(AccessError, match=f"{repo_id} must exist and name this workflow"):
            publish_commit(scene.client(repo_id), repo_id, files, "Release", private=False)
    card, head = (
        {"README.md": Path(files["README.md"].path)},
        Client(scene.hub.url, None).head(other),
    )
    with pytest.raises(AccessError, match=r"403 .* lent for alice/model may not do this"):
        scene.client().commit(other, card, "x", head)
    assert scene.hub.commits(other) == 0


def test_a_repository_is_not_made(scene: Scene) -> None:
    with pytest.raises(AccessError, match="make it once with a token that may write"):
        scene.client().create_private("alice/new")
    assert scene.proxy.requests == []


REFUSED: dict[str, tuple[dict[str, Any], type[BotError], str]] = {
    "runner refuses": ({"runner": 403}, AccessError, "id-token: write"),
    "runner fails": ({"runner": 500}, UnreachableError, "run it again"),
    "hub refuses": ({"status": 400}, AccessError, "trusted publisher"),
    "hub redirects": ({"status": 307}, AccessError, "trusted publisher"),
    "hub limits": ({"status": 429}, UnreachableError, "run it again"),
    "hub fails": ({"status": 503}, UnreachableError, "run it again"),
    "cut": ({"status": None}, UnreachableError, "run the same command again"),
    "no JSON": ({"status": 200, "body": b"<html>"}, AccessError, "trusted publisher"),
    "no token": ({"status": 200, "body": b'{"expires_in": 9}'}, AccessError, "without a token"),
    "odd token": (
        {"status": 200, "body": b'{"access_token": "a b\\nc d e f g"}'},
        AccessError,
        "without a token",
    ),
    "odd time": (
        {"status": 200, "body": b'{"access_token": "hf_jwt_123456", "expires_in": -1}'},
        UnreachableError,
        "not as a Hub does",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_failed_exchange_raises_and_nobody_elses_token_is_used(
    scene: Scene, files: Files, name: str
) -> None:
    fault, kind, match = REFUSED[name]
    scene.runner.status = fault.get("runner", 200)
    if "status" in fault:
        headers = {"Location": f"{scene.hub.url}/elsewhere"} if fault["status"] == 307 else {}
        body = fault.get("body", b'{"error": "invalid_grant"}')
        scene.proxy.faults = [
            Fault(
                method="POST",
                part="/oauth/token",
                status=fault["status"],
                headers=headers,
                body=body,
                arrives=False,
                times=99,
            )
        ]
    with pytest.raises(kind, match=match) as caught:
        publish_commit(scene.client(), scene.repo, files, "Release", private=False)
    assert "\n" not in str(caught.value)
    assert scene.hub.commits(scene.repo) == 0
    # nothing was asked for but the exchange itself
    assert all(line == "POST /oauth/token" for line in scene.proxy.requests)
    secrets = (OWN, PASSWORD, *scene.runner.given)
    assert not any(secret in str(caught.value) for secret in secrets)


def test_a_hub_that_repeats_the_id_token_is_not_repeated(scene: Scene) -> None:
    def choose(number: int, method: str, path: str) -> Fault:
        del number
        body = f'{{"error": "bad {scene.runner.given[-1]}"}}'.encode()
        return Fault(method=method, part=path, status=400, body=body, arrives=False)

    scene.proxy.choose = choose
    with pytest.raises(AccessError, match=r"400 bad \*\*\*"):
        scene.client().head(scene.repo)


def test_where_nobody_vouches(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_OIDC_RESOURCE", "alice/other")
    with pytest.raises(AccessError, match=r"alice/other, not alice/model"):
        scene.client()
    monkeypatch.setenv("HF_OIDC_RESOURCE", scene.repo)
    assert scene.client().head(scene.repo)
    for name in secrecy.RUNNER:
        with monkeypatch.context() as without:
            without.delenv(name)
            with pytest.raises(AccessError, match="id-token: write"):
                scene.client()


def test_secrets_are_kept_from_the_moment_they_are_known(scene: Scene) -> None:
    token = TrustedPublisher(scene.proxy.url, scene.repo).token()
    assert {token, *scene.runner.given} <= secrecy._KEPT
