"""Groups that cannot begin; groups that are made: tests/e2e/test_workflows.py."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bot.errors import BotError, SourceError
from bot.jobs.grouping import quantize_group, quantize_groups
from bot.jobs.orders import Folder
from bot.progress import Narrator
from bot.settings.settings import load
from bot.workplace.workplace import Workplace
from tests.unit.jobs.test_orders import COMMIT, prepared


def begun(tmp_path: Path) -> tuple[Workplace, Folder, io.StringIO]:
    """A machine that prepared an order whose model is gone."""
    narrated = io.StringIO()
    workplace = Workplace(load(None, workdir=tmp_path / "work"), Narrator(narrated), None)
    folder = Folder(workplace.folders.order("lab/Model", COMMIT))
    folder.write(prepared())
    folder.open_ledger("prepare")
    return workplace, folder, narrated


@pytest.mark.parametrize("number", [0, 3])
def test_a_group_that_there_is_not_is_named_with_those_that_there_are(
    tmp_path: Path, number: int
) -> None:
    workplace, folder, _ = begun(tmp_path)
    with pytest.raises(SourceError, match=f"no group {number}; take one of 1 to 2"):
        quantize_group(workplace, folder, folder.sentinel, number)


def test_a_group_that_fails_stops_no_other_and_the_first_failure_is_raised(tmp_path: Path) -> None:
    workplace, folder, narrated = begun(tmp_path)
    with pytest.raises(BotError) as first:
        quantize_groups(workplace, folder, folder.sentinel)
    lines = [line for line in narrated.getvalue().splitlines() if "group " in line]
    assert len(lines) == 2
    assert f"group 1: {first.value}" in lines[0]
    assert "group 2: " in lines[1]
