"""Downloads that stop and go on, over HTTP and over Xet, and the gate of a gated repository."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub import xet_storage
from bot.clients.hub.hub import Hub
from bot.errors import SourceError, UnreachableError
from bot.localhub.files import xet_contents
from tests.local_hub.server import Hub as LocalHub
from tests.local_hub.server import large, regular
from tests.unit.clients.hub.between import Between, Fault, between, closed_port

DATA = os.urandom(1_000_000)
NAME = "model.safetensors"


@pytest.fixture
def proxy(hub: LocalHub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.fixture
def repo(hub: LocalHub) -> str:
    """A public repository with one large file and one small."""
    name = hub.create("Model")
    sha256 = hub.send(name, DATA)
    reply = hub.commit(name, large(NAME, sha256, len(DATA)), regular("config.json", b"{}"))
    assert reply.status == 200, reply.body
    return name


def download(proxy: Between, repo: str, folder: Path, name: str = NAME) -> tuple[bytes, list[int]]:
    """The file's content, and the bytes that came."""
    hub = Hub(proxy.url, None, pause=0.001)
    came: list[int] = []
    path = hub.download(repo, hub.head(repo), name, folder, came.append)
    assert path == folder / name
    assert not path.with_name(f"{name}.partial").exists()
    return path.read_bytes(), came


def test_all_bytes_are_told(repo: str, proxy: Between, tmp_path: Path) -> None:
    content, came = download(proxy, repo, tmp_path)
    assert content == DATA
    assert sum(came) == len(DATA)
    assert proxy.count("HEAD", NAME) == proxy.count("GET", NAME) == 1


@pytest.mark.parametrize("there", [1, 400_000, len(DATA) - 1])
def test_a_partial_file_is_gone_on_from(
    repo: str, proxy: Between, tmp_path: Path, there: int
) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(DATA[:there])
    content, came = download(proxy, repo, tmp_path)
    assert content == DATA
    assert sum(came) == len(DATA) - there


