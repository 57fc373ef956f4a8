"""A page on a ledger with a release in each state, which people who know the token act on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.status.page import VARIABLE
from tests.unit.status.status_page import TOKEN, Page, fill, running_page


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    with running_page(tmp_path) as running:
        fill(running.ledger, time.time())
        yield running
