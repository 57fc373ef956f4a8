"""Rows of logits: their probabilities, and llama.cpp's file of a reference's log-probabilities.

The file (`llama-perplexity --save-all-logits`): `_logits_`, n_ctx u32, n_vocab i32, n_chunk i32,
the tokens i32, then a row of u16 for each scored position: a scale and a minimum as two f32, and
for each token of the vocabulary round((logit - lowest) / scale); a row has an even length.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.ggml import exponentials
from bot.errors import BuildError
from bot.kernels.rows.rowwork import RowKernels
from bot.measures.windows import TextWindows, first_scored, scored_per_chunk, sequences

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Codes = NDArray[np.uint16]

MAGIC = b"_logits_"
HEADER = len(MAGIC) + 12
IN_CACHE = 1 << 16  # values that a thread works on together
RUN = 1024  # values that are summed in f32 before their sum counts in f64


def rows_at_once(vocabulary: int) -> int:
    """Rows that a thread takes together, so that its work stays in cache."""
    return max(1, IN_CACHE // vocabulary)


def parts(vocabulary: int) -> Iterator[slice]:
    """Pieces of a row that a thread works on one after another, so that they stay in cache."""
    for start in range(0, vocabulary, IN_CACHE):
        yield slice(start, min(start + IN_CACHE, vocabulary))


def width(vocabulary: int) -> int:
    """Numbers of 16 bits in a row of the file."""
    return 2 * ((vocabulary + 1) // 2) + 4


def base_bytes(vocabulary: int, context: int, chunks: int) -> int:
    """Size of a file of log-probabilities."""
    rows = 2 * width(vocabulary) * scored_per_chunk(context)
    return HEADER + (4 * context + rows) * chunks


class _Room(threading.local):
    """Arrays that a thread uses again and again: fresh memory costs more than the sums in it."""

    def __init__(self) -> None:
        self._kept: dict[str, Floats] = {}

    def take(self, name: str, rows: int, columns: int) -> Floats:
        """An f32 array [rows, columns] with anything in it, this thread's own."""
        buffer = self._kept.get(name)
        if buffer is None or buffer.size < rows * columns:
            buffer = self._kept[name] = np.empty(rows * columns, np.float32)
        return buffer[: rows * columns].reshape(rows, columns)


_room = _Room()


def room(name: str, rows: int, columns: int) -> Floats:
    """An f32 array of the calling thread, [rows, columns], lost at its next use by that name."""
    return _room.take(name, rows, columns)


def dot(left: Floats, right: Floats) -> Doubles:
    """Sum over each row of the products of two arrays [rows, columns].

    Runs of 1,024 are summed in f32, in the processor's many lanes, and their sums in f64: a
    quarter of the time of f64 throughout, within 1e-7 of the sum of magnitudes of it.
    """
    end_of_runs = left.shape[1] // RUN * RUN
    runs = [side[:, :end_of_runs].reshape(len(side), -1, RUN) for side in (left, right)]
    total = np.vecdot(*runs).sum(axis=1, dtype=np.float64)
    sums: Doubles = total + np.vecdot(left[:, end_of_runs:], right[:, end_of_runs:])
    return sums


class Softmax(NamedTuple):
    """Of each row of logits: the highest's token, its logit, log of the sum of exp(logit - it)."""

    best: NDArray[np.intp]
    highest: Floats
    log_sum: Floats

    @property
    def total(self) -> Floats:
        """What is taken from a logit to make it a log-probability."""
        return self.highest + self.log_sum


def softmax(logits: Floats) -> Softmax:
    """Sums in f32 over rows of logits; a row with NaN or infinity gives NaN or infinity."""
    best = logits.argmax(axis=1)
    highest = logits[np.arange(len(logits)), best]
    total = np.zeros(len(logits))
    with np.errstate(invalid="ignore", divide="ignore"):
        for part in parts(logits.shape[1]):
            some = logits[:, part]
            total += exponentials(some, highest, room("exp", *some.shape))
        return Softmax(best, highest, np.log(total).astype(np.float32))


def nll_of(logits: Floats, targets: Ints, kernels: RowKernels | None = None) -> Floats:
    """-ln p(target) of each row, in f32; by `kernels` where they are given, and fit."""
    if kernels is not None and kernels.fit(logits, targets):
        return kernels.nll(logits, targets)
    nll: Floats = softmax(logits).total - logits[np.arange(len(targets)), targets]
    return nll


