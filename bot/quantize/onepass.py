"""All tiers in one pass: the source is read once, each distinct result is made once.

What llama_model_quantize_impl (src/llama-quant.cpp) does for one file is done here for many: for
each tensor, in llama.cpp's order, rows become f32 and then each distinct (type, with or without
importance matrix) that any file wants, and every result is written at its place in each of those
files. The files come out byte for byte as llama.cpp writes them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate, chain, islice
from math import prod
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.clients.llama.library import library_version, package_version, type_name
from bot.disk.writing import name_finished, partial_of, write_text
from bot.errors import BuildError, CapacityError, RefusedError
from bot.kernels.choice import LIBRARY_ONLY, Kernels
from bot.kernels.quantizers import Quantizers
from bot.quantize.layout import Output, OutputSpec, PassSource, SourceTensor, open_source, outputs
from bot.records.coding import digest

LOOK_EVERY = 2.0  # seconds between looks at how far a pass is
SAVE_EVERY = 10.0  # seconds between notes on disk, which wait for all data before them
CHUNK = 1 << 18  # weights a task takes: small enough to share, large enough to hide Python
QUEUED = 4  # tasks a thread has waiting
MARK = b"APEXPASS"  # how a file begins, with its pass's key, until all of it is there
Progress = Callable[[int, int, str], None]  # bytes of the source done, and all; tensors, in words
Files = tuple[tuple[Path, ...], ...]  # of each model, in order

Rows = NDArray[np.float32]
Bytes = NDArray[np.uint8]
T = TypeVar("T", np.float32, np.uint8)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One result of a tensor: its type, whether it is weighed, and which files want it where."""

    type: str
    weighed: bool
    places: tuple[tuple[int, int], ...]  # number of the file, offset of the tensor's data


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """A tensor of the source and the results that files hold of it."""

    name: str
    kind: str
    file: int
    start: int  # of its data in the source
    length: int  # of a row
    rows: int  # of one expert
    experts: int
    parts: tuple[_Part, ...]

    @property
    def bytes(self) -> int:
        """Data in the source."""
        return ggml.row_bytes(self.kind, self.length) * self.rows * self.experts

    @property
    def step(self) -> int:
        """Rows a chunk has."""
        return max(1, CHUNK // self.length)


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Rows of one expert of a tensor; never across two, whose importance weights differ."""

    tensor: _Tensor
    number: int  # of the tensor in the pass
    first: int  # row, counted over all experts
    rows: int
    weights: NDArray[np.float32] | None  # the expert's, one for each number of a row


@dataclass(kw_only=True)
class Spent:
    """CPU seconds of our threads: a type, `kernel TYPE`, `grid TYPE`, `read`, `write`."""

    seconds: dict[str, float] = field(default_factory=dict)
    source_bytes: int = 0  # read of the source
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count this thread's CPU time inside the block."""
        start = time.thread_time()
        yield
        with self.lock:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.thread_time() - start


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
    at the tensor it had reached. `keep` is told of the files before the pass forgets that it made
    them: killed until then, it finds them again. Passes over other files may run in the same folder
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
    paths = tuple(tuple(output.path for output in files) for files in work.models)
    keep(paths)
    work.journal.unlink(missing_ok=True)
    return paths


def forget(paths: Iterable[Path]) -> None:
    """Remove the journals of passes over any of these files, which are made, or begun anew."""
    model_files = list(paths)
    names = {path.name for path in model_files}
    for folder in {path.parent for path in model_files}:
        for journal in folder.glob("quantize-*.journal"):
            if not names.isdisjoint(_read_journal(journal).get("files", ())):
                journal.unlink(missing_ok=True)


class Pass:
    """The files of a pass: what is read, what is written where, how many tensors are whole.

    A file that grows begins with the pass's mark in place of its own header, so that whatever
    another pass, or another way of quantizing, left under its name is never gone on with.
    """

    def __init__(self, source: PassSource, specs: Sequence[OutputSpec]) -> None:
        self._source, self._specs = source, specs
        self.models = [outputs(source, spec) for spec in specs]
        self.outputs = list(chain.from_iterable(self.models))
        places = list(zip(*self._places(), strict=True))
        self.tensors = [
            self._tensor(tensor, tensor_places)
            for tensor, tensor_places in zip(source.tensors, places, strict=True)
        ]
        self._ends = [0, *accumulate(tensor.bytes for tensor in self.tensors)]
        self.key = self._key()
        self.ended = False  # whether only names are missing
        self.mark = MARK + bytes.fromhex(self.key)
        self.journal = specs[0].target.with_name(f"quantize-{self.key[:16]}.journal")

    def _key(self) -> str:
        """Hash of all that decides the bytes of the files, importance weights by their content."""
        matrix_hashes: dict[int, str] = {}
        for spec in self._specs:
            if spec.weights is not None and id(spec.weights) not in matrix_hashes:
                matrix_hashes[id(spec.weights)] = _content(spec.weights)
        weighed = [matrix_hashes.get(id(spec.weights)) for spec in self._specs]
        files = [[str(o.path), o.size, sha256(o.head).hexdigest()] for o in self.outputs]
        versions = [package_version(), library_version()]
        return digest([self._source.state, versions, weighed, files])

    def _places(self) -> Iterator[list[tuple[int, int]]]:
        """For each model where its tensors' data begins: number of the file, offset."""
        number = 0
        for model_outputs in self.models:
            yield [(number + i, at) for i, o in enumerate(model_outputs) for at in o.offsets]
            number += len(model_outputs)

    def _tensor(self, tensor: SourceTensor, where: Sequence[tuple[int, int]]) -> _Tensor:
        raw, kind = tensor.raw, type_name(tensor.raw.type)
        places: dict[tuple[str, bool], list[tuple[int, int]]] = {}
        for spec, place in zip(self._specs, where, strict=True):
            target = spec.types.get(raw.name, kind)
            has_weights = spec.weights is not None and raw.name in spec.weights
            places.setdefault((target, target != kind and has_weights), []).append(place)
        length, rows, *more = (*raw.shape, 1)
        return _Tensor(
            name=raw.name,
            kind=kind,
            file=tensor.file,
            start=tensor.start,
            length=length,
            rows=rows,
            experts=prod(more),
            parts=tuple(
                _Part(type=target, weighed=weighed, places=tuple(part_places))
                for (target, weighed), part_places in places.items()
            ),
        )

    def __enter__(self) -> Pass:
        self.done = self._resumed()
        if not self.done:
            self._retire()
        self.sources = [os.open(path, os.O_RDONLY) for path in self._source.paths]
        self.files = [self._open(output) for output in self.outputs]
        return self

    def _open(self, output: Output) -> int:
        path = partial_of(output.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self.done:
            path.write_bytes(self.mark)
        elif not path.is_file():  # it has its name already: the pass was whole
            path = output.path
        file = os.open(path, os.O_RDWR)
        if os.fstat(file).st_size != output.size:
            os.ftruncate(file, output.size)  # the padding after the last tensor counts too
        return file

    def __exit__(self, *_: object) -> None:
        for file in (*self.sources, *self.files):
            os.close(file)

    def _retire(self) -> None:
        """Remove journals of stopped passes over any of these files, which begin anew here."""
        forget(output.path for output in self.outputs)

    def _resumed(self) -> int:
        """Number of tensors that are whole in all files of this pass; 0 where it begins anew."""
        journal = _read_journal(self.journal)
        if journal.get("pass") != self.key:
            return 0
        done, states = int(journal["tensors"]), journal.get("states")
        self.ended = states is not None
        if states is not None:
            output_states = zip(self.outputs, states, strict=True)
            self.ended = all(_is_unchanged(output, state) for output, state in output_states)
            return done if self.ended else 0
        ending = done == len(self.tensors)
        return done if all(self._is_ours(output, ending) for output in self.outputs) else 0

    def _is_ours(self, output: Output, ending: bool) -> bool:
        """Whether a file that grows is this pass's; `ending`: it may have its header already."""
        path = partial_of(output.path)
        if not path.is_file() or path.stat().st_size != output.size:
            return False
        with path.open("rb") as file:
            begins = file.read(len(output.head))
        return begins.startswith(self.mark) or (ending and begins == output.head)

    def bytes_before(self, number: int | None) -> int:
        """Bytes of the source in its first `number` tensors, in all of them for None."""
        return self._ends[-1 if number is None else number]

    def note(self, tensors: int) -> None:
        """Remember that the first `tensors` tensors are whole, once they are on the disk."""
        for file in self.files:
            os.fsync(file)
        self._write(tensors)

    def end(self) -> None:
        """All tensors are whole: each file gets its header, and is known by size and time."""
        self.note(len(self.tensors))
        for file, output in zip(self.files, self.outputs, strict=True):
            os.pwrite(file, output.head, 0)
            os.fsync(file)
        self._write(len(self.tensors), states=[_state(os.fstat(file)) for file in self.files])

    def _write(self, tensors: int, **more: object) -> None:
        names = [output.path.name for output in self.outputs]
        entries = {"pass": self.key, "tensors": tensors, "files": names, **more}
        write_text(self.journal, json.dumps(entries))

    def chunks(self) -> Iterator[_Chunk]:
        """Chunks of all tensors that are not whole yet, in order."""
        for number, tensor in enumerate(self.tensors[self.done :], self.done):
            weights = self._weights(tensor)
            for expert in range(tensor.experts):
                for row in range(0, tensor.rows, tensor.step):
                    yield _Chunk(
                        tensor=tensor,
                        number=number,
                        first=expert * tensor.rows + row,
                        rows=min(tensor.step, tensor.rows - row),
                        weights=None if weights is None else weights[expert],
                    )

    def _weights(self, tensor: _Tensor) -> NDArray[np.float32] | None:
        """A tensor's importance weights, [experts, row length]; one matrix serves all files."""
        if not any(part.weighed for part in tensor.parts):
            return None
        matrices = (spec.weights for spec in self._specs if spec.weights is not None)
        numbers = next(weights[tensor.name] for weights in matrices if tensor.name in weights)
        if numbers.size != tensor.experts * tensor.length or not np.isfinite(numbers).all():
            raise RefusedError(
                f"the importance matrix has {numbers.size} numbers for {tensor.name}, not "
                f"{tensor.experts * tensor.length} finite ones; calibrate with this model"
            )
        return numbers.reshape(tensor.experts, tensor.length)


def _content(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Hash of an importance matrix's weights, names and all."""
    hasher = sha256()
    for name in sorted(weights):
        hasher.update(f"{name}\n{weights[name].size}\n".encode())
        hasher.update(np.ascontiguousarray(weights[name], np.float32).data)
    return hasher.hexdigest()


def _read_journal(journal: Path) -> dict[str, Any]:
    """A journal's entries; none where there is no file, or another form of it."""
    try:
        entries = json.loads(journal.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _state(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns]


def _is_unchanged(output: Output, state: list[int]) -> bool:
    """Whether a finished file has the size and time of the journal, under either of its names."""
    paths = [path for path in (partial_of(output.path), output.path) if path.is_file()]
    return bool(paths) and _state(paths[0].stat()) == state


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
        self.finished: SimpleQueue[tuple[_Chunk, Future[None]]] = SimpleQueue()
        self.unfinished: Counter[int] = Counter()  # chunks of each tensor, by its number
        self.told_at = self.saved_at = time.monotonic()
        self.saving: Future[None] | None = None  # the note that is on its way to the disk

    def run(self, kernels: Kernels) -> None:
        """Make every chunk; the first error stops the pass and is raised."""
        self._tell(self.work.done)
        # journals wait for the disk in a thread of their own: the others go on meanwhile
        with (
            Quantizers(kernels, self._kinds(), self.spent.on) as self.quantizers,
            ThreadPoolExecutor(self.threads) as pool,
            ThreadPoolExecutor(1) as saver,
        ):
            try:
                chunks = self.work.chunks()
                for chunk in islice(chunks, QUEUED * self.threads):
                    self._start(pool, chunk)
                while self.unfinished:
                    self._collect(saver)
                    for chunk in islice(chunks, 1):
                        self._start(pool, chunk)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._is_saved()
        self._tell(len(self.work.tensors))
        if not self.work.ended:
            self.work.end()

    def _kinds(self) -> list[str]:
        """Types that are made, those of most results first."""
        tensors = self.work.tensors[self.work.done :]
        parts = ((tensor.kind, part.type) for tensor in tensors for part in tensor.parts)
        return [kind for kind, _ in Counter(b for a, b in parts if a != b).most_common()]

    def _start(self, pool: ThreadPoolExecutor, chunk: _Chunk) -> None:
        self.unfinished[chunk.number] += 1
        future = pool.submit(self._make, chunk)
        future.add_done_callback(lambda done: self.finished.put((chunk, done)))

    def _collect(self, saver: Executor) -> None:
        """Wait for a chunk; now and then report how many tensors are whole, and save a journal."""
        chunk, future = self.finished.get()
        future.result()
        self.unfinished[chunk.number] -= 1
        if not self.unfinished[chunk.number]:
            del self.unfinished[chunk.number]
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

    def _make(self, chunk: _Chunk) -> None:
        """All results of a chunk; types whose kernel is not compiled yet come last."""
        raw = self._read(chunk)
        parts = [part for part in chunk.tensor.parts if part.type != chunk.tensor.kind]
        if not parts:
            return
        with self.spent.on("read"):
            size = chunk.rows * chunk.tensor.length
            self.scratch.rows = _roomy(self.scratch.rows, size)
            rows = self.scratch.rows[:size]
            ggml.to_f32(chunk.tensor.kind, raw, rows)
        for part in sorted(parts, key=lambda part: not self.quantizers.is_ready(part.type)):
            self._quantize(chunk, part, rows.reshape(chunk.rows, chunk.tensor.length))

    def _read(self, chunk: _Chunk) -> Bytes:
        """Raw rows; parts that keep the source's type are copied on the way."""
        tensor = chunk.tensor
        with self.spent.on("read"):
            width = ggml.row_bytes(tensor.kind, tensor.length)
            self.scratch.raw = _roomy(self.scratch.raw, width * chunk.rows)
            raw = self.scratch.raw[: width * chunk.rows]
            source = self.work.sources[tensor.file]
            read = os.preadv(source, [raw.data], tensor.start + width * chunk.first)
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

    def _quantize(self, chunk: _Chunk, part: _Part, rows: Rows) -> None:
        tensor, weights = chunk.tensor, chunk.weights if part.weighed else None
        width = ggml.row_bytes(part.type, tensor.length)
        self.scratch.out = _roomy(self.scratch.out, width * chunk.rows)
        out = self.scratch.out[: width * chunk.rows]
        self.quantizers.quantize(tensor.name, part.type, rows, weights, out)
        with self.spent.on("write"):
            self._write(chunk, part, width, out)

    def _write(self, chunk: _Chunk, part: _Part, width: int, data: Bytes) -> None:
        for file, start in part.places:
            at, remaining = start + width * chunk.first, data.data
            while remaining:
                written = os.pwrite(self.work.files[file], remaining, at)
                at, remaining = at + written, remaining[written:]
