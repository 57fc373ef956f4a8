"""What a step tells people, a log and later jobs of a workflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.disk.folders import Folders
from bot.errors import CapacityError, SourceError
from bot.jobs.orders import Folder
from tests.unit.cli.running import bot
from tests.unit.jobs.test_orders import COMMIT, prepared


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "APEX_RELEASE", "APEX_SENTINEL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "work"


def test_a_run_without_an_order_reports_that_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    assert "Nothing was prepared" in bot("step", "report", code=1)
    assert "Nothing was prepared" in (tmp_path / "summary").read_text()
    account = json.loads(bot("step", "report", "--count", "0", "--json"))
    assert account == {"good": True, "text": "All of it was published before.\n", "waiting": False}


def test_a_report_names_each_tier_with_its_job(work: Path) -> None:
    folder = Folder(Folders(work).order("lab/Model", COMMIT))
    folder.write(prepared())
    order = ("--release", folder.name, "--sentinel", folder.sentinel)
    text = bot("step", "report", *order, code=1)
    assert "| Quality | 2 | **failed or not reached** |" in text
    assert bot("step", "clean", *order) == "removed unfinished files\n"
    with pytest.raises(CapacityError, match="not what the job `prepare` wrote"):
        bot("step", "report", "--release", folder.name, "--sentinel", "0" * 64)


@pytest.mark.parametrize("release", ["../x", "a/b", "-x"])
def test_a_release_that_is_no_name_is_refused(release: str) -> None:
    with pytest.raises(SourceError, match="is no release"):
        bot("step", "describe", f"--release={release}", "--sentinel", "0" * 64)


def test_what_is_no_order_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(SourceError, match="is no tier"):
        bot("step", "prepare", "--model", "lab/Model", "--tiers", "I-Mini,$(id)")
