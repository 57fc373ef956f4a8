"""Quantizing kernels on their way into a child, which may only read the folder they lie in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.kernels.choice import LIBRARY_ONLY, Kernels, load, version


def compiled(kernels: Kernels, kinds: Iterable[str]) -> Path | None:
    """The folder with the kernels of some types, compiled and tried; None where there are none."""
    if kernels.folder is None or isinstance(load(), str):
        return None
    for kind in kinds:
        kernels.kernel(kind)
    return kernels.place().absolute()


@contextmanager
def copied(place: Path | None) -> Iterator[Kernels]:
    """Kernels from a folder that `compiled` gave, in a copy that lasts as long as the block."""
    if place is None:
        yield LIBRARY_ONLY
        return
    with tempfile.TemporaryDirectory(prefix="kernels-") as name:
        shutil.copytree(place, Path(name) / version())
        yield Kernels(folder=Path(name))
