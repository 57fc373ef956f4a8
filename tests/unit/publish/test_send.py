from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.publish.held import verify_held
from bot.publish.send import send_files
from bot.publish.upload import open_private, upload
from bot.records.built import Built
from tests.local_hub.server import Hub
from tests.unit.clients.hub.between import Between, between

# the library's own way to send LFS contents, which its HTTP library discourages
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

REPO = "alice/model-APEX-GGUF"
LARGE = bytes(range(256)) * 50_000
SENDING = {True: "/xet-write-token/", False: "/lfs/"}  # how contents travel


@pytest.fixture(params=[True, False], ids=["xet", "lfs"])
def xet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", not request.param)
    return bool(request.param)


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


def client(hub: Hub, proxy: Between) -> Client:
    return Client(proxy.url, SecretStr(hub.token))


def built(path: Path, content: bytes) -> Built:
    path.write_bytes(content)
    return Built(path=str(path), bytes=len(content), sha256=sha256(path))


def sent(proxy: Between, xet: bool) -> int:
    """Requests that carried contents, or began to over Xet."""
    return sum(SENDING[xet] in line and "batch" not in line for line in proxy.requests)


def test_the_commit_sends_nothing_again(
    hub: Hub, proxy: Between, tmp_path: Path, xet: bool
) -> None:
    ours = client(hub, proxy)
    one, two = built(tmp_path / "a.gguf", LARGE), built(tmp_path / "b.gguf", LARGE[1:])
    card = built(tmp_path / "README.md", b"---\nlicense: mit\n---\n# Model\n")
    assert send_files(ours, REPO, {"a.gguf": one}) == ("a.gguf",)
    assert send_files(ours, REPO, {"b.gguf": two}) == ("b.gguf",)
    before = sent(proxy, xet)
    assert before >= 2
    # nobody sees anything of it, the owner no file either
    assert hub.ask("GET", f"/api/models/{REPO}").status in (401, 404)
    assert not {file.path for file in ours.release(REPO).files} & {"a.gguf", "b.gguf"}
    assert hub.commits(REPO) == 0

    files = {"README.md": card, "a.gguf": one, "b.gguf": two}
    pushed = upload(ours, open_private(ours, REPO), files, "Release")
    verify_held(ours, REPO, pushed.commit, files)
    assert hub.commits(REPO) == 1
    assert sent(proxy, xet) == before


def test_a_file_that_changed_is_sent_again(
    hub: Hub, proxy: Between, tmp_path: Path, xet: bool
) -> None:
    ours = client(hub, proxy)
    send_files(ours, REPO, {"a.gguf": built(tmp_path / "a.gguf", LARGE)})
    before = sent(proxy, xet)
    files = {"a.gguf": built(tmp_path / "a.gguf", LARGE[::-1])}  # of the same size
    pushed = upload(ours, open_private(ours, REPO), files, "Release")
    verify_held(ours, REPO, pushed.commit, files)
    assert sent(proxy, xet) > before


def test_another_process_sends_nothing_that_is_there(
    hub: Hub, proxy: Between, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    files = {"a.gguf": built(tmp_path / "a.gguf", LARGE)}
    send_files(client(hub, proxy), REPO, files)
    assert proxy.count("PUT", "/lfs/") == 1
    send_files(client(hub, proxy), REPO, files)
    upload(client(hub, proxy), open_private(client(hub, proxy), REPO), files, "Release")
    assert proxy.count("PUT", "/lfs/") == 1
    assert send_files(client(hub, proxy), REPO, files) == ()
    assert hub.commits(REPO) == 1
