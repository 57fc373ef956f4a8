"""A ledger whose every row holds something else: all is done again, with the same outcome."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.road import Road

VALUES = ("7", "[]", "{}", '{"value": {}}', '"x"', "[[]]", "null")


@pytest.mark.road
def test_all_is_done_again(tmp_path: Path, demo_model: Path, work: Path) -> None:
    road = Road(folder=tmp_path, url="http://127.0.0.1:9", token="")
    road.settings()
    (results,) = work.glob("jobs/*/release/results.json")
    before = json.loads(results.read_text())
    db = sqlite3.connect(work / "ledger.sqlite")
    rows = db.execute("SELECT rowid, files FROM work ORDER BY rowid").fetchall()
    for number, (row, as_were) in enumerate(rows):
        value = VALUES[number % len(VALUES)]
        files = "[]" if number % 2 else as_were
        db.execute("UPDATE work SET value = ?, files = ? WHERE rowid = ?", (value, files, row))
    db.commit()
    db.close()
    names = ",".join(tier["name"] for tier in before["tiers"])
    done = road.bot("evaluate", str(demo_model), "--profiles", names)
    assert done.returncode == 0, done.stderr
    after = json.loads(results.read_text())
    hashes = [[tier["sha256"] for tier in one["tiers"]] for one in (before, after)]
    assert hashes[0] == hashes[1]
