"""All tiers in one pass: the source is read once, each distinct result is made once.

What llama_model_quantize_impl (src/llama-quant.cpp) does for one file is done here for many: for
each tensor, in llama.cpp's order, rows become f32 and then each distinct (type, with or without
importance matrix) that any file wants, and every result is written at its place in each of those
files. The files come out byte for byte as llama.cpp writes them, and are hashed as they grow.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.disk.writing import name_finished, partial_of
from bot.errors import BuildError, CapacityError
from bot.kernels.choice import LIBRARY_ONLY, Kernels
from bot.kernels.quantizers import Quantizers
from bot.quantize.passes.growing import GrowingFile
from bot.quantize.passes.layout import OutputSpec, open_source
from bot.quantize.passes.passfiles import Pass, PassChunk, PassPart
from bot.records.built import Built

LOOK_EVERY = 2.0  # seconds between looks at how far a pass is
SAVE_EVERY = 10.0  # seconds between notes on disk, which wait for all data before them
FEW = 1 << 24  # weights that the library makes in the second that importing Numba takes
QUEUED = 4  # tasks a thread has waiting
Progress = Callable[[int, int, str], None]  # bytes of the source done, and all; tensors, in words
Files = tuple[tuple[Built, ...], ...]  # of each model, in order

Rows = NDArray[np.float32]
Bytes = NDArray[np.uint8]
T = TypeVar("T", np.float32, np.uint8)


@dataclass(kw_only=True)
class Spent:
    """CPU seconds of our threads: a type, `kernel TYPE`, `grid TYPE`, `read`, `write` and so on."""

    seconds: dict[str, float] = field(default_factory=dict)
    source_bytes: int = 0  # read of the source
    lock: threading.Lock = field(default_factory=threading.Lock)
    inner: threading.local = field(default_factory=threading.local)  # seconds of blocks inside

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count this thread's CPU time inside the block, less what blocks inside it count."""
        start, outer = time.thread_time(), getattr(self.inner, "seconds", 0.0)
        self.inner.seconds = 0.0
        try:
            yield
        finally:
            took = time.thread_time() - start
            with self.lock:
                self.seconds[what] = self.seconds.get(what, 0.0) + took - self.inner.seconds
            self.inner.seconds = outer + took


def quantize_all(
    source: Path,
    specs: Sequence[OutputSpec],
    *,
    threads: int,
    memory: int,
    progress: Progress,
    spent: Spent | None = None,
    keep: Callable[[Files], object] = tuple,
    kernels: Kernels = LIBRARY_ONLY,
) -> Files:
    """Make a model for each of `specs` from the 16-bit `source`, read once; the files of each.

    `source` is the model's only or first file. `memory` bounds the bytes of rows in work. Each file
    grows as `TARGET.partial` and takes its name when all are whole; a pass that was killed goes on
    at the tensor it had reached. Each file is hashed behind its writers, from the page cache.
    `keep` is told of the files, with their hashes, before the pass forgets that it made them:
    killed until then, it finds them again. Passes over other files may run in the same folder
    at once. `kernels` make what they can of it, the library the rest, with the same bits.
    Raises BuildError naming a tensor that holds NaN, RefusedError naming one that lacks
    fitting importance weights or whose result is not valid, CapacityError when the disk is full.
    """
    work = Pass(open_source(source), specs)
    try:
        with work:
            _Run(work, threads, memory, progress, spent or Spent()).run(kernels)
        for output in work.outputs:
            if partial_of(output.path).is_file():
                name_finished(partial_of(output.path), output.path)
    except OSError as error:
        folder = specs[0].target.parent
        raise CapacityError(f"{folder}: {error.strerror}; mend the disk and run again") from error
    hashes = iter(work.hashes or ())
    files = tuple(
        tuple(Built(path=str(o.path), bytes=o.size, sha256=next(hashes)) for o in model_outputs)
        for model_outputs in work.models
    )
    keep(files)
    work.journal.unlink(missing_ok=True)
    return files


