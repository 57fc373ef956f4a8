"""Contents that arrive by Xet: hf_xet writes them into a folder, this module takes them out.

The Hub's client asks for a write token and gets `local:///folder` as the address of the storage;
hf_xet then keeps chunks (xorbs) and file lists (shards) there instead of sending them anywhere.
Every token opens an upload area of its own, so an area can go as soon as its files are stored.
A Hub that deduplicates, as the world's does, keeps what an area held and lays it into the next of
the same repository; without that each upload sends everything anew, and takes half the disk.
Shards follow the MDB format of huggingface/xet-core, spec/shard.md: entries of 48 bytes, little
endian; a hash is four 64-bit numbers, and its text is their hexadecimal digits.
"""

from __future__ import annotations

import shutil
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import hf_xet

from bot.localhub.files.objects import Incoming
from bot.serving.refusal import Refusal

ENTRY = 48
MAGIC = b"HFRepoMetaData\x00U" + bytes.fromhex("6967456a7b815783a5bdd95ccdd14aa9")
HEADER_VERSION = 2
BOOKEND = b"\xff" * 32
WITH_VERIFICATION = 1 << 31
WITH_METADATA = 1 << 30
SHARD_LIMIT = 256 << 20  # bytes; hf_xet starts a new shard at 64 MiB
WINDOW = 64 << 20  # bytes read ahead at most
ABANDONED = 24 * 3600  # seconds without a write
SEEDED = "seeded"  # in an area: the shards that it began with
# of an area, what the storage knows, and what hf_xet remembers of it, elsewhere in the user's cache
KEPT = ("xorbs/xorbs", "xorbs/shards", "shard-cache")


@dataclass(frozen=True, kw_only=True)
class XetFile:
    """A file that a shard lists. The sha256 is the uploader's claim until the bytes were read."""

    area: Path
    xet_hash: str
    sha256: str
    size: int


def xet_available() -> bool:
    """Whether hf_xet is installed; it comes with huggingface_hub on x86-64 and ARM64."""
    return find_spec("hf_xet") is not None


def xet_hash(content: Path) -> str | None:
    """Xet's own hash of a content, as hf_xet would upload it; None where that is not installed."""
    if not xet_available():
        return None
    (file_info,) = hf_xet.hash_files([str(content)])
    return str(file_info.hash)


def open_area(folder: Path, kept: Path | None = None) -> Path:
    """A new upload area, with what lies in `kept`; abandoned ones are removed on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    oldest = time.time() - ABANDONED
    for area in folder.iterdir():
        if _last_write(area) < oldest:
            shutil.rmtree(area, ignore_errors=True)
    area = folder / uuid.uuid4().hex
    area.mkdir()
    if kept is not None and kept.is_dir():
        _link(kept, area, KEPT)
        names = sorted(path.name for path in _shards(area))
        (area / SEEDED).write_text("\n".join(names), encoding="utf-8")
    return area


def _shards(area: Path) -> list[Path]:
    return sorted((area / "xet" / "xorbs" / "shards").glob("*.mdb"))


def _link(source: Path, target: Path, kinds: tuple[str, ...]) -> None:
    """Lay the files of one area into another: contents are linked, the small database is copied."""
    for kind in kinds:
        folder = target / "xet" / kind
        folder.mkdir(parents=True, exist_ok=True)
        found = source / "xet" / kind
        for path in found.iterdir() if found.is_dir() else ():
            if path.is_file() and not (folder / path.name).exists():
                (folder / path.name).hardlink_to(path)
    for path in (source / "xet" / "xorbs").glob("*.redb"):
        shutil.copyfile(path, target / "xet" / "xorbs" / path.name)


def _last_write(area: Path) -> float:
    return max((path.lstat().st_mtime for path in (area, *area.rglob("*"))), default=0.0)


def find_upload(folder: Path, sha256: str) -> Iterator[XetFile]:
    """The files in all upload areas of `folder` that claim to have this sha256."""
    if not folder.is_dir():
        return
    for area in folder.iterdir():
        yield from (file for file in area_files(area) if file.sha256 == sha256)


def area_files(area: Path) -> Iterator[XetFile]:
    """All files whose upload into this area was finished."""
    seeded = area / SEEDED
    known = seeded.read_text(encoding="utf-8").split() if seeded.is_file() else []
    for shard in _shards(area):
        if shard.name not in known and shard.stat().st_size <= SHARD_LIMIT:
            yield from shard_files(area, shard.read_bytes())


def shard_files(area: Path, shard: bytes) -> Iterator[XetFile]:
    """Parse a shard's file section; a shard that breaks the format lists nothing further."""
    if shard[:40] != MAGIC + struct.pack("<Q", HEADER_VERSION):
        return
    position = ENTRY
    while position + ENTRY <= len(shard) and shard[position : position + 32] != BOOKEND:
        flags, entries = struct.unpack_from("<II", shard, position + 32)
        metadata = position + ENTRY * (1 + entries * (2 if flags & WITH_VERIFICATION else 1))
        if metadata + ENTRY > len(shard):
            return
        if flags & WITH_METADATA:
            yield XetFile(
                area=area,
                xet_hash=_hash_text(shard, position),
                sha256=_hash_text(shard, metadata),
                size=sum(
                    struct.unpack_from("<I", shard, position + ENTRY * (1 + index) + 36)[0]
                    for index in range(entries)
                ),
            )
        position = metadata + (ENTRY if flags & WITH_METADATA else 0)


def _hash_text(data: bytes, position: int) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack_from("<4Q", data, position))


def extract(file: XetFile, content: Incoming) -> None:
    """Write the file's bytes to `content`, which hashes them. Raises Refusal when damaged."""
    with _view(file.area) as view:
        for chunk in _chunks(file, view):
            content.write(chunk)


def _chunks(file: XetFile, view: Path) -> Iterator[bytes]:
    try:
        group = hf_xet.XetSession().new_download_stream_group(endpoint=f"local://{view}")
        info = hf_xet.XetFileInfo(file.xet_hash, file.size)
        # a stream reads ahead by gigabytes, so each one gets a window of the file
        for start in range(0, file.size, WINDOW):
            yield from group.download_stream(info, start, min(start + WINDOW, file.size))
    except (OSError, RuntimeError, ValueError) as error:
        raise Refusal(400, f"What Xet uploaded cannot be read; send again: {error}") from error


@contextmanager
def _view(area: Path) -> Iterator[Path]:
    """The area under a second name, because the uploader may still hold its database locked.

    The small database, which finds a file's shard, is copied; xorbs and shards are linked.
    """
    view = area / f"view-{uuid.uuid4().hex}"
    try:
        _link(area, view, KEPT[:2])
        yield view
    finally:
        shutil.rmtree(view, ignore_errors=True)


def close_area(area: Path, stored: set[str], kept: Path | None = None) -> None:
    """Remove an area when all files that it lists are stored; what it holds goes to `kept`."""
    if not all(file.sha256 in stored for file in area_files(area)):
        return
    if kept is not None:
        _link(area, kept, KEPT)
    shutil.rmtree(area, ignore_errors=True)
