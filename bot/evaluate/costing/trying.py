"""A short trial of how fast a model reads and writes, as a work for a child (apart/worker.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from bot.apart.voice import Voice
from bot.clients.llama.session import Token
from bot.clients.llama.vocabulary import vocabulary_of
from bot.measures.choices import shared_beginning
from bot.measures.journal import Passing
from bot.measures.opening import Reading
from bot.measures.perplexity import measure_perplexity
from bot.measures.tasks import ChoiceTask
from bot.measures.windows import TextWindows, first_scored, sequences

GROUPS = 3  # of windows that are read; the first warms up
WRITTEN = 9  # tokens that are written; the first warms up


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial took: seconds of each group of windows, and of each token written."""

    group: int  # tokens of a group
    read: tuple[float, ...]
    wrote: tuple[float, ...]


def tried(voice: Voice, reading: Reading, *, context: int) -> Trial:
    """Read windows of any tokens as a perplexity does, then write a few.

    Raises BuildError for a file that llama.cpp cannot load.
    """
    together = sequences(context)
    voice.progress(0, GROUPS)
    session = reading.model.session(
        together * context, sequences=together, unified=False, lanes=reading.lanes
    )
    with session:
        drawn = np.random.default_rng(0).integers(
            0, session.vocabulary, (GROUPS * together, context)
        )
        windows = TextWindows(
            tokens=drawn.astype(np.int32), first=first_scored(context), together=together
        )
        stamps: list[float] = []

        def progress(done: int, total: int) -> None:
            stamps.append(perf_counter())
            voice.progress(done, total)

        measure_perplexity(
            session, windows, Passing(), threads=reading.model.threads,
            progress=progress, kernels=reading.row_kernels(),
        )  # fmt: skip
        session.clear()
        ends = [perf_counter()]
        for position, token in enumerate(drawn[0, :WRITTEN]):
            session.decode([Token(id=int(token), position=position, logits=True)])
            session.wait()
            ends.append(perf_counter())
    read = np.diff(stamps)[1:].tolist()
    return Trial(group=together * context, read=read, wrote=np.diff(ends)[1:].tolist())


def task_tokens(voice: Voice, path: Path, tasks: list[ChoiceTask]) -> int:
    """Tokens that are decoded for tasks: what the answers of one begin with once, and their ends.

    Raises BuildError for a file without a vocabulary.
    """
    voice.progress(0, 1)
    tokens = 0
    with vocabulary_of(path) as words:
        for task in tasks:
            texts = [words.tokenize(text) for text in task.texts]
            prefix = shared_beginning(texts)
            tokens += prefix + sum(len(text) - prefix for text in texts)
    return tokens
