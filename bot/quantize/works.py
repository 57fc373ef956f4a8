"""Calibration as a work for a child process (apart/worker.py): the model is a stranger's."""

from __future__ import annotations

from pathlib import Path

from bot.apart.voice import Voice
from bot.clients.llama.loading import Loading
from bot.kernels.rows.rowwork import loaded
from bot.quantize import calibrate
from bot.quantize.calibrate import Portion, Savepoint


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
