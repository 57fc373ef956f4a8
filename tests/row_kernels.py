"""Kernels on rows for tests: compiled once for all processes of a run."""

from pathlib import Path

import pytest

from bot.kernels.choice import Kernels
from bot.kernels.rows.rowwork import prepared
from tests.demo_files import once


def compiled_rows(factory: pytest.TempPathFactory) -> Path:
    """The folder that `prepared` makes."""

    def compile_in(folder: Path) -> None:
        prepared(Kernels(folder=folder))

    place = prepared(Kernels(folder=once(factory, "row-kernels", compile_in)))
    assert place
    return place
