"""Quantizing some tiers in a process that counts its steps, and ends itself by SIGKILL at one.

`python -m tests.stepping MODEL FOLDER STEP DELAY TIER,TIER`: a step is a write, a wait for the
disk, a renaming or a removal; each wait takes DELAY seconds more. Prints how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bot.build import onepass
from tests.unit.build.test_onepass import matrix_for, wanted_tiers

COUNTED = ("pwrite", "fsync", "replace", "unlink")


class Steps:
    """Counts calls of some of the system's functions."""

    def __init__(self, last: int, delay: float) -> None:
        self.last, self.delay, self.made = last, delay, 0
        self._lock = threading.Lock()
        for name in COUNTED:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            with self._lock:
                self.made += 1
                if self.made == self.last:
                    os.kill(os.getpid(), signal.SIGKILL)
            if name == "fsync" and self.delay:
                time.sleep(self.delay)
            return call(*given, **named)

        return counted


def main(model: str, folder: str, step: str, delay: str, tiers: str) -> None:
    """Make the tiers, noting how far it is after each tensor."""
    onepass.NOTE_EVERY = onepass.KEEP_EVERY = 0.0
    source = Path(model)
    wanted = wanted_tiers(source, Path(folder), matrix_for(source), *tiers.split(","))
    steps = Steps(int(step), float(delay))
    onepass.quantize_all(
        source, wanted, threads=1, memory=1 << 30, progress=lambda _done, _all, _words: None
    )
    print(steps.made)  # noqa: T201 - what whoever started this process wants


if __name__ == "__main__":
    main(*sys.argv[1:])
