from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.publish.held import verify_held
from bot.publish.upload import open_private, upload
from bot.records.built import Built
from tests.local_hub.server import Hub

REPO = "alice/model-APEX-GGUF"


@pytest.fixture
def client(hub: Hub) -> Client:
    return Client(hub.url, SecretStr(hub.token))


def built(path: Path, content: bytes) -> Built:
    path.write_bytes(content)
    return Built(path=str(path), bytes=len(content), sha256=sha256(path))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Built]:
    return {
        "README.md": built(tmp_path / "README.md", b"---\nlicense: mit\n---\n# Model\n"),
        "model.gguf": built(tmp_path / "model.gguf", bytes(range(256)) * 50_000),
        "results.json": built(tmp_path / "results.json", b"{}\n"),
    }


def test_one_commit_then_none(hub: Hub, client: Client, files: dict[str, Built]) -> None:
    first = upload(client, open_private(client, REPO), files, "Release")
    assert first.changed == ("model.gguf", "results.json", "README.md")
    held = verify_held(client, REPO, first.commit, files)
    assert held.private
    assert hub.commits(REPO) == 1
    second = upload(client, open_private(client, REPO), files, "Release")
    assert second.changed == ()
    assert second.commit == first.commit
    assert hub.commits(REPO) == 1


def test_only_what_differs_is_sent(
    hub: Hub, client: Client, files: dict[str, Built], tmp_path: Path
) -> None:
    upload(client, open_private(client, REPO), files, "Release")
    files["results.json"] = built(tmp_path / "results.json", b"[]\n")  # of the same size
    pushed = upload(client, open_private(client, REPO), files, "New numbers")
    assert pushed.changed == ("results.json",)
    verify_held(client, REPO, pushed.commit, files)
    assert hub.commits(REPO) == 2
