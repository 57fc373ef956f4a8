"""A GGUF file → the same tensors behind another header: streamed, compared, whole or not at all.

The new file grows as `TARGET.partial`, which begins with a mark of its own until all of it is
there; stopped at any instant, the same call goes on. Then it is read once more, and every tensor's
hash held against that of the bytes that were read from the old file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bot.clients.files.gguf import read_gguf
from bot.clients.files.ggufheader import RawHeader, read_header
from bot.clients.files.headerroom import refitted
from bot.disk.hashes import BLOCK
from bot.disk.space import require_free, taken
from bot.disk.writing import name_finished, partial_of
from bot.errors import CapacityError
from bot.records.built import Built

MARK = b"APEXHEAD"  # how a file begins, with its rewriting's key, until all of it is there

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, kw_only=True)
class Span:
    """A tensor's bytes, or those between two, from the first byte of data."""

    name: str  # empty between tensors
    start: int
    end: int

    @property
    def key(self) -> str:
        """By which its hash is kept; no tensor's name begins with a zero byte."""
        return self.name or f"\0{self.start}"


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """A file and the header that it shall have."""

    source: Path
    size: int  # bytes of the source
    changed: int  # its time, nanoseconds
    old: RawHeader
    head: bytes
    spans: tuple[Span, ...]

    @property
    def moved(self) -> int:
        """Bytes by which the data moves; 0: every tensor keeps its place."""
        return len(self.head) - self.old.data_offset

    @property
    def new_size(self) -> int:
        """Bytes of the new file."""
        return self.size + self.moved

    @property
    def mark(self) -> bytes:
        """How the growing file begins: by all that decides its bytes."""
        state = f"{self.source.absolute()}\n{self.size}\n{self.changed}\n".encode()
        return MARK + hashlib.sha256(state + self.head).digest()


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """The new file, and the sha256 of each tensor, which is that of the old file's."""

    file: Built
    tensors: Mapping[str, str]


def planned(source: Path, keys: Mapping[str, bytes]) -> Rewriting:
    """The rewriting of a file with other keys. Raises SourceError for a file that is not sound."""
    model, old = read_gguf(source), read_header(source)
    state = source.stat()
    end, spans = 0, list[Span]()
    for tensor, raw in zip(model.tensors, old.tensors, strict=True):
        if raw.offset > end:
            spans.append(Span(name="", start=end, end=raw.offset))
        end = raw.offset + tensor.bytes
        spans.append(Span(name=tensor.name, start=raw.offset, end=end))
    last = state.st_size - old.data_offset
    if last > end:
        spans.append(Span(name="", start=end, end=last))
    return Rewriting(
        source=source,
        size=state.st_size,
        changed=state.st_mtime_ns,
        old=old,
        head=refitted(old, keys, str(source)),
        spans=tuple(spans),
    )


def require_room(plan: Rewriting, target: Path, reserve: int) -> None:
    """Raise CapacityError unless the new file fits and `reserve` bytes stay free."""
    here = taken(partial_of(target))
    require_free(target.parent, max(plan.new_size - here, 0), reserve)


def rewrite(plan: Rewriting, target: Path, *, reserve: int, report: Progress) -> Rewritten:
    """Write the new file to `target`, which may be the old one's path; `reserve` bytes stay free.

    Raises CapacityError before anything is written that would not fit, and for a disk that does
    not give back what was written.
    """
    partial = partial_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    resumed = _begin(plan, partial)
    require_room(plan, target, reserve)
    hashes = _fill(plan, partial, report)
    built, written = _read_back(plan, partial, report)
    if written != hashes and resumed:  # what a stopped run left was not what it had written
        partial.unlink()
        return rewrite(plan, target, reserve=reserve, report=report)
    if written != hashes:
        partial.unlink()
        raise CapacityError(f"{target.parent} does not hold what is written there; mend the disk")
    name_finished(partial, target)
    file = Built(path=str(target), bytes=plan.new_size, sha256=built)
    names = (span.name for span in plan.spans if span.name)
    return Rewritten(file=file, tensors={name: hashes[name] for name in names})


def _begin(plan: Rewriting, partial: Path) -> bool:
    """Have a growing file of this rewriting; whether there is data in it already."""
    if partial.is_file() and partial.stat().st_size <= plan.new_size:
        with partial.open("rb") as file:
            start = file.read(max(len(plan.mark), len(plan.head)))
        if start.startswith(plan.mark) or start == plan.head:
            return True
    with partial.open("wb") as file:
        file.write(plan.mark.ljust(len(plan.head), b"\0"))
    return False


def _fill(plan: Rewriting, partial: Path, report: Progress) -> dict[str, str]:
    """Append what the growing file lacks, then its header; hashes of the old file's tensors."""
    hashes = {}
    with plan.source.open("rb") as source, partial.open("r+b") as file:
        here = max(file.seek(0, os.SEEK_END) - len(plan.head), 0)
        for span in plan.spans:
            hasher = hashlib.sha256()
            for at, block in _blocks(source, plan.old.data_offset, span):
                hasher.update(block)
                if at + len(block) > here:
                    file.seek(len(plan.head) + at)
                    file.write(block)
                report(plan.old.data_offset + at + len(block), 2 * plan.size)
            hashes[span.key] = hasher.hexdigest()
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        file.write(plan.head)
        file.flush()
        os.fsync(file.fileno())
    return hashes


def _read_back(plan: Rewriting, path: Path, report: Progress) -> tuple[str, dict[str, str]]:
    """The written file's own hash, and those of its tensors."""
    whole, hashes = hashlib.sha256(), dict[str, str]()
    with path.open("rb") as file:
        whole.update(file.read(len(plan.head)))
        for span in plan.spans:
            hasher = hashlib.sha256()
            for at, block in _blocks(file, len(plan.head), span):
                hasher.update(block)
                whole.update(block)
                report(plan.size + plan.old.data_offset + at + len(block), 2 * plan.size)
            hashes[span.key] = hasher.hexdigest()
    return whole.hexdigest(), hashes


def _blocks(file: BinaryIO, data: int, span: Span) -> Iterator[tuple[int, bytes]]:
    """The bytes of a span, and where each block of them begins behind the first byte of data."""
    at = span.start
    file.seek(data + at)
    while at < span.end and (block := file.read(min(BLOCK, span.end - at))):
        yield at, block
        at += len(block)
