"""All tiers in one pass: the source is read once, each distinct result is made once.

What llama_model_quantize_impl (src/llama-quant.cpp) does for one file is done here for many: for
each tensor, in llama.cpp's order, rows become f32 and then each distinct (type, with or without
importance matrix) that any file wants, and every result is written at its place in each of those
files. The files come out byte for byte as llama.cpp writes them.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from math import prod
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from bot.clients.header import ALIGNMENT, RawTensor, read_header, text, u32, write_header
from bot.clients.llama import kernels
from bot.clients.llama.library import ggml_type, type_name
from bot.errors import BuildError
from bot.records import digest
from bot.workspace import finish, partial_of, write_text

NOTE_EVERY = 2.0  # seconds between notes of how far a pass is
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
CHUNK = 1 << 18  # weights a task takes: small enough to share, large enough to hide Python
Progress = Callable[[int, int], None]  # bytes of the source done, and all

Rows = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One file to make: `types` by tensor name, the importance matrix's weights, extra metadata."""

    target: Path
    file_type: int
    types: Mapping[str, str]
    weights: Mapping[str, NDArray[np.float32]] | None
    notes: Sequence[tuple[str, int | str]] = ()


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One result of a tensor: its type, its importance weights, and which files want it where."""

    type: str
    weights: NDArray[np.float32] | None
    places: tuple[tuple[int, int], ...]  # number of the file, offset of the tensor's data


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """A tensor of the source and all that shall become of it."""

    name: str
    kind: str
    start: int  # of its data in the source
    length: int  # of a row
    rows: int  # of one expert
    experts: int
    parts: tuple[_Part, ...]


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Rows of one expert of a tensor; never across two, whose importance weights differ."""

    tensor: _Tensor
    number: int  # of the tensor in the pass
    first: int  # row, counted over all experts
    rows: int

    @property
    def memory(self) -> int:
        """Bytes while it is worked on: read, expanded, and one result at a time."""
        return self.rows * self.tensor.length * (4 + 4 + 4)


@dataclass(kw_only=True)
class Spent:
    """CPU seconds by what they went into: a type, `grid TYPE`, `read` or `write`."""

    seconds: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count this thread's CPU time inside the block."""
        start = time.thread_time()
        yield
        with self.lock:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.thread_time() - start


def order(name: str) -> tuple[int, str]:
    """llama.cpp's order of tensors: by layer, then by name (weight_name_comparer)."""
    match = re.match(r"blk\.(\d+)\.", name)
    return (int(match[1]) if match else -1), name


def quantize_all(
    source: Path,
    wanted: Sequence[Wanted],
    *,
    threads: int,
    memory: int,
    progress: Progress,
) -> Spent:
    """Make every wanted file from the 16-bit `source`, in one reading of it.

    `memory` bounds the bytes of rows in work. Each file grows as `TARGET.partial` and takes its
    name when all are whole; a pass that was killed goes on at the tensor it had reached. Raises
    BuildError naming a tensor that holds NaN or whose result is not valid.
    """
    with _Pass(source, wanted) as work:
        spent = _Run(work, threads, memory, progress).run()
    for want in wanted:
        finish(partial_of(want.target), want.target)
    work.journal.unlink(missing_ok=True)
    return spent


