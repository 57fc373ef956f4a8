"""Kernels as every test of this room has them: compiled once, of this very source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bot.kernels.choice import Kernels
from bot.kernels.kernel import Kernel
from bot.kernels.rows.rowwork import prepared

FOLDER = Path("of the suite")  # NUMBA_CACHE_DIR of tests/conftest.py goes before it


@pytest.fixture(scope="session")
def rows_place() -> Path:
    """The folder of kernels on rows."""
    place = prepared(Kernels(folder=FOLDER))
    assert place is not None
    return place


@pytest.fixture(scope="session")
def kernel() -> Callable[[str], Kernel]:
    """The kernel of a type, which must be one that is used."""

    def made(kind: str) -> Kernel:
        found = Kernels(folder=FOLDER).kernel(kind)
        assert found is not None, Kernels(folder=FOLDER).reasons()[kind]
        return found

    return made
