"""Files that were made, whole or in shards, known by their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from bot.records.coding import digest


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of the files of a model in several."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """One file that exists on disk, hashed, or a model in shards.

    Of shards `path` is the first, which llama.cpp loads them by, `bytes` is the sum and `sha256`
    the digest of theirs.
    """

    path: str
    bytes: int
    sha256: str
    shards: tuple[Shard, ...] = ()

    @property
    def files(self) -> tuple[Built, ...]:
        """Each file on its own."""
        if not self.shards:
            return (self,)
        folder = PurePath(self.path)
        return tuple(
            Built(path=str(folder.with_name(s.file)), bytes=s.bytes, sha256=s.sha256)
            for s in self.shards
        )


def together(files: Sequence[Built]) -> Built:
    """The files of one model as one: a single file as it is, shards in their order."""
    if len(files) == 1:
        return files[0]
    return Built(
        path=files[0].path,
        bytes=sum(file.bytes for file in files),
        sha256=digest([file.sha256 for file in files]),
        shards=tuple(
            Shard(file=PurePath(f.path).name, bytes=f.bytes, sha256=f.sha256) for f in files
        ),
    )