def test_a_whole_partial_file_needs_no_download(repo: str, proxy: Between, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(DATA)
    assert download(proxy, repo, tmp_path) == (DATA, [])
    assert proxy.count("GET", NAME) == 0


def test_a_partial_file_of_something_larger_is_begun_anew(
    repo: str, proxy: Between, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(bytes(len(DATA) + 1))
    content, came = download(proxy, repo, tmp_path)
    assert content == DATA
    assert sum(came) == len(DATA)


def test_short_replies_are_gone_on_from(repo: str, proxy: Between, tmp_path: Path) -> None:
    short = Fault(method="GET", part=NAME, status=200, body=DATA[:300_000], arrives=False)
    proxy.faults = [short]
    content, came = download(proxy, repo, tmp_path)
    assert content == DATA
    assert sum(came) == len(DATA)
    assert proxy.count("GET", NAME) == 2


def test_what_came_stays_when_the_hub_is_gone(repo: str, proxy: Between, tmp_path: Path) -> None:
    proxy.faults = [
        Fault(method="GET", part=NAME, status=200, body=DATA[:300_000], arrives=False),
        Fault(method="GET", part=NAME, status=503, arrives=False, times=99),
    ]
    with pytest.raises(UnreachableError):
        download(proxy, repo, tmp_path)
    assert (tmp_path / f"{NAME}.partial").read_bytes() == DATA[:300_000]
    assert not (tmp_path / NAME).exists()


def test_the_teller_can_end_a_download(repo: str, proxy: Between, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(_bytes: int) -> None:
        raise Enough

    hub = Hub(proxy.url, None)
    with pytest.raises(Enough):
        hub.download(repo, hub.head(repo), NAME, tmp_path, stop)
    assert not (tmp_path / NAME).exists()


# ── Xet ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stored_by_xet(hub: LocalHub, repo: str, proxy: Between) -> Path:
    """The large file in real Xet storage, and replies that send a client there."""
    hf_xet = pytest.importorskip("hf_xet", reason="hf_xet has no wheel for this machine")
    token = hub.ask("GET", f"/api/models/{repo}/xet-write-token/main", token=hub.token)
    address = str(token.json["casUrl"])
    with hf_xet.XetSession().new_upload_commit(endpoint=address) as commit:
        commit.start_upload_bytes(DATA, sha256=hashlib.sha256(DATA).hexdigest())
    area = Path(address.removeprefix("local://"))
    (file,) = xet_contents.area_files(area)
    route = f"{proxy.url}/api/models/{repo}/xet-read-token/main"
    proxy.faults = [
        Fault(
            method="HEAD",
            part=NAME,
            status=200,
            headers={
                "X-Repo-Commit": "c" * 40,
                "X-Linked-Etag": file.sha256,
                "X-Linked-Size": str(len(DATA)),
                "X-Xet-Hash": file.xet_hash,
                "X-Xet-Refresh-Route": route,
            },
            arrives=False,
            times=9,
        ),
        Fault(
            method="GET",
            part="xet-read-token",
            status=200,
            headers={
                "X-Xet-Cas-Url": address,
                "X-Xet-Access-Token": "local",
                "X-Xet-Token-Expiration": "99999999999",
            },
            arrives=False,
        ),
    ]
    return area


@pytest.mark.parametrize("there", [0, 1, 654_321])
def test_xet_goes_on_from_a_partial_file(
    stored_by_xet: Path,
    repo: str,
    proxy: Between,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: int,
) -> None:
    assert stored_by_xet.is_dir()
    monkeypatch.setattr(xet_storage, "WINDOW", 300_000)
    (tmp_path / f"{NAME}.partial").write_bytes(DATA[:there])
    content, came = download(proxy, repo, tmp_path)
    assert content == DATA
    assert sum(came) == len(DATA) - there
    assert proxy.count("GET", NAME) == 0  # nothing over plain HTTP
    assert proxy.count("GET", "xet-read-token") == 1


def test_a_file_of_damaged_xet_storage_comes_over_http(
    stored_by_xet: Path, repo: str, proxy: Between, tmp_path: Path
) -> None:
    folder = stored_by_xet / "xet" / "xorbs" / "xorbs"
    for xorb in folder.iterdir():
        xorb.chmod(0o644)
        xorb.write_bytes(os.urandom(1000))
    content, came = download(proxy, repo, tmp_path)
    assert content == DATA
    assert sum(came) == len(DATA)


@pytest.mark.parametrize("how", ["no token", "out of reach", "no storage"])
def test_a_file_whose_xet_storage_is_not_to_be_had_comes_over_http(
    stored_by_xet: Path, repo: str, proxy: Between, tmp_path: Path, how: str
) -> None:
    assert stored_by_xet.is_dir()
    token = proxy.faults[1]
    token.times = 9
    if how == "no token":
        token.status, token.headers = 404, {}
    else:  # a port that nobody listens at; somebody there who is no storage
        elsewhere = closed_port() if how == "out of reach" else proxy.url
        token.headers = {**token.headers, "X-Xet-Cas-Url": elsewhere}
    content, came = download(proxy, repo, tmp_path)
    assert content == DATA
    assert sum(came) == len(DATA)
    assert proxy.count("GET", "/resolve/") == 1


# ── gates ───────────────────────────────────────────────────────────────────────────────────


def test_a_gate_is_passed_by_those_let_in(hub: LocalHub, repo: str, proxy: Between) -> None:
    owner, other = SecretStr(hub.token), SecretStr(hub.store.add_user("bob"))
    commit = Hub(proxy.url, None).head(repo)
    assert Hub(proxy.url, None).may_read(repo, commit)
    reply = hub.ask("PUT", f"/api/models/{repo}/settings", {"gated": "auto"}, token=hub.token)
    assert reply.status == 200, reply.body
    proxy.requests.clear()
    assert Hub(proxy.url, owner).may_read(repo, commit)
    assert not Hub(proxy.url, other).may_read(repo, commit)
    assert not Hub(proxy.url, None).may_read(repo, commit)
    assert proxy.requests == [f"HEAD /{repo}/resolve/{commit}/config.json"] * 3


def test_a_repository_without_config_lets_it_be_seen(hub: LocalHub, proxy: Between) -> None:
    repo = hub.create("Empty")
    client = Hub(proxy.url, SecretStr(hub.token))
    assert client.may_read(repo, client.head(repo))
    with pytest.raises(SourceError):
        client.may_read("alice/nothing", "c" * 40)
