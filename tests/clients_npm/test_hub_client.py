"""The Hub's JavaScript client at the local Hub: everything that it does with a repository."""

from __future__ import annotations

import hashlib

from tests.clients_npm.node import clients, run
from tests.local_hub.server import Hub

pytestmark = clients

LARGE = (bytes(place * 7 % 251 for place in range(251)) * 12_000)[:3_000_000]


def test_a_repository_from_its_making_to_its_end(hub: Hub) -> None:
    seen = run("hub.mjs", given={"url": hub.url, "token": hub.token})
    oid = hashlib.sha256(LARGE).hexdigest()
    assert (seen["who"], seen["before"], seen["exists"], seen["after"]) == (
        "alice",
        False,
        True,
        False,
    )
    assert seen["made"] == {"repoUrl": f"{hub.url}/alice/model", "id": "alice/model"}
    files = ["README.md", "deep/er/a b.txt", "empty.txt", "first.txt", "model.gguf"]
    assert set(files) < set(seen["files"])
    assert seen["paths"] == [
        ["model.gguf", "file", len(LARGE), oid, "files"],
        ["deep", "directory", 0, None, "files"],
    ]
    assert (seen["text"], seen["empty"], seen["absent"]) == ("0123456789", "", None)
    assert (seen["size"], seen["same"]) == (len(LARGE), True)
    assert bytes(seen["range"]) == LARGE[1_000_000:1_000_004]
    assert f"oid sha256:{oid}" in seen["pointer"]
    assert seen["there"] is True
    assert seen["taken"] == 409
    assert "first.txt" not in seen["onBranch"]
    assert "license: mit" in seen["ofBranch"]
    assert seen["counts"] == [2, 3]
    assert seen["titles"] == ["files", "initial commit"]
    assert seen["pull"].endswith("/alice/model/discussions/1")
    assert seen["model"]["sha"] == seen["commit"]["oid"]
    assert {"license:mit", "gguf"} <= set(seen["model"]["tags"])
    assert seen["listed"] == ["alice/model"]
