"""Contents go to a Hub without Xet, or whose storage is out of reach, with hf_xet here and on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants  # noqa: TID251 - to see that it is left as it is
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from bot.disk.hashes import sha256
from bot.errors import AccessError
from bot.publish.held import verify_held
from bot.records.built import Built
from tests.local_hub.server import Hub as LocalHub
from tests.unit.clients.hub.between import Between, Fault, between, closed_port

pytest.importorskip("hf_xet", reason="hf_xet has no wheel for this machine")
# huggingface_hub's own way to send contents
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
CONTENTS = {"A.gguf": os.urandom(3_000_000), "B.gguf": b"b" * 2_000_000, "README.md": b"# Card\n"}


@pytest.fixture
def proxy(hub: LocalHub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Built]:
    built_files = {}
    for name, content in CONTENTS.items():
        path = tmp_path / name
        path.write_bytes(content)
        built_files[name] = Built(path=str(path), bytes=len(content), sha256=sha256(path))
    return built_files


def answer(address: str | None) -> Fault:
    """What a Hub says of Xet tokens: 404, or the address of a storage."""
    if address is None:
        body = b'{"error": "Not Found"}'
        return Fault(
            method="GET", part="xet-write-token", status=404, body=body, arrives=False, times=99
        )
    named = {
        "X-Xet-Cas-Url": address,
        "X-Xet-Access-Token": "lent",
        "X-Xet-Token-Expiration": "99999999999",
    }
    body = json.dumps({"casUrl": address, "accessToken": "lent", "exp": 99_999_999_999}).encode()
    return Fault(
        method="GET",
        part="xet-write-token",
        status=200,
        headers=named,
        body=body,
        arrives=False,
        times=99,
    )


def published(proxy: Between, hub: LocalHub, files: dict[str, Built], *, ahead: bool) -> Hub:
    """The files in one commit, each checked against the Hub's own hashes, and read back."""
    client = Hub(proxy.url, SecretStr(hub.token), pause=0.001)
    repo = hub.create("Model")
    if ahead:
        client.preupload(repo, {"A.gguf": files["A.gguf"]})
        Path(files["A.gguf"].path).unlink()
    paths = {name: Path(built.path) for name, built in files.items()}
    commit = client.commit(repo, paths, "Release", client.head(repo))
    held = verify_held(client, repo, commit, files)
    hashes = {file.path: file.sha256 for file in held.files}
    for name in ("A.gguf", "B.gguf"):
        assert hashes[name] == hashlib.sha256(CONTENTS[name]).hexdigest()
        assert hub.ask("GET", f"/{repo}/resolve/main/{name}").body == CONTENTS[name]
    return client


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("how", ["no Xet", "out of reach", "no storage"])
def test_contents_go_by_lfs(
    hub: LocalHub, proxy: Between, files: dict[str, Built], how: str, ahead: bool
) -> None:
    addresses = {"no Xet": None, "out of reach": closed_port(), "no storage": proxy.url}
    proxy.faults = [answer(addresses[how])]
    published(proxy, hub, files, ahead=ahead)
    assert not constants.HF_HUB_DISABLE_XET
    assert proxy.count("POST", "/info/lfs/objects/batch") == (2 if ahead else 1)
    # a Hub is asked once; where its storage failed, hf_xet asked, too
    assert proxy.count("GET", "xet-write-token") == (2 if how == "no storage" else 1)


def test_another_hub_keeps_its_xet(hub: LocalHub, proxy: Between, files: dict[str, Built]) -> None:
    proxy.faults = [answer(None)]
    published(proxy, hub, files, ahead=False)
    proxy.faults, proxy.requests = [], []
    other = Hub(proxy.url, SecretStr(hub.token), pause=0.001)
    repo = hub.create("Other")
    paths = {"A.gguf": Path(files["A.gguf"].path)}
    other.commit(repo, paths, "Release", other.head(repo))
    assert proxy.count("POST", "/info/lfs/objects/batch") == 0


def test_who_may_not_write_is_told_so(
    hub: LocalHub, proxy: Between, files: dict[str, Built]
) -> None:
    repo = hub.create("Model")
    stranger = Hub(proxy.url, SecretStr(hub.store.add_user("bob")), pause=0.001)
    paths = {"A.gguf": Path(files["A.gguf"].path)}
    with pytest.raises(AccessError):
        stranger.commit(repo, paths, "Release", stranger.head(repo))
