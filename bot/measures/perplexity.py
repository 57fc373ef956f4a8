"""Perplexity of a model; of the reference, with its log-probabilities for those to be compared.

Formulas of tools/perplexity/perplexity.cpp; `nll` is what its log_softmax() gives, in f32.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.session import Session
from bot.kernels.rows.rowwork import RowKernels
from bot.measures.journal import Journal, Values
from bot.measures.logits import (
    Floats,
    Ints,
    base_bytes,
    nll_of,
    pack,
    room_for_codes,
    width,
    write_base_header,
    write_rows,
)
from bot.measures.passes import Progress, run_pass
from bot.measures.windows import TextWindows
from bot.records.measured import Perplexity


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and its standard error, by llama-perplexity's formula (population variance)."""
    mean = float(values.mean())
    variance = float(np.square(values).mean()) - mean * mean
    if variance <= 0 or len(values) <= 10:
        return mean, 0.0
    return mean, float(np.sqrt(variance / (len(values) - 1)))


def perplexity_of(nll: NDArray[np.floating]) -> Perplexity:
    """exp(mean NLL) and its error by propagation."""
    mean, error = mean_and_error(nll.astype(np.float64))
    value = float(np.exp(mean))
    return Perplexity(value=value, error=value * error)


def measure_perplexity(
    session: Session,
    windows: TextWindows,
    journal: Journal,
    *,
    threads: int,
    progress: Progress,
    kernels: RowKernels | None = None,
) -> Perplexity:
    """Perplexity alone, from where the journal ends."""

    def score(logits: Floats, targets: Ints, *, group: int, row: int, out: Values) -> None:
        del group, row
        out["nll"] = nll_of(logits, targets, kernels)

    start = len(journal.groups)
    run_pass(session, windows, score, journal.add, start=start, threads=threads, progress=progress)
    return perplexity_of(journal.values["nll"])


def reference_perplexity(
    session: Session,
    windows: TextWindows,
    target: Path,
    journal: Journal,
    *,
    threads: int,
    progress: Progress,
    kernels: RowKernels | None = None,
) -> Perplexity:
    """Perplexity of the reference; its log-probabilities go to `target`, a partial file perhaps.

    Goes on where the journal ends, if `target` holds as much.
    """
    rows = windows.together * windows.scored
    done = min(len(journal.groups) * windows.together, len(windows.tokens)) * windows.scored
    row_bytes = 2 * width(session.vocabulary)
    needed = base_bytes(session.vocabulary, windows.context, 0)
    needed += windows.tokens.nbytes + done * row_bytes
    if journal.groups and (not target.is_file() or target.stat().st_size < needed):
        journal.keep(0)
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT, 0o666)  # less the umask
    try:
        if not journal.groups:
            os.ftruncate(descriptor, 0)
            write_base_header(descriptor, session.vocabulary, windows)

        def score(logits: Floats, targets: Ints, *, group: int, row: int, out: Values) -> None:
            packed = room_for_codes(len(logits), session.vocabulary)
            out["nll"] = pack(logits, targets, packed, kernels)
            write_rows(descriptor, packed, group * rows + row, windows)

        def keep(values: Values) -> None:
            os.fsync(descriptor)  # the journal must not know more than the disk does
            journal.add(values)

        start = len(journal.groups)
        run_pass(session, windows, score, keep, start=start, threads=threads, progress=progress)
    finally:
        os.close(descriptor)
    return perplexity_of(journal.values["nll"])
