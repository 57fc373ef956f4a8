"""Xet upload areas: the real hf_xet writes them, and claims are not believed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bot.localhub.files import xet_contents
from tests.local_hub.server import Hub, large, running_hub

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


def xorbs(area: Path) -> int:
    """Bytes that the storage holds in an area."""
    folder = area / "xet" / "xorbs" / "xorbs"
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_hub_that_deduplicates_is_sent_the_change_alone(tmp_path: Path) -> None:
    data = os.urandom(4_000_000)
    changed = data[:100_000] + b"new" + data[100_000:]
    sent = []
    with running_hub(tmp_path / "one", deduplicates=True) as hub:
        repo = hub.create("tiny")
        for content in (data, changed):
            oid, area = hashlib.sha256(content).hexdigest(), area_of(hub, repo)
            folder = Path(area.removeprefix("local://"))
            before = xorbs(folder) if (folder / "xet").exists() else 0
            upload(area, content, oid)
            sent.append(xorbs(folder) - before)
            idle = Path(area_of(hub, repo).removeprefix("local://"))
            assert hub.commit(repo, large("a.gguf", oid, len(content))).status == 200
            assert not folder.exists()
            assert idle.exists()  # somebody else may be about to upload into it
            assert hub.ask("GET", f"/{repo}/resolve/main/a.gguf").body == content
    assert sent[0] > len(data)
    assert sent[1] < 500_000


def test_what_several_uploads_sent_side_by_side_is_known_to_the_next(tmp_path: Path) -> None:
    contents = [os.urandom(2_000_000) for _ in range(3)]
    with running_hub(tmp_path / "one", deduplicates=True) as hub:
        repo = hub.create("tiny")
        areas = [area_of(hub, repo) for _ in contents]
        oids = [hashlib.sha256(content).hexdigest() for content in contents]
        for area, content, oid in zip(areas, contents, oids, strict=True):
            upload(area, content, oid)
        rows = [large(f"{oid}.gguf", oid, 2_000_000) for oid in oids]
        assert hub.commit(repo, *rows).status == 200
        area = area_of(hub, repo)
        folder = Path(area.removeprefix("local://"))
        before = xorbs(folder)
        for content in contents:
            changed = b"new" + content[:-1] + b"!"
            upload(area, changed, hashlib.sha256(changed).hexdigest())
        assert xorbs(folder) - before < 1_500_000
