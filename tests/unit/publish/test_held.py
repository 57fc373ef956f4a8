"""What the Hub holds against what was measured, and how it reads a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.errors import PublishError
from bot.publish.held import Differs, Unfit, differing, read_as_written, verify_held
from bot.publish.upload import open_private, upload
from bot.records.built import Built
from tests.local_hub.server import Hub
from tests.unit.publish.test_upload import REPO, built, files

__all__ = ["files"]


@pytest.fixture
def client(hub: Hub) -> Client:
    return Client(hub.url, SecretStr(hub.token))


def test_what_differs_is_named(client: Client, files: dict[str, Built], tmp_path: Path) -> None:
    pushed = upload(client, open_private(client, REPO), files, "Release")
    for name in files:
        changed = Built(path=str(tmp_path / "other"), bytes=files[name].bytes, sha256="0" * 64)
        Path(changed.path).write_bytes(b"?" * changed.bytes)
        with pytest.raises(PublishError, match=name):
            verify_held(client, REPO, pushed.commit, {**files, name: changed})
    missing = {**files, "more.gguf": files["model.gguf"]}
    assert differing(client.release(REPO), missing) == ("more.gguf",)


def test_the_error_names_the_first_file_in_the_order_given(
    client: Client, files: dict[str, Built], tmp_path: Path
) -> None:
    pushed = upload(client, open_private(client, REPO), files, "Release")
    other = built(tmp_path / "other", b"other")
    with pytest.raises(Differs) as raised:
        verify_held(client, REPO, pushed.commit, {"z.gguf": other, "a.gguf": other, **files})
    assert raised.value.path == "z.gguf"
    assert "stays private" in str(raised.value)


def test_a_large_file_need_not_lie_here(client: Client, files: dict[str, Built]) -> None:
    pushed = upload(client, open_private(client, REPO), files, "Release")
    Path(files["model.gguf"].path).unlink()
    Path(files["results.json"].path).unlink()
    release = client.release(REPO, pushed.commit)
    assert differing(release, files) == ("results.json",)  # known by git's hash alone


@pytest.mark.parametrize(
    "read",
    [
        {"license": "mit", "tags": ["gguf", "moe", "more"]},
        {"license": ["mit"], "tags": ["moe", "gguf"]},
    ],
)
def test_the_hub_may_add_to_a_card(read: dict[str, Any]) -> None:
    read_as_written(REPO, {"license": "mit", "tags": ["gguf", "moe"], "own": 1}, read)


@pytest.mark.parametrize("read", [{}, {"license": "other"}, {"license": None}])
def test_a_card_that_is_read_otherwise_is_unfit(read: dict[str, Any]) -> None:
    with pytest.raises(Unfit, match="does not read its license as it was written") as raised:
        read_as_written(REPO, {"license": "mit"}, read)
    assert isinstance(raised.value, PublishError)
    assert raised.value.path == "README.md"
