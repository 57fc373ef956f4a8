"""Kernels on rows for tests: compiled once for all processes of a run."""

from pathlib import Path

import pytest

from bot.kernels.choice import Kernels
from bot.kernels.rows.rowwork import prepared
from tests.demo_files import once


def compiled_rows(factory: pytest.TempPathFactory) -> Path:
    """The folder that `prepared` makes."""

    place = prepared(Kernels(folder=workdir_with_rows(factory) / "kernels"))
    assert place
    return place


def workdir_with_rows(factory: pytest.TempPathFactory) -> Path:
    """A workdir in which they are compiled."""

    def compile_in(folder: Path) -> None:
        prepared(Kernels(folder=folder / "kernels"))

    return once(factory, "row-kernels", compile_in)
