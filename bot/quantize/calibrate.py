"""Text through the model → an importance matrix, with checkpoints on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.observer import Observer, Stats
from bot.clients.llama.session import Loading, Session
from bot.disk.writing import writing
from bot.errors import SettingsError, SourceError
from bot.kernels.rows.rowwork import RowKernels
from bot.quantize import imatrix
from bot.quantize.mixture import Pick, mix
from bot.records.coding import digest

KEY = "bot.calibration"  # of a checkpoint's metadata: what it belongs to
MOST_SEQUENCES = 256  # LLAMA_MAX_SEQ, llama-cparams.h
EXACT = 1 << 24  # counts are stored as f32, which is exact as far as this


@dataclass(frozen=True, kw_only=True)
class Portion:
    """One text of the mix. `name` goes into the file's metadata: it must hold no local path."""

    name: str
    text: str
    weight: float | None = None


@dataclass(frozen=True, kw_only=True)
class Savepoint:
    """A file that keeps the sums every `every` chunks; `key` is of all that decides them."""

    path: Path
    every: int
    key: str


def collect_matrix(
    model: Loading,
    target: Path,
    *,
    texts: Sequence[Portion],
    context: int,
    chunks: int | None,
    batch: int = 2048,
    checkpoint: Savepoint | None = None,
    progress: Callable[[int, int], None],
    kernels: RowKernels | None = None,
) -> tuple[int, ...]:
    """Decode `texts` through `model` and write its importance matrix; chunks taken of each text.

    `batch` tokens are decoded together, as llama-imatrix does with its default of 2048: with the
    same batch sums are equal to the bit on the same machine. Every token's logits are asked for,
    since llama.cpp leaves out the last layer's work for the others. `kernels`, where there are
    some, add up on the model's threads, with the same bits.
    Raises SettingsError for texts that are too short, BuildError as `Session` does.
    """
    sequences = min(max(1, batch // context), MOST_SEQUENCES)
    adding = None if kernels is None else kernels.squares(model.threads)
    observer, names = Observer(adding), [text.name for text in texts]
    room = {"sequences": sequences, "unified": False, "observer": observer}
    with model.session(sequences * context, **room) as session:
        tokens = _tokens(session, texts, context)
        picks = mix([len(rows) for rows in tokens], [text.weight for text in texts], chunks)
        key = digest([names, picks, context, batch, checkpoint and checkpoint.key])
        done = noted = _resume(observer, checkpoint, key)
        while done < len(picks):
            progress(done, len(picks))
            abreast = [tokens[text][chunk] for text, chunk in picks[done : done + sequences]]
            _decode(session, np.stack(abreast), batch)
            done += len(abreast)
            if checkpoint and done < len(picks) and done - noted >= checkpoint.every:
                _note(observer.stats, checkpoint, key, done, context)
                noted = done
    progress(len(picks), len(picks))
    imatrix.write_matrix(target, observer.stats, names, len(picks), context)
    if checkpoint:
        checkpoint.path.unlink(missing_ok=True)
    return _chunk_counts(picks, len(texts))


def _tokens(
    session: Session, texts: Sequence[Portion], context: int
) -> tuple[NDArray[np.int32], ...]:
    """Each text's whole chunks, [chunks, context]."""
    chunks = []
    for text in texts:
        tokens = np.array(session.tokenize(text.text), np.int32)
        count = len(tokens) // context
        if count == 0:
            raise SettingsError(
                f"{text.name} has {len(tokens)} tokens, less than one chunk of {context}; "
                "name a longer text"
            )
        chunks.append(tokens[: count * context].reshape(count, context))
    if sum(map(len, chunks)) < 2:
        raise SettingsError(
            f"the calibration text has less than two chunks of {context} tokens; name a longer one"
        )
    return tuple(chunks)


def _decode(session: Session, chunks: NDArray[np.int32], batch: int) -> None:
    """Chunks [sequences, context] side by side from an empty memory, each begun with BOS."""
    session.clear()
    if session.bos is not None:
        chunks[:, 0] = session.bos
    for start in range(0, chunks.shape[1], batch):
        session.decode_side_by_side(chunks[:, start : start + batch], start)


def _chunk_counts(picks: Sequence[Pick], texts: int) -> tuple[int, ...]:
    return tuple(sum(text == number for text, _ in picks) for number in range(texts))


def _note(
    statistics: dict[str, Stats], checkpoint: Savepoint, key: str, done: int, context: int
) -> None:
    """Write the sums so far as an importance matrix, with the key of the work they belong to."""
    if any(tensor.counts.max() >= EXACT for tensor in statistics.values()):
        return  # sums would go on exactly, counts would not
    with writing(checkpoint.path) as partial:
        imatrix.write_matrix(partial, statistics, (), done, context, ((KEY, key),))


def _resume(observer: Observer, checkpoint: Savepoint | None, key: str) -> int:
    """Restore the sums of a checkpoint of the same key; chunks that are done, 0 without one."""
    if checkpoint is None or not checkpoint.path.is_file():
        return 0
    try:
        matrix = imatrix.read_matrix(checkpoint.path)
    except SourceError:
        return 0  # of another version, or damaged: it only saves time
    if matrix.key != key:
        return 0
    observer.restore(
        {
            name: Stats(np.array(sums), matrix.counts[name].astype(np.int64))
            for name, sums in matrix.sums.items()
        }
    )
    return matrix.chunks
