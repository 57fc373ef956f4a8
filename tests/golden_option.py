"""The option that rewrites golden files; the root conftest registers it."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest --update-golden`, whose difference a person reviews."""
    parser.addoption(
        "--update-golden", action="store_true", help="Write golden files instead of comparing."
    )