class _Pass:
    """The files of a pass: what is read, what is written where, how far it got before."""

    def __init__(self, source: Path, wanted: Sequence[Wanted]) -> None:
        self.header = read_header(source)
        self.wanted = wanted
        self.journal = wanted[0].target.with_name("quantize.journal")
        self._source_path = source
        raw = sorted(self.header.tensors, key=lambda tensor: order(tensor.name))
        heads, offsets = zip(*(self._layout(raw, want) for want in wanted), strict=True)
        self.heads: tuple[bytes, ...] = heads
        self.sizes = [places[-1] for places in offsets]
        self.tensors = [self._tensor(tensor, i, offsets) for i, tensor in enumerate(raw)]
        sizes = (kernels.row_bytes(t.kind, t.length) * t.rows * t.experts for t in self.tensors)
        self._ends = [0, *accumulate(sizes)]
        status = source.stat()
        files = [
            [want.target.name, sha256(head).hexdigest(), want.weights is not None]
            for want, head in zip(wanted, heads, strict=True)
        ]
        self.key = digest([str(source), status.st_size, status.st_mtime_ns, files])

    def _layout(self, raw: Sequence[RawTensor], want: Wanted) -> tuple[bytes, list[int]]:
        """A file's header, and where each tensor's data begins in it; the file's end comes last."""
        keys = dict(self.header.keys)
        changed = {
            "general.quantization_version": u32(
                "general.quantization_version", QUANTIZATION_VERSION
            ),
            "general.file_type": u32("general.file_type", want.file_type),
        }
        for key in (*changed, "split.no", "split.count", "split.tensors.count"):
            keys.pop(key, None)
        for key, value in want.notes:
            keys.pop(key, None)
            changed[key] = u32(key, value) if isinstance(value, int) else text(key, value)
        entries = []
        for tensor in raw:
            kind = want.types.get(tensor.name, type_name(tensor.type))
            size = kernels.row_bytes(kind, tensor.shape[0]) * prod(tensor.shape[1:])
            entries.append((tensor.name, tensor.shape, ggml_type(kind), size))
        head = write_header([*keys.values(), *changed.values()], entries, ALIGNMENT)
        offsets, at = [], len(head)
        for *_, size in entries:
            offsets.append(at)
            at += -(-size // ALIGNMENT) * ALIGNMENT
        return head, [*offsets, at]

    def _tensor(self, raw: RawTensor, number: int, offsets: Sequence[list[int]]) -> _Tensor:
        kind = type_name(raw.type)
        places: dict[tuple[str, bool], list[tuple[int, int]]] = {}
        weights = None
        for i, want in enumerate(self.wanted):
            target = want.types.get(raw.name, kind)
            own = None if want.weights is None or target == kind else want.weights.get(raw.name)
            weights = weights if own is None else own
            places.setdefault((target, own is not None), []).append((i, offsets[i][number]))
        length, rows, *more = (*raw.shape, 1)
        return _Tensor(
            name=raw.name,
            kind=kind,
            start=self.header.data_offset + raw.offset,
            length=length,
            rows=rows,
            experts=prod(more),
            parts=tuple(
                _Part(type=target, weights=weights if weighed else None, places=tuple(where))
                for (target, weighed), where in places.items()
            ),
        )

    def __enter__(self) -> _Pass:
        self.done = self._resumed()
        self.source = os.open(self._source_path, os.O_RDONLY)
        self.files = []
        for want, head, size in zip(self.wanted, self.heads, self.sizes, strict=True):
            path = partial_of(want.target)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self.done:
                path.write_bytes(head)
            self.files.append(os.open(path, os.O_RDWR))
            os.ftruncate(self.files[-1], size)  # the padding after the last tensor counts too
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.source, *self.files):
            os.close(file)

    def _resumed(self) -> int:
        """How many tensors are whole in all partial files, if they are of this very pass."""
        if not all(partial_of(want.target).is_file() for want in self.wanted):
            return 0
        try:
            found = json.loads(self.journal.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        return int(found["tensors"]) if found.get("pass") == self.key else 0

    def bytes_before(self, number: int | None) -> int:
        """Bytes of the source in its first `number` tensors, in all of them for None."""
        return self._ends[-1 if number is None else number]

    def note(self, tensors: int) -> None:
        """Remember that the first `tensors` tensors are whole."""
        write_text(self.journal, json.dumps({"pass": self.key, "tensors": tensors}))

    def chunks(self) -> Iterator[_Chunk]:
        """All rows still to be made, in order."""
        for number, tensor in enumerate(self.tensors[self.done :], self.done):
            step = max(1, CHUNK // tensor.length)
            for expert in range(tensor.experts):
                for row in range(0, tensor.rows, step):
                    yield _Chunk(
                        tensor=tensor,
                        number=number,
                        first=expert * tensor.rows + row,
                        rows=min(step, tensor.rows - row),
                    )


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A chunk, and which of its results are still to be made; `rows` once it was expanded."""

    chunk: _Chunk
    parts: tuple[_Part, ...]
    rows: Rows | None = None


class _Run:
    """The work of a pass, spread over threads. Only the thread that calls `run` changes it."""

    def __init__(self, work: _Pass, threads: int, memory: int, progress: Progress) -> None:
        self.work, self.memory, self.progress = work, memory, progress
        self.spent = Spent()
        self.pool = ThreadPoolExecutor(threads)
        self.ready: set[str] = set()
        self.waiting: dict[str, list[_Piece]] = {}
        self.running = 0
        self.finished: SimpleQueue[tuple[_Piece | str, Future[list[_Piece]]]] = SimpleQueue()
        self.used = 0  # bytes of the pieces in work
        self.unfinished: Counter[int] = Counter()  # pieces of each tensor, by its number
        self.noted = time.monotonic()

    def run(self) -> Spent:
        """Do it all; the first error stops the pass and is raised."""
        with self.pool:
            try:
                self._start_grids()
                for chunk in self.work.chunks():
                    while self.used and self.used + chunk.memory > self.memory:
                        self._collect(chunk.number)
                    self._submit(_Piece(chunk=chunk, parts=chunk.tensor.parts))
                while self.running:
                    self._collect(len(self.work.tensors))
            except BaseException:
                self.pool.shutdown(wait=True, cancel_futures=True)
                raise
        return self.spent

    def _start_grids(self) -> None:
        """Build search grids beside other work, the longest first."""
        tensors = self.work.tensors[self.work.done :]
        wanted = {kernels.grid_of(part.type) for tensor in tensors for part in tensor.parts}
        for grid in kernels.GRIDS:
            if grid in wanted:
                self.waiting[grid] = []
                self._start(grid, self.pool.submit(self._grid, grid))

    def _start(self, what: _Piece | str, future: Future[list[_Piece]]) -> None:
        self.running += 1
        future.add_done_callback(lambda done: self.finished.put((what, done)))

    def _grid(self, grid: str) -> list[_Piece]:
        with self.spent.on(f"grid {grid}"):
            kernels.prepare(grid)
        return []

    def _submit(self, piece: _Piece) -> None:
        self.used += piece.chunk.memory
        self.unfinished[piece.chunk.number] += 1
        self._start(piece, self.pool.submit(self._make, piece, frozenset(self.ready)))

    def _collect(self, current: int) -> None:
        """Wait for something to finish, and start what that allows."""
        finished, future = self.finished.get()
        self.running -= 1
        rest = future.result()
        if isinstance(finished, str):
            self.ready.add(finished)
            rest = self.waiting.pop(finished)
        for piece in rest:
            self._await_grid(piece)
        if isinstance(finished, _Piece):
            self.used -= finished.chunk.memory
            self.unfinished[finished.chunk.number] -= 1
        if time.monotonic() - self.noted >= NOTE_EVERY:
            self._note(current)

    def _await_grid(self, piece: _Piece) -> None:
        """Start a piece whose grid is built; keep another where its grid will find it."""
        grid = kernels.grid_of(piece.parts[0].type)
        if grid is None or grid in self.ready:
            self._submit(piece)
        else:
            self.waiting[grid].append(piece)

    def _note(self, current: int) -> None:
        """Write down how many tensors are whole, and say so."""
        self.noted = time.monotonic()
        held = {piece.chunk.number for pieces in self.waiting.values() for piece in pieces}
        busy = {number for number, count in self.unfinished.items() if count} | held
        self.unfinished = +self.unfinished
        whole = min(busy, default=current)
        self.progress(self.work.bytes_before(whole), self.work.bytes_before(None))
        self.work.note(whole)

    # ── what the threads do ─────────────────────────────────────────────────────────────────

    def _make(self, piece: _Piece, ready: frozenset[str]) -> list[_Piece]:
        """Make the parts whose grids are ready; what is left waits with its expanded rows."""
        chunk = piece.chunk
        rows = piece.rows if piece.rows is not None else self._read(chunk)
        late: dict[str, list[_Part]] = {}
        for part in piece.parts:
            grid = kernels.grid_of(part.type)
            if grid is not None and grid not in ready:
                late.setdefault(grid, []).append(part)
            elif part.type != chunk.tensor.kind:
                self._quantize(chunk, part, rows)
        return [_Piece(chunk=chunk, parts=tuple(parts), rows=rows) for parts in late.values()]

    def _read(self, chunk: _Chunk) -> Rows:
        """Rows as f32; parts that keep the source's type are copied on the way."""
        tensor = chunk.tensor
        with self.spent.on("read"):
            width = kernels.row_bytes(tensor.kind, tensor.length)
            raw = os.pread(self.work.source, width * chunk.rows, tensor.start + width * chunk.first)
            data = np.frombuffer(raw, np.uint8)
            if len(raw) != width * chunk.rows or not kernels.valid(tensor.kind, data):
                raise BuildError(
                    f"the source's {tensor.name} holds NaN or is cut; fetch or convert it again"
                )
            for part in tensor.parts:
                if part.type == tensor.kind:
                    self._write(chunk, part, width, data)
            rows = np.empty((chunk.rows, tensor.length), np.float32)
            if any(part.type != tensor.kind for part in tensor.parts):
                kernels.to_f32(tensor.kind, data, rows.reshape(-1))
        return rows

    def _quantize(self, chunk: _Chunk, part: _Part, rows: Rows) -> None:
        tensor = chunk.tensor
        weights = part.weights
        if weights is not None:
            expert = chunk.first // tensor.rows
            weights = weights[expert * tensor.length : (expert + 1) * tensor.length]
        with self.spent.on(part.type):
            width = kernels.row_bytes(part.type, tensor.length)
            out = np.empty(width * chunk.rows, np.uint8)
            kernels.from_f32(part.type, rows, weights, out)
            if not kernels.valid(part.type, out):
                raise BuildError(f"{tensor.name} as {part.type} is not valid; leave the tier out")
        with self.spent.on("write"):
            self._write(chunk, part, width, out)

    def _write(self, chunk: _Chunk, part: _Part, width: int, data: Bytes) -> None:
        for file, start in part.places:
            os.pwrite(self.work.files[file], data.data, start + width * chunk.first)