class _Scratch(threading.local):
    """Room of one thread, used again for every chunk: fresh memory costs as much as a copy."""

    def __init__(self) -> None:
        self.raw: Bytes = np.empty(0, np.uint8)
        self.rows: Rows = np.empty(0, np.float32)
        self.out: Bytes = np.empty(0, np.uint8)


def _roomy(array: NDArray[T], size: int) -> NDArray[T]:
    return array if array.size >= size else np.empty(size, array.dtype)


class _Run:
    """The work of a pass, spread over threads. Only the thread that calls `run` counts it."""

    def __init__(
        self, work: Pass, threads: int, memory: int, progress: Progress, spent: Spent
    ) -> None:
        self.work, self.progress, self.spent = work, progress, spent
        largest = max((tensor.step * tensor.length * 12 for tensor in work.tensors), default=1)
        self.threads = max(1, min(threads, memory // largest))
        self.scratch = _Scratch()
        self.growing = [
            GrowingFile(file, output.head)
            for file, output in zip(work.files, work.outputs, strict=True)
        ]
        self.hashing: dict[int, Future[None]] = {}  # what is under way, by the file's number
        self.finished: SimpleQueue[tuple[PassChunk, Future[None]]] = SimpleQueue()
        self.unfinished: Counter[int] = Counter()  # chunks of each tensor, by its number
        self.told_at = self.saved_at = time.monotonic()
        self.saving: Future[None] | None = None  # the note that is on its way to the disk

    def run(self, kernels: Kernels) -> None:
        """Make every chunk; the first error stops the pass and is raised."""
        self._tell(self.work.done)
        if self.work.hashes is not None:
            return
        # journals wait for the disk in a thread of their own: the others go on meanwhile
        with (
            Quantizers(self._worthwhile(kernels), self._kinds, self.spent.on) as self.quantizers,
            ThreadPoolExecutor(self.threads) as pool,
            ThreadPoolExecutor(1) as saver,
            self.spent.on("hand-over"),
        ):
            try:
                self._hash(pool, self.work.done)
                chunks = self.work.chunks()
                for chunk in islice(chunks, QUEUED * self.threads):
                    self._start(pool, chunk)
                while self.unfinished:
                    self._collect(pool, saver)
                    for chunk in islice(chunks, 1):
                        self._start(pool, chunk)
                while self._hash(pool, len(self.work.tensors)):
                    wait(self.hashing.values(), return_when=FIRST_COMPLETED)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._is_saved()
        self._tell(len(self.work.tensors))
        self.work.end([file.sha256 for file in self.growing])

    @cached_property
    def _kinds(self) -> dict[str, int]:
        """Weights that are made of each type, the type of most first."""
        weights = Counter[str]()
        for tensor in self.work.tensors[self.work.done :]:
            for part in tensor.parts:
                if part.type != tensor.kind:
                    weights[part.type] += tensor.length * tensor.rows * tensor.experts
        return dict(weights.most_common())

    def _worthwhile(self, kernels: Kernels) -> Kernels:
        """None where the library, without a search grid, is done before Numba is imported."""
        grids = [kind for kind in self._kinds if ggml.grid_of(kind) is not None]
        return kernels if grids or sum(self._kinds.values()) >= FEW else LIBRARY_ONLY

    def _start(self, pool: ThreadPoolExecutor, chunk: PassChunk) -> None:
        self.unfinished[chunk.number] += 1
        future = pool.submit(self._make, chunk)
        future.add_done_callback(lambda done: self.finished.put((chunk, done)))

    def _hash(self, pool: Executor, whole_tensors: int) -> bool:
        """See that files are hashed as far as they are whole; whether any is not yet.

        Only one thread at a time is at a file: what is whole by then it finds the next time.
        """
        behind = False
        for number, end in enumerate(self.work.bytes_whole(whole_tensors)):
            file, last = self.growing[number], self.hashing.get(number)
            if last is not None and not last.done():
                behind = True
                continue
            if last is not None:
                self.hashing.pop(number).result()
            if file.hashed < end:
                self.hashing[number] = pool.submit(self._follow, file, end)
                behind = True
        return behind

    def _follow(self, file: GrowingFile, end: int) -> None:
        with self.spent.on("hash"):
            file.follow(end)

    def _collect(self, pool: Executor, saver: Executor) -> None:
        """Wait for a chunk; now and then report how many tensors are whole, and save a journal."""
        chunk, future = self.finished.get()
        future.result()
        self.unfinished[chunk.number] -= 1
        if not self.unfinished[chunk.number]:
            del self.unfinished[chunk.number]
            self._hash(pool, min(self.unfinished, default=chunk.number))
        now = time.monotonic()
        if now - self.told_at >= LOOK_EVERY:
            self.told_at = now
            # chunks start in order: whatever comes before the first unfinished one is whole
            whole_tensors = min(self.unfinished, default=chunk.number)
            self._tell(whole_tensors)
            if now - self.saved_at >= SAVE_EVERY and self._is_saved():
                self.saving = saver.submit(self.work.note, whole_tensors)
                self.saved_at = now

    def _is_saved(self) -> bool:
        """Whether the last journal is written; raises what went wrong with it."""
        if self.saving is not None and self.saving.done():
            self.saving.result()
            self.saving = None
        return self.saving is None

    def _tell(self, whole_tensors: int) -> None:
        words = f"{whole_tensors} of {len(self.work.tensors)} tensors"
        self.progress(self.work.bytes_before(whole_tensors), self.work.bytes_before(None), words)

    # ── what the threads do ─────────────────────────────────────────────────────────────────

    def _make(self, chunk: PassChunk) -> None:
        with self.spent.on("hand-over"):
            self._results(chunk)

    def _results(self, chunk: PassChunk) -> None:
        """All results of a chunk; types whose kernel is not compiled yet come last."""
        raw = self._read(chunk)
        parts = [part for part in chunk.tensor.parts if part.type != chunk.tensor.kind]
        if not parts:
            return
        with self.spent.on("to f32"):
            size = chunk.rows * chunk.tensor.length
            self.scratch.rows = _roomy(self.scratch.rows, size)
            rows = self.scratch.rows[:size]
            ggml.to_f32(chunk.tensor.kind, raw, rows)
        for part in sorted(parts, key=lambda part: not self.quantizers.is_ready(part.type)):
            self._quantize(chunk, part, rows.reshape(chunk.rows, chunk.tensor.length))

    def _read(self, chunk: PassChunk) -> Bytes:
        """Raw rows; parts that keep the source's type are copied on the way."""
        tensor = chunk.tensor
        with self.spent.on("read"):
            width = ggml.row_bytes(tensor.kind, tensor.length)
            self.scratch.raw = _roomy(self.scratch.raw, width * chunk.rows)
            raw = self.scratch.raw[: width * chunk.rows]
            source = self.work.sources[tensor.file]
            read = os.preadv(source, [raw.data], tensor.start + width * chunk.first)
        with self.spent.on("check"):
            if read != raw.size or not ggml.valid(tensor.kind, raw):
                raise BuildError(
                    f"the source's {tensor.name} holds NaN or is cut; fetch or convert it again"
                )
        with self.spent.on("write"):
            for part in tensor.parts:
                if part.type == tensor.kind:
                    self._write(chunk, part, width, raw)
        with self.spent.lock:
            self.spent.source_bytes += read
        return raw

    def _quantize(self, chunk: PassChunk, part: PassPart, rows: Rows) -> None:
        tensor, weights = chunk.tensor, chunk.weights if part.weighed else None
        width = ggml.row_bytes(part.type, tensor.length)
        self.scratch.out = _roomy(self.scratch.out, width * chunk.rows)
        out = self.scratch.out[: width * chunk.rows]
        self.quantizers.quantize(tensor.name, part.type, rows, weights, out)
        with self.spent.on("write"):
            self._write(chunk, part, width, out)

    def _write(self, chunk: PassChunk, part: PassPart, width: int, data: Bytes) -> None:
        for file, start in part.places:
            at, remaining = start + width * chunk.first, data.data
            while remaining:
                written = os.pwrite(self.work.files[file], remaining, at)
                at, remaining = at + written, remaining[written:]
