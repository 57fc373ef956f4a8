"""Kernels on rows for tests: compiled once for all processes of a run."""

from pathlib import Path

import pytest

from bot.kernels.choice import Kernels
from bot.kernels.rows.rowwork import prepared
from tests.demo_files import once


def compiled_rows(factory: pytest.TempPathFactory) -> Path:
    """The folder that `prepared` makes."""
    folder = once(factory, "row-kernels", lambda made: prepared(Kernels(folder=made)))
    place = prepared(Kernels(folder=folder))
    assert place
    return place