def pack(logits: Floats, targets: Ints, out: Codes, kernels: RowKernels | None = None) -> Floats:
    """Rows of the file into `out`, [rows, width]; comes back with -ln p(target) of each row.

    log_softmax(…, uint16_t *, …) of perplexity.cpp. A row that is not finite is not packed.
    """
    if kernels is not None and kernels.fit(logits, targets) and out.flags.c_contiguous:
        return kernels.pack(logits, targets, out)
    rows, vocabulary = logits.shape
    _, highest, log_sum = normalizer = softmax(logits)
    nll: Floats = normalizer.total - logits[np.arange(rows), targets]
    if not np.isfinite(nll).all():
        return nll
    lowest = np.maximum(logits.min(axis=1), highest - np.float32(16))
    scale = (highest - lowest) / np.float32(65535)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    header = np.stack([scale, lowest - highest - log_sum], axis=1).astype(np.float32)
    out[:, :4] = header.view(np.uint16)
    out[:, 4 + vocabulary :] = 0
    for part in parts(vocabulary):
        some = logits[:, part]
        steps = room("steps", *some.shape)
        np.subtract(some, lowest[:, None], out=steps)
        steps *= inverse[:, None]
        np.rint(steps, out=steps)
        np.clip(steps, np.float32(0), np.float32(65535), out=steps)
        np.copyto(codes_of(out)[:, part], steps, casting="unsafe")
    return nll


def codes_of(rows: Codes) -> Codes:
    """Codes of rows of the file, [rows, vocabulary and perhaps one more]."""
    return rows[:, 4:]


def scales(rows: Codes) -> tuple[Floats, Floats]:
    """What a code counts in each row of the file, and the log-probability of code 0."""
    scale, floor = np.ascontiguousarray(rows[:, :4]).view(np.float32).T
    return scale, floor


def unpack_rows(rows: Codes, scale: Floats, part: slice) -> Floats:
    """Log-probabilities of some tokens from rows of the file, above each row's floor.

    An array [rows, part], this thread's own until the next call.
    """
    codes = codes_of(rows)[:, part]
    values = room("base", *codes.shape)
    np.copyto(values, codes)
    values *= scale[:, None]
    return values


def unpack_one(rows: Codes, tokens: Ints) -> Floats:
    """The log-probability of one token in each row of the file."""
    scale, floor = scales(rows)
    codes = codes_of(rows)[np.arange(len(rows)), tokens]
    log_p: Floats = codes.astype(np.float32) * scale + floor
    return log_p


def room_for_codes(rows: int, vocabulary: int) -> Codes:
    """Rows of the file of the calling thread, [rows, width], lost at its next use."""
    return room("codes", rows, width(vocabulary) // 2).view(np.uint16)


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseFile:
    """A reference's log-probabilities on disk; use as a context manager, built by `open_base`."""

    path: Path
    vocabulary: int
    windows: TextWindows
    offset: int  # bytes before the first row
    descriptor: int

    def read(self, start: int, stop: int) -> Codes:
        """Rows `start` to `stop` of the whole file, [rows, width]; the thread's own until next."""
        rows = room_for_codes(stop - start, self.vocabulary)
        unread = rows.reshape(-1).view(np.uint8).data
        place = self.offset + start * rows.shape[1] * 2
        while unread:
            count = os.preadv(self.descriptor, [unread], place)
            if not count:
                raise BuildError(f"{self.path} became shorter; measure the reference again")
            unread, place = unread[count:], place + count
        return rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)


def open_base(path: Path) -> BaseFile:
    """Header of a file of log-probabilities. Raises BuildError when it is not one, or not whole."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BuildError(
                f"{path} holds no log-probabilities of llama.cpp; measure the reference again"
            )
        header = np.fromfile(file, np.int32, 3)
        if header.size != 3 or (header <= 0).any():
            raise BuildError(f"{path} is damaged; measure the reference again")
        context, vocabulary, chunks = (int(n) for n in header)
        size, expected = path.stat().st_size, base_bytes(vocabulary, context, chunks)
        if size != expected:
            raise BuildError(
                f"{path} is not whole, {size:,} bytes of {expected:,}; measure the reference again"
            )
        tokens = np.fromfile(file, np.int32, context * chunks)
        offset = file.tell()
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise BuildError(f"{path} has tokens outside its vocabulary; measure the reference again")
    return BaseFile(
        path=path,
        vocabulary=vocabulary,
        windows=TextWindows(
            tokens=tokens.reshape(chunks, context),
            first=first_scored(context),
            together=sequences(context),
        ),
        offset=offset,
        descriptor=os.open(path, os.O_RDONLY),
    )


def write_base_header(descriptor: int, vocabulary: int, windows: TextWindows) -> None:
    """All of a file of log-probabilities that comes before its rows."""
    counts = np.array([windows.context, vocabulary, len(windows.tokens)], np.int32)
    os.pwrite(descriptor, MAGIC + counts.tobytes() + windows.tokens.tobytes(), 0)


def write_rows(descriptor: int, rows: Codes, start: int, windows: TextWindows) -> None:
    """Rows of the file, the first being row `start` of all. Any thread may write its own."""
    unwritten = rows.reshape(-1).view(np.uint8).data
    place = HEADER + windows.tokens.nbytes + start * rows.shape[1] * 2
    while unwritten:
        count = os.pwrite(descriptor, unwritten, place)
        unwritten, place = unwritten[count:], place + count
