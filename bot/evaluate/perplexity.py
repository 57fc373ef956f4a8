"""Perplexity of a model, and the reference's log-probabilities kept for the divergence.

What is scored (perplexity() in tools/perplexity/perplexity.cpp): each chunk of n_ctx tokens is
decoded from an empty memory; positions n_ctx/2 to n_ctx-2 predict their next token.

The file of log-probabilities is llama.cpp's own (`--save-all-logits`): `_logits_`, n_ctx u32,
n_vocab i32, n_chunk i32, the tokens i32, then a row of u16 for each scored position: a scale and a
minimum as two f32, and for each token of the vocabulary round((logit - lowest) / scale).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.session import Session
from bot.errors import BuildError
from bot.records import Perplexity

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]  # done, total

MAGIC = b"_logits_"
ROWS_AT_ONCE = 8  # rows a thread takes together: bounds memory for large vocabularies


def first_scored(context: int) -> int:
    """The first position of a chunk whose prediction counts."""
    return context // 2


def scored_per_chunk(context: int) -> int:
    """How many predictions of a chunk count."""
    return context - 1 - first_scored(context)


def base_bytes(vocabulary: int, context: int, chunks: int) -> int:
    """Size of a file of log-probabilities."""
    row = 2 * (2 * ((vocabulary + 1) // 2) + 4)
    return len(MAGIC) + 12 + 4 * context * chunks + row * scored_per_chunk(context) * chunks


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and its standard error, by llama-perplexity's formula (population variance)."""
    mean = float(values.mean())
    variance = float(np.square(values).mean()) - mean * mean
    if variance <= 0 or len(values) <= 10:
        return mean, 0.0
    return mean, float(np.sqrt(variance / (len(values) - 1)))


def perplexity_of(nll: NDArray[np.float64]) -> Perplexity:
    """exp(mean NLL) and its error by propagation."""
    mean, error = mean_and_error(nll)
    value = float(np.exp(mean))
    return Perplexity(value=value, error=value * error)


def log_sum_exp(logits: Floats) -> tuple[Floats, Floats]:
    """Highest logit and log of the sum of exp(logit - highest), for each row."""
    highest = logits.max(axis=1)
    total = np.exp(logits - highest[:, None]).sum(axis=1, dtype=np.float64)
    return highest, np.log(total).astype(np.float32)


def negative_log_likelihood(logits: Floats, targets: NDArray[np.int32]) -> NDArray[np.float64]:
    """-ln p(target) of each row, in f32 as llama-perplexity computes it."""
    highest, log_sum = log_sum_exp(logits)
    return (highest + log_sum - logits[np.arange(len(targets)), targets]).astype(np.float64)


def in_blocks(
    pool: ThreadPoolExecutor, rows: int, work: Callable[[slice], None], block: int = ROWS_AT_ONCE
) -> None:
    """Run `work` over slices of rows on the pool's threads; raises the first error."""
    for _ in pool.map(work, (slice(i, min(i + block, rows)) for i in range(0, rows, block))):
        pass


