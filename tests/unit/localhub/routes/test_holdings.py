"""What somebody owns at the local Hub is listed and moves, by the `hf` command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.local_hub.server import Hub, regular


def hf(hub: Hub, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command of huggingface_hub."""
    names = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(home)}
    switched_off = {"HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [str(Path(sys.executable).parent / "hf"), *arguments],
        env={**names, **switched_off, "PATH": "/usr/bin:/bin", "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.long
def test_hf_lists_and_moves_repositories(hub: Hub, tmp_path: Path) -> None:
    hub.commit(hub.create("model", private=True), regular("a.txt", b"x"))
    moved = hf(hub, tmp_path, "repos", "move", "alice/model", "lab/other")
    assert moved.returncode == 0, moved.stderr
    assert hub.store.find("alice/model") is None
    listed = hf(hub, tmp_path, "repos", "ls", "--namespace", "lab", "--format", "json")
    assert listed.returncode == 0, listed.stderr
    (row,) = json.loads(listed.stdout)
    assert (row["id"], row["type"], row["visibility"]) == ("lab/other", "model", "private")
    own = hf(hub, tmp_path, "repos", "ls", "--format", "json")
    assert (own.returncode, json.loads(own.stdout)) == (0, [])
    reply = hub.ask("GET", "/lab/other/resolve/main/a.txt", token=hub.token)
    assert reply.body == b"x"


def test_a_repository_goes_only_where_its_mover_may_write(hub: Hub) -> None:
    one, two = hub.create("one"), hub.create("two")

    def moved(source: str, target: str, token: str | None = hub.token) -> Any:
        body = {"fromRepo": source, "toRepo": target, "type": "model"}
        return hub.ask("POST", "/api/repos/move", body, token=token).status

    bob = hub.store.add_user("bob")
    assert moved(one, two) == 409
    assert moved(one, "alice/a..b") == moved(one, "alice/") == 400
    assert moved(one, "bob/one") == 403
    assert moved(one, "bob/one", bob) == 403
    assert moved(one, "bob/one", None) == 401
    assert hub.ask("GET", "/api/organizations/lab/settings/repositories", token=bob).status == 403
    assert hub.store.find(one) is not None
    assert moved(one, "lab/three") == 200
    listed = "/api/organizations/lab/settings/repositories"
    (row,) = hub.ask("GET", listed, token=hub.token).json
    assert (row["id"], row["storagePercent"]) == ("lab/three", 100)
    (row,) = hub.ask("GET", "/api/settings/repositories", token=hub.token).json
    assert (row["id"], row["visibility"]) == (two, "public")
