"""Whether a conversation whose middle was changed is continued as if it were new.

A server keeps what it decoded: when a turn is edited or taken out, it keeps the part before, drops
the rest from llama.cpp's memory and decodes what follows (`n_past` and `llama_memory_seq_rm` in
tools/server/server-context.cpp). A recurrent memory cannot drop the end of what it read; then all
is decoded again. Either way the logits have to be those of a run that never saw the old text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.session import Batch, Session
from bot.errors import BuildError
from bot.records.measured import MemoryEdit

Doubles = NDArray[np.float64]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)


def after_edit(session: Session, before: Sequence[int], after: Sequence[int]) -> MemoryEdit:
    """The largest divergence of the next token, nats, of the kept memory from a fresh run's.

    Both decode the common part in one batch, and what follows in another: a sum that is rounded
    otherwise may send a token to another expert, which is no fault of a memory.
    Infinite where the library refuses to go on from what it kept.
    """
    kept = min(common(before, after), len(after) - 1)
    session.clear()
    if kept:
        _read(session, after[:kept], 0)
    fresh = log_probabilities(_read(session, after[kept:], kept))
    session.clear()
    for part, start in ((before[:kept], 0), (before[kept:], kept)):
        if part:
            _read(session, part, start)
    dropped = session.forget_from(kept)
    if not dropped:
        session.clear()
        if kept:
            _read(session, after[:kept], 0)
    try:
        edited = log_probabilities(_read(session, after[kept:], kept))
    except BuildError:
        return MemoryEdit(tokens=len(after) - kept, kept=kept, dropped=dropped, worst=None)
    worst = float(np.max(np.sum(np.exp(fresh) * (fresh - edited), axis=1)))
    return MemoryEdit(
        tokens=len(after) - kept, kept=kept, dropped=dropped,
        worst=max(worst, 0.0) if np.isfinite(worst) else None,
    )  # fmt: skip


def log_probabilities(logits: NDArray[np.float32]) -> Doubles:
    """Of each row of logits, in f64."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values


def _read(session: Session, tokens: Sequence[int], start: int) -> NDArray[np.float32]:
    ids = np.array([tokens], np.int32)
    return session.decode(Batch.rows(ids, 0, start=start)).copy()
