"""Calibrating and fitting as works for a child process (apart/worker.py): models are strangers'."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import numpy as np

from bot.apart.voice import Voice
from bot.clients.files.gguf import read_split
from bot.clients.llama.session import Loading
from bot.fitting.work import FitOrder, Known, fit_all
from bot.kernels.rows.rowwork import loaded
from bot.measures.passes import decode
from bot.measures.windows import TextWindows, first_scored, sequences
from bot.quantize import calibrate
from bot.quantize.calibrate import Portion, Savepoint
from bot.quantize.imatrix import read_matrix
from bot.quantize.quantize import Importance
from bot.records.sensitivity import Fitted


def calibrated(
    voice: Voice,
    model: Loading,
    target: Path,
    texts: list[Portion],
    *,
    context: int,
    chunks: int | None,
    batch: int,
    checkpoint: Savepoint,
    kernels: Path | None,
) -> list[int]:
    """An importance matrix in `target`; chunks taken of each text.

    `kernels` is the folder of kernels on rows; None: NumPy adds up.
    """
    chunk_counts = calibrate.collect_matrix(
        model,
        target,
        texts=texts,
        context=context,
        chunks=chunks,
        batch=batch,
        checkpoint=checkpoint,
        progress=voice.progress,
        kernels=None if kernels is None else loaded(kernels),
    )
    return list(chunk_counts)


def fitted(
    voice: Voice, model: Loading, order: FitOrder, matrix: Path, known: Known
) -> list[Fitted]:
    """Types for each size that is asked for, by probes in place: see bot/fitting/work.py."""
    tensors = read_split(model.path).tensors
    importance = Importance(read_matrix(matrix).of(tensors))
    return fit_all(voice, model, order, importance, known)


def seconds_of_group(voice: Voice, model: Loading, *, context: int) -> float:
    """How long the model takes for a group of windows of any tokens, once it is warm."""
    voice.progress(0, 1)
    together = sequences(context)
    with model.session(together * context, sequences=together, unified=False) as session:
        tokens = np.random.default_rng(0).integers(0, session.vocabulary, (2 * together, context))
        windows = TextWindows(
            tokens=tokens.astype(np.int32), first=first_scored(context), together=together
        )
        decode(session, windows, 0)
        start = monotonic()
        decode(session, windows, 1)
        return monotonic() - start
