"""Files that were made: alone, or as shards of one model."""

from __future__ import annotations

from bot.records.built import Built, Shard, together
from bot.records.coding import digest

FIRST = Built(path="/jobs/m-00001-of-00002.gguf", bytes=5, sha256="a")
SECOND = Built(path="/jobs/m-00002-of-00002.gguf", bytes=3, sha256="b")


def test_a_single_file_is_itself() -> None:
    assert together([FIRST]) is FIRST
    assert FIRST.files == (FIRST,)


def test_shards_are_one_and_each_its_own() -> None:
    model = together([FIRST, SECOND])
    assert (model.path, model.bytes, model.sha256) == (FIRST.path, 8, digest(["a", "b"]))
    assert model.shards[1] == Shard(file="m-00002-of-00002.gguf", bytes=3, sha256="b")
    assert model.files == (FIRST, SECOND)
