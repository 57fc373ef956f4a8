"""Tokens and contents go to the Hub's own storage and to Xet's, whatever its replies name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from bot.clients.hub.xet_storage import is_known
from bot.errors import AccessError
from tests.local_hub.server import Hub as LocalHub
from tests.local_hub.server import large
from tests.unit.clients.hub.between import Between, Fault, between
from tests.unit.clients.hub.test_without_xet import answer

pytest.importorskip("hf_xet", reason="hf_xet has no wheel for this machine")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
CONTENT = os.urandom(3_000_000)
STRANGE = "https://192.0.2.1/cas"  # RFC 5737: nobody is there


@pytest.mark.parametrize(
    ("address", "hub", "known"),
    [
        ("https://cas-server.xethub.hf.co", "https://huggingface.co", True),
        ("https://cas-server.xethub.hf.co", "https://hub.example", True),
        ("https://hub.example/cas", "https://hub.example", True),
        ("https://hub.example:8443/cas", "https://hub.example", True),
        ("https://cas.hub.example", "https://hub.example", True),
        ("http://hub.example/cas", "https://hub.example", False),
        ("http://cas-server.xethub.hf.co", "https://huggingface.co", False),
        ("https://evil.example", "https://huggingface.co", False),
        ("https://evil-xethub.hf.co", "https://huggingface.co", False),
        ("https://xethub.hf.co.evil.example", "https://huggingface.co", False),
        ("https://cas-server.xethub.hf.co@evil.example", "https://huggingface.co", False),
        ("https://x@cas-server.xethub.hf.co", "https://huggingface.co", False),
        ("https://evilhub.example", "https://hub.example", False),
        ("https://127.0.0.1:8000", "https://hub.example", False),
        ("local:///home/me/.ssh", "https://huggingface.co", False),
        ("file:///home/me", "https://huggingface.co", False),
        ("https://[::1", "https://huggingface.co", False),
        ("", "https://huggingface.co", False),
        ("https://x", "", False),
        ("local:///work/area", "http://127.0.0.1:8910", True),
        ("http://127.0.0.1:1", "http://localhost:8910", True),
        (STRANGE, "http://127.0.0.1:8910", False),
    ],
)
def test_whose_a_storage_is(address: str, hub: str, known: bool) -> None:
    assert is_known(address, hub) == known


@pytest.fixture
def proxy(hub: LocalHub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "A.gguf"
    path.write_bytes(CONTENT)
    return path


def test_contents_go_by_lfs_where_the_storage_is_strange(
    hub: LocalHub, proxy: Between, file: Path
) -> None:
    proxy.faults = [answer(STRANGE)]
    client, repo = Hub(proxy.url, SecretStr(hub.token), pause=0.001), hub.create("Model")
    client.commit(repo, {"A.gguf": file}, "Release", client.head(repo))
    assert hub.ask("GET", f"/{repo}/resolve/main/A.gguf").body == CONTENT
    assert proxy.count("POST", "/info/lfs/objects/batch") == 1


def test_a_hub_that_names_another_storage_afterwards_gets_nothing_sent(
    hub: LocalHub, proxy: Between, file: Path
) -> None:
    paths: list[str] = []

    def choose(_number: int, _method: str, path: str) -> Fault | None:
        paths.extend([path] if "xet-write-token" in path else [])
        return answer(STRANGE) if "xet-write-token" in path and len(paths) > 1 else None

    proxy.choose = choose
    client, repo = Hub(proxy.url, SecretStr(hub.token), pause=0.001), hub.create("Model")
    with pytest.raises(AccessError, match="nothing is sent there"):
        client.commit(repo, {"A.gguf": file}, "Release", client.head(repo))
    assert len(paths) == 2


def test_who_asks_twice_is_followed_no_further(hub: LocalHub, proxy: Between, file: Path) -> None:
    """The storage that was looked at is the one that is used: hf_xet asks for no other."""
    client, repo = Hub(proxy.url, SecretStr(hub.token), pause=0.001), hub.create("Model")
    client.commit(repo, {"A.gguf": file}, "Release", client.head(repo))
    assert proxy.count("GET", "xet-write-token") == 2  # once to know, once to send
    assert hub.ask("GET", f"/{repo}/resolve/main/A.gguf").body == CONTENT


@pytest.mark.parametrize("where", ["token", "storage"])
def test_a_token_to_read_is_neither_asked_of_strangers_nor_brought_to_them(
    hub: LocalHub, proxy: Between, tmp_path: Path, where: str
) -> None:
    repo = hub.create("Model")
    assert hub.commit(repo, large("A.gguf", hub.send(repo, CONTENT), len(CONTENT))).status == 200
    client = Hub(proxy.url, SecretStr(hub.token), pause=0.001)
    commit = client.head(repo)
    with between(hub.url) as stranger:
        refresh_url = stranger.url if where == "token" else proxy.url
        head = {
            "ETag": '"x"',
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(CONTENT)),
            "Content-Length": "0",
            "X-Xet-Hash": "ab" * 32,
            "X-Xet-Refresh-Route": f"{refresh_url}/api/models/{repo}/xet-read-token/{commit}",
        }
        fault = answer(STRANGE)
        fault.part = "xet-read-token"
        proxy.faults = [
            Fault(method="HEAD", part="A.gguf", status=200, headers=head, body=b"", arrives=False),
            fault,
        ]
        path = client.download(repo, commit, "A.gguf", tmp_path / "got")
        assert path.read_bytes() == CONTENT
        assert stranger.requests == []
        assert proxy.count("GET", "xet-read-token") == (where == "storage")
