"""One pass of a model over a text: a group is decoded while the last one's logits are worked on.

A session with two lanes overlaps the two, on a CPU too: where threads wait in the one there is work
in the other. With one lane they take turns, in the memory of one context.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from bot.clients.llama.session import Session
from bot.errors import BuildError
from bot.measures.journal import Values, empty
from bot.measures.logits import Floats, Ints, rows_at_once
from bot.measures.windows import TextWindows

BLOCKS = 8  # pieces of a cache's size that a thread takes together: handing over costs time too
Progress = Callable[[int, int], None]  # windows done, windows in all


class Score(Protocol):
    """Scores some rows of logits, [rows, vocabulary], on any thread."""

    def __call__(self, logits: Floats, targets: Ints, *, group: int, row: int, out: Values) -> None:
        """Fill `out`, one value a row; `row` is the first row's place in the group."""


class Running:
    """The rows of one group in work; `wait` for their values."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        session: Session,
        windows: TextWindows,
        group: int,
        logits: Floats,
        score: Score,
    ) -> None:
        self._name, self._windows, self._group = session.path.name, windows, group
        targets = windows.targets(group)
        self._values = empty(len(targets))
        per_window, block = windows.scored, rows_at_once(logits.shape[1])
        window_logits = logits.reshape(-1, per_window + 1, logits.shape[1])

        def work(window: int, first: int, last: int) -> None:
            for start in range(first, last, block):
                stop, before = min(start + block, last), window * per_window
                at = slice(before + start, before + stop)
                rows, out = window_logits[window, start:stop], self._values[at]
                score(rows, targets[at], group=group, row=before + start, out=out)

        step = block * BLOCKS
        self._work = [
            pool.submit(work, window, first, min(first + step, per_window))
            for window in range(len(window_logits))
            for first in range(0, per_window, step)
        ]

    def wait(self) -> Values:
        """The group's values. Raises what a thread raised, and BuildError for NaN."""
        for work in self._work:
            work.result()
        for name in ("nll", "kld"):
            wrong = np.flatnonzero(~np.isfinite(self._values[name]))
            if len(wrong):
                window, place = divmod(int(wrong[0]), self._windows.scored)
                chunk = self._group * self._windows.together + window + 1
                raise BuildError(
                    f"{self._name} gives logits that are no numbers (NaN or infinity) in chunk "
                    f"{chunk} at position {self._windows.first + place}; make the file again"
                )
        return self._values


def run_pass(
    session: Session,
    windows: TextWindows,
    score: Score,
    keep: Callable[[Values], None],
    *,
    start: int = 0,
    threads: int,
    progress: Progress,
) -> None:
    """Decode the groups from `start` on; `keep` gets each one's values, in order.

    Raises BuildError as `Session.decode` and `Running.wait` do; what was kept stays whole.
    """
    lanes, total = session.lanes, len(windows.tokens)
    with ThreadPoolExecutor(threads) as pool:
        last: Running | None = None
        for group in range(start, windows.groups):
            progress(group * windows.together, total)
            logits = decode(session, windows, group, group % lanes)
            if last:
                keep(last.wait())
            last = Running(pool, session, windows, group, logits, score)
            if lanes == 1:
                keep(last.wait())
                last = None
        if last:
            keep(last.wait())
    progress(total, total)


def decode(session: Session, windows: TextWindows, group: int, lane: int = 0) -> Floats:
    """Logits of a group from its first scored position on, [rows, vocabulary]."""
    session.clear(lane)
    return session.decode(windows.batch(group, session.bos), lane)