def pack(logits: Floats) -> NDArray[np.uint16]:
    """Rows of the file from rows of logits: log_softmax(…, uint16_t *, …) of perplexity.cpp."""
    rows, vocabulary = logits.shape
    highest, log_sum = log_sum_exp(logits)
    lowest = np.maximum(logits.min(axis=1), highest - np.float32(16))
    scale = (highest - lowest) / np.float32(65535)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale > 0, np.float32(1) / scale, np.float32(0))
    packed = np.zeros((rows, 2 * ((vocabulary + 1) // 2) + 4), np.uint16)
    header = np.stack([scale, lowest - highest - log_sum], axis=1).astype(np.float32)
    packed[:, :4] = header.view(np.uint16)
    steps = np.rint((logits - lowest[:, None]) * inverse[:, None])
    packed[:, 4 : 4 + vocabulary] = np.clip(steps, 0, 65535)
    return packed


def unpack(rows: NDArray[np.uint16], vocabulary: int) -> Floats:
    """Log-probabilities [rows, vocabulary] from rows of the file."""
    header = np.ascontiguousarray(rows[:, :4]).view(np.float32)
    values = rows[:, 4 : 4 + vocabulary].astype(np.float32)
    values *= header[:, :1]
    values += header[:, 1:2]
    return values


@dataclass(frozen=True, kw_only=True)
class BaseFile:
    """A reference's log-probabilities on disk. Build with `open_base`."""

    path: Path
    context: int
    vocabulary: int
    tokens: NDArray[np.int32]  # [chunks, context]
    offset: int  # bytes before the first row

    def rows(self) -> Iterator[NDArray[np.uint16]]:
        """The rows of one chunk after another, read from disk when asked for."""
        width = 2 * ((self.vocabulary + 1) // 2) + 4
        count = scored_per_chunk(self.context)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for chunk in range(len(self.tokens)):
                rows = np.fromfile(file, np.uint16, width * count)
                if rows.size != width * count:
                    raise BuildError(
                        f"{self.path} ends in chunk {chunk}; measure the reference again"
                    )
                yield rows.reshape(count, width)


def open_base(path: Path) -> BaseFile:
    """Header of a file of log-probabilities. Raises BuildError when it is not one."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BuildError(f"{path} holds no log-probabilities; measure the reference again")
        header = np.fromfile(file, np.int32, 3)
        if header.size != 3 or (header <= 0).any():
            raise BuildError(f"{path} is damaged; measure the reference again")
        context, vocabulary, chunks = (int(n) for n in header)
        tokens = np.fromfile(file, np.int32, context * chunks)
        offset = file.tell()
    if path.stat().st_size != base_bytes(vocabulary, context, chunks):
        raise BuildError(f"{path} is not whole; measure the reference again")
    return BaseFile(
        path=path,
        context=context,
        vocabulary=vocabulary,
        tokens=tokens.reshape(chunks, context),
        offset=offset,
    )


def measure_reference(
    session: Session,
    chunks: Sequence[Sequence[int]],
    target: Path,
    *,
    threads: int,
    progress: Progress,
) -> Perplexity:
    """Perplexity of the reference over `chunks`; its log-probabilities go to `target`."""
    context = len(chunks[0])
    tokens = np.array(chunks, np.int32)
    with target.open("wb") as file, ThreadPoolExecutor(threads) as pool:
        file.write(MAGIC)
        np.array([context, session.vocabulary, len(chunks)], np.int32).tofile(file)
        tokens.tofile(file)
        scores: list[NDArray[np.float64]] = []
        for logits, targets in scored(session, tokens, progress):
            rows = np.empty((len(targets), 2 * ((session.vocabulary + 1) // 2) + 4), np.uint16)
            nll = np.empty(len(targets))

            def keep(
                part: slice,
                logits: Floats = logits,
                targets: NDArray[np.int32] = targets,
                rows: NDArray[np.uint16] = rows,
                nll: NDArray[np.float64] = nll,
            ) -> None:
                rows[part] = pack(logits[part])
                nll[part] = negative_log_likelihood(logits[part], targets[part])

            in_blocks(pool, len(targets), keep)
            rows.tofile(file)
            scores.append(nll)
    return perplexity_of(np.concatenate(scores))


def scored(
    session: Session, tokens: NDArray[np.int32], progress: Progress
) -> Iterable[tuple[Floats, NDArray[np.int32]]]:
    """For each chunk the logits that count, [scored, vocabulary], and the tokens they predict."""
    context = tokens.shape[1]
    first = first_scored(context)
    for done, chunk in enumerate(tokens):
        progress(done, len(tokens))
        yield session.decode_chunk(chunk.tolist(), first)[:-1], chunk[first + 1 :]
    progress(len(tokens), len(tokens))
