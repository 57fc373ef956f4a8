"""Xet upload areas: the real hf_xet writes them, and claims are not believed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bot.localhub.files import xet_contents
from tests.local_hub.server import Hub, large

hf_xet = pytest.importorskip("hf_xet", reason="hf_xet has no wheel for this machine")


def upload(address: str, data: bytes, claim: str) -> None:
    with hf_xet.XetSession().new_upload_commit(endpoint=address) as commit:
        commit.start_upload_bytes(data, sha256=claim)


def area_of(hub: Hub, repo: str) -> str:
    reply = hub.ask("GET", f"/api/models/{repo}/xet-write-token/main", token=hub.token)
    assert reply.headers["X-Xet-Cas-Url"] == reply.json["casUrl"]
    return str(reply.json["casUrl"])


def test_a_false_claim_is_not_listed(hub: Hub) -> None:
    repo = hub.create("tiny")
    data, claim = os.urandom(300_000), "ab" * 32
    upload(area_of(hub, repo), data, claim)
    assert hub.commit(repo, large("a.gguf", claim, len(data))).status == 400
    assert not hub.store.objects.path(claim).exists()
    upload(area_of(hub, repo), data, hashlib.sha256(data).hexdigest())
    assert hub.commit(repo, large("a.gguf", claim, len(data))).status == 400
    right = hashlib.sha256(data).hexdigest()
    assert hub.commit(repo, large("a.gguf", right, len(data) - 1)).status == 400
    assert hub.commit(repo, large("a.gguf", right, len(data))).status == 200
    assert hub.ask("GET", f"/{repo}/resolve/main/a.gguf").body == data


def test_large_files_are_read_in_windows(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xet_contents, "WINDOW", 700_001)
    repo = hub.create("tiny")
    data = os.urandom(3_000_000)
    oid = hashlib.sha256(data).hexdigest()
    upload(area_of(hub, repo), data, oid)
    assert hub.commit(repo, large("a.gguf", oid, len(data))).status == 200
    assert hub.ask("GET", f"/{repo}/resolve/main/a.gguf").body == data


def test_a_damaged_area_is_refused(hub: Hub) -> None:
    repo = hub.create("tiny")
    data = os.urandom(300_000)
    oid = hashlib.sha256(data).hexdigest()
    address = area_of(hub, repo)
    upload(address, data, oid)
    folder = Path(address.removeprefix("local://")) / "xet" / "xorbs" / "xorbs"
    (xorb,) = (path for path in folder.iterdir() if path.suffix != ".tagset")
    xorb.chmod(0o644)
    xorb.write_bytes(os.urandom(1000))
    assert hub.commit(repo, large("a.gguf", oid, len(data))).status == 400
    assert not hub.store.objects.path(oid).exists()


def test_areas_belong_to_one_repository(hub: Hub) -> None:
    one, two = hub.create("one"), hub.create("two")
    data = os.urandom(100_000)
    oid = hashlib.sha256(data).hexdigest()
    upload(area_of(hub, one), data, oid)
    assert hub.commit(two, large("a.gguf", oid, len(data))).status == 400
    assert hub.commit(one, large("a.gguf", oid, len(data))).status == 200


def test_damaged_shards_list_nothing_wrong(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    oid = hashlib.sha256(data).hexdigest()
    upload(f"local://{tmp_path}", data, oid)
    (path,) = (tmp_path / "xet" / "xorbs" / "shards").glob("*.mdb")
    shard = path.read_bytes()
    (file,) = xet_contents.shard_files(tmp_path, shard)
    assert (file.sha256, file.size) == (oid, len(data))
    for length in range(0, len(shard), 16):
        assert len([*xet_contents.shard_files(tmp_path, shard[:length])]) <= 1
    assert [*xet_contents.shard_files(tmp_path, b"x" + shard[1:])] == []
    huge = shard[: 48 + 36] + b"\xff" * 4 + shard[48 + 40 :]
    assert [*xet_contents.shard_files(tmp_path, huge)] == []


def test_abandoned_areas_are_removed(tmp_path: Path) -> None:
    old = xet_contents.open_area(tmp_path)
    os.utime(old, (0, 0))
    new = xet_contents.open_area(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)
