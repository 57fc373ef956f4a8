"""Rows of the ledger that are valid JSON, or none, and not what the bot wrote."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.progress import Narrator
from bot.settings.settings import Settings
from bot.store.queue import Queue
from bot.store.sightings import Decided, Sightings
from bot.watcher.explaining import why_decided
from bot.workplace.workplace import Workplace

REPO = "lab/M"
DECIDED = Decided(
    repo=REPO, commit="c" * 40, kind="build", outcome="eligible", reason="x", until=None,
    look_at=None, weights="w", weights_at=1.0, facts={"listed": {"created_at": "2026-01-01"}},
)  # fmt: skip


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    settings = Settings.model_validate({"workdir": tmp_path / "work"})
    made = Workplace(settings, Narrator(quiet=True), None)
    Queue(made.ledger).propose(DECIDED, ["Mini"], 1.0, needs_approval=False)
    return made


FACTS = [
    b"", b"x", zlib.compress(b"{"), zlib.compress(b"[]"), zlib.compress(b"7"),
    zlib.compress(b"[" * 50_000), zlib.compress(b"{}"), zlib.compress(b'{"listed": 7}'),
    zlib.compress(b'{"listed": {}, "release": [], "config": 1, "trouble": "x"}'),
]  # fmt: skip


@pytest.mark.parametrize("facts", FACTS)
def test_facts_that_are_damaged_are_named(workplace: Workplace, facts: bytes) -> None:
    with workplace.ledger.writing() as db:
        db.execute("UPDATE decisions SET facts = ?", (facts,))
    with pytest.raises(SettingsError, match=r"facts of a decision are damaged.*bot retry"):
        why_decided(workplace, REPO)
    Queue(workplace.ledger).memory("lab/Other", "c" * 40, None)  # whose twin it is
    assert Sightings(workplace.ledger).history(REPO)[0].reason == "x"
