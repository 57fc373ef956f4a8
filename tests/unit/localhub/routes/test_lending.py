"""Trusted publishers of the local Hub: what is proven, and what a lent token can do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.errors import SettingsError, SourceError
from bot.localhub.routes.lending import EXCHANGE, ID_TOKEN, trusted_repository
from tests.local_hub.runner import CLAIMS, ISSUER, Runner, running_runner
from tests.local_hub.server import Hub, Reply, regular, running_hub

WANTED = {name: CLAIMS[name] for name in ("repository", "environment")}


@pytest.fixture
def runner() -> Iterator[Runner]:
    with running_runner() as running:
        yield running


@pytest.fixture
def repo(hub: Hub, runner: Runner, tmp_path: Path) -> str:
    repo_id = hub.create("model")
    trusted_repository(hub.store, repo_id, ISSUER, runner.public_keys(tmp_path), WANTED)
    return repo_id


def exchange(hub: Hub, id_token: Any, resource: Any, **more: Any) -> Reply:
    body = {
        "grant_type": EXCHANGE,
        "subject_token_type": ID_TOKEN,
        "subject_token": id_token,
        "resource": resource,
    }
    return hub.ask("POST", "/oauth/token", body | more)


def lent(hub: Hub, runner: Runner, repo: str) -> str:
    reply = exchange(hub, runner.signed(hub.url), repo)
    assert reply.status == 200, reply.body
    assert reply.json["expires_in"] == 3600
    token: str = reply.json["access_token"]
    return token


def test_a_lent_token_writes_to_its_repository_alone(hub: Hub, runner: Runner, repo: str) -> None:
    token, other = lent(hub, runner, repo), hub.create("other", private=True)
    lines = [{"key": "header", "value": {"summary": "x"}}, regular("a.txt", b"a")]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()

    def write(repo_id: str) -> int:
        return hub.ask("POST", f"/api/models/{repo_id}/commit/main", body, token=token).status

    assert (write(repo), write(other)) == (200, 404)
    assert hub.ask("PUT", f"/api/models/{other}/settings", {}, token=hub.token).status == 200
    public = {"visibility": "public"}
    assert hub.ask("PUT", f"/api/models/{other}/settings", public, token=hub.token).status == 200
    assert write(other) == 403
    for method, target, payload in (
        ("POST", "/api/repos/create", {"name": "new", "organization": "alice"}),
        ("DELETE", "/api/repos/delete", {"name": "model", "organization": "alice"}),
        ("PUT", f"/api/models/{repo}/settings", {"visibility": "private"}),
        ("POST", "/api/collections", {"title": "x", "namespace": "alice"}),
    ):
        assert hub.ask(method, target, payload, token=token).status == 403, target
    repository = hub.store.find(repo)
    assert repository is not None
    author = hub.store.commit(repository, "main").author
    assert author == "[OIDC] repo:me/builds:environment:hub-publish"


def test_it_reads_its_own_private_repository(hub: Hub, runner: Runner, repo: str) -> None:
    token = lent(hub, runner, repo)
    private = {"visibility": "private"}
    assert hub.ask("PUT", f"/api/models/{repo}/settings", private, token=hub.token).status == 200
    assert hub.ask("GET", f"/api/models/{repo}").status == 401
    assert hub.ask("GET", f"/api/models/{repo}", token=token).status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: "another"} for name in WANTED),
        *({name: None} for name in (*WANTED, "exp", "iat", "sub", "aud", "iss")),
        {"repository": ["me/builds"]},
        {"repository": "me/builds2"},
        {"aud": "https://huggingface.co"},
        {"iss": ISSUER + "/"},
        pytest.param({"exp": int(time.time()) - 60}, id="expired"),
        pytest.param({"iat": int(time.time()) + 24 * 3600}, id="not yet"),
        pytest.param(
            {"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)}, id="key"
        ),
    ],
    ids=str,  # the same in every process that collects
)
def test_what_is_not_proven_gets_no_token(
    hub: Hub, runner: Runner, repo: str, wrong: dict[str, Any]
) -> None:
    reply = exchange(hub, runner.signed(**{"audience": hub.url, **wrong}), repo)
    assert (reply.status, reply.json["error"]) == (400, "invalid_grant")


def test_what_is_not_signed_gets_no_token(hub: Hub, runner: Runner, repo: str) -> None:
    good = jwt.decode(runner.signed(hub.url), options={"verify_signature": False})
    public = runner.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, body, _ = runner.signed(hub.url).split(".")
    unsigned = jwt.encode(good, "", "none", {"kid": "one"})
    # signed with the public key as if it were a shared secret
    confused = jwt.api_jws.PyJWS()
    confused._algorithms["HS256"].prepare_key = bytes  # type: ignore[method-assign,assignment]
    mixed = confused.encode(json.dumps(good).encode(), public, "HS256", {"kid": "one"})
    for token in (unsigned, mixed, f"{head}.{body}.", f"{head}.{body}", "x", "", "a.b.c"):
        reply = exchange(hub, token, repo)
        assert (reply.status, reply.json["error"]) == (400, "invalid_grant"), token
    for absent in (None, 1, "x" * 20_000):
        assert exchange(hub, absent, repo).json["error"] == "invalid_request"


def test_only_the_repository_that_trusts(hub: Hub, runner: Runner, repo: str) -> None:
    del repo
    id_token = runner.signed(hub.url)
    for resource in (hub.create("other"), "alice/none", "alice", "datasets/alice/model"):
        assert exchange(hub, id_token, resource).json["error"] == "invalid_grant"
    for more in ({"grant_type": "password"}, {"subject_token_type": "x"}):
        reply = exchange(hub, id_token, "alice/model", **more)
        assert (reply.status, reply.json["error"]) == (400, "invalid_request")
    assert exchange(hub, id_token, 1).json["error"] == "invalid_request"


def test_a_lent_token_runs_out(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, now = [0.0], time.time
    clock = SimpleNamespace(time=lambda: now() + ahead[0])
    monkeypatch.setattr("bot.localhub.files.accounts.time", clock)
    with running_hub(tmp_path / "short", lent_seconds=600) as hub:
        repo = hub.create("model", private=True)
        trusted_repository(hub.store, repo, ISSUER, runner.public_keys(tmp_path), WANTED)
        token = exchange(hub, runner.signed(hub.url), repo).json["access_token"]
        assert hub.ask("GET", f"/api/models/{repo}", token=token).status == 200
        ahead[0] = 601
        assert hub.ask("GET", f"/api/models/{repo}", token=token).status == 401


def test_keys_that_could_sign_are_refused(hub: Hub, runner: Runner, tmp_path: Path) -> None:
    repo, keys = hub.create("model"), tmp_path / "keys.json"
    private = jwt.algorithms.RSAAlgorithm.to_jwk(runner.key, as_dict=True)
    shared = {"kty": "oct", "k": "c2VjcmV0", "kid": "one"}
    for text in ("", "[]", "{}", '{"keys": [1]}', '{"keys": []}', "\xff"):
        keys.write_text(text, encoding="latin-1")
        with pytest.raises(SettingsError, match="JWKS"):
            trusted_repository(hub.store, repo, ISSUER, keys, WANTED)
    for key in (private, shared):
        keys.write_text(json.dumps({"keys": [key]}))
        with pytest.raises(SettingsError, match="not public"):
            trusted_repository(hub.store, repo, ISSUER, keys, WANTED)
    good = runner.public_keys(tmp_path)
    with pytest.raises(SettingsError, match="every job"):
        trusted_repository(hub.store, repo, ISSUER, good, {})
    with pytest.raises(SourceError, match="make it before"):
        trusted_repository(hub.store, "alice/none", ISSUER, good, WANTED)
