"""The LFS protocol: signed addresses, whole contents, parts; nothing unproven is stored."""

from __future__ import annotations

import hashlib
import os

from tests.local_hub.server import Hub


def test_contents_that_are_not_what_was_announced_are_refused(hub: Hub) -> None:
    repo = hub.create("tiny")
    oid = hashlib.sha256(b"announced").hexdigest()
    batch = {"operation": "upload", "objects": [{"oid": oid, "size": 9}]}
    target = f"/{repo}.git/info/lfs/objects/batch"
    href = hub.ask("POST", target, batch, token=hub.token).json["objects"][0]["actions"]
    address = href["upload"]["href"]
    assert hub.ask("PUT", address, b"different").status == 400
    assert hub.ask("PUT", address, b"announced and more").status == 413
    assert hub.ask("PUT", address.replace("size=9", "size=99"), b"x").status == 403
    assert hub.ask("PUT", address, b"announced").status == 200
    assert hub.ask("PUT", address, b"announced").status == 200
    again = hub.ask("POST", target, batch, token=hub.token).json["objects"][0]
    assert "actions" not in again
    verify = href["verify"]["href"]
    assert hub.ask("POST", verify, {"oid": oid, "size": 9}, token=hub.token).status == 200
    assert hub.ask("POST", verify, {"oid": oid, "size": 8}, token=hub.token).status == 404


def test_parts_are_joined_and_checked(hub: Hub) -> None:
    repo = hub.create("tiny")
    data = os.urandom(2000)
    oid = hashlib.sha256(data).hexdigest()
    object_ = {"oid": oid, "size": (256 << 20) + 1}
    batch = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": [object_]}
    target = f"/{repo}.git/info/lfs/objects/batch"
    reply = hub.ask("POST", target, batch, token=hub.token).json
    assert reply["transfer"] == "multipart"
    upload = reply["objects"][0]["actions"]["upload"]
    assert [key for key in upload["header"] if key.isdigit()] == ["1", "2"]
    part = hub.ask("PUT", upload["header"]["1"], data)
    assert part.headers["ETag"]
    done = {"oid": oid, "parts": [{"partNumber": 1, "etag": part.headers["ETag"]}]}
    assert hub.ask("POST", upload["href"], done).status == 400  # the size is not the announced one
    missing = {"oid": oid, "parts": [{"partNumber": 1}, {"partNumber": 2}]}
    assert hub.ask("POST", upload["href"], missing).status == 400


def test_a_large_file_is_announced_as_javascript_does(hub: Hub) -> None:
    repo_id = hub.create("model")
    batch = {
        "operation": "upload",
        "transfers": ["basic", "multipart", "xet"],
        "hash_algo": "sha_256",
        "objects": [{"oid": "0" * 64, "size": 3}],
    }
    reply = hub.ask("POST", f"/{repo_id}.git/info/lfs/objects/batch", batch, token=hub.token)
    assert reply.status == 200
    assert "upload" in reply.json["objects"][0]["actions"]
