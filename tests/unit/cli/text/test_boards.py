"""The status table: everything is there, nothing that is to be copied is cut."""

from __future__ import annotations

import time
from pathlib import Path

from bot.cli.text.boards import board_text
from bot.settings.settings import load
from bot.store.board import board
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from tests.unit.status.status_page import alive, fill

WIDTH = 240  # columns of a terminal that is very wide


def test_an_empty_ledger_says_that_nobody_watches(tmp_path: Path) -> None:
    text = board_text(board(Ledger(tmp_path / "l.sqlite"), load(None), time.time()))
    assert text.splitlines()[:2] == ["no watcher runs", "nothing queued yet; 0 waiting"]


def test_every_state_with_its_age_reason_and_link(tmp_path: Path) -> None:
    ledger, now = Ledger(tmp_path / "l.sqlite"), time.time()
    fill(ledger, now)
    alive(ledger, now)
    Queue(ledger).pause("a new disk", now)
    lines = board_text(board(ledger, load(None), now)).splitlines()
    assert lines[:3] == [
        "PAUSED: a new disk; `bot resume` goes on",
        "watching, last whole look 0 s ago",
        "1 asked, 1 queued, 1 failed; 1 waiting",
    ]
    rows = {line.split()[1]: line.split() for line in lines[3:] if "lab/" in line}
    assert rows["lab/Failed"][0] == "failed"
    assert rows["lab/Failed"][2:6] == ["f" * 8, "1", "min", "1"]
    assert rows["lab/Asked"][0] == "asked"
    assert "lab/Failed  /data/log" in lines
    assert any(line.startswith("lab/Waiting") and "in 10 min" in line for line in lines)
    assert max(map(len, lines)) <= WIDTH
