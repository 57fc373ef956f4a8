"""The verbs around the watcher, over a ledger and without one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli.main import cli
from bot.errors import SettingsError, SourceError
from bot.store.ledger import Ledger
from tests.unit.cli.running import bot
from tests.unit.status.status_page import fill


def test_mistakes_of_settings_are_one_document(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("workdr: x\nwatch: {pages: 3}\n")
    done = CliRunner().invoke(cli, ["config", "check", str(file), "--json"])
    assert done.exit_code == 3
    mistakes = json.loads(done.stdout)["mistakes"]
    assert [(mistake["line"], mistake["key"]) for mistake in mistakes] == [
        (1, "workdr"),
        (2, "watch.pages"),
    ]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose ledger has a release in each state."""
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    fill(Ledger(tmp_path / "work" / "ledger.sqlite"), time.time())
    return tmp_path / "work"


def counts() -> dict[str, int]:
    by_state: dict[str, int] = json.loads(bot("status", "--json"))["counts"]
    return by_state


@pytest.mark.usefixtures("work")
def test_people_approve_retry_and_ignore() -> None:
    assert counts() == {"asked": 1, "queued": 1, "failed": 1}
    assert bot("approve", "lab/Asked") == f"lab/Asked at {'a' * 12} is queued\n"
    again = json.loads(bot("retry", "lab/Failed", "--json"))
    assert again == {"repo": "lab/Failed", "commit": "f" * 40, "state": "queued"}
    assert bot("ignore", "lab/Queued", "--because", "a copy") == "lab/Queued is ignored\n"
    assert counts() == {"queued": 2, "ignored": 1}
    assert "looked at again" in bot("retry", "lab/Waiting")
    with pytest.raises(SourceError):
        bot("approve", "lab/Never")


@pytest.mark.usefixtures("work")
def test_the_status_shows_pauses_and_an_explanation_what_was_decided() -> None:
    assert bot("pause", "--because", "a new disk") == "paused\n"
    assert bot("status").startswith("PAUSED: a new disk")
    bot("resume")
    assert "PAUSED" not in bot("status")
    past = [json.loads(line) for line in bot("watch", "--explain", "--json").splitlines()]
    assert ("lab/Waiting", "wait") in [(row["repo_id"], row["decision"]) for row in past]
    assert "lab/Waiting@dddddddd" in bot("watch", "--explain")
    assert bot("watch", "--explain", "--since", "0m") == ""
    with pytest.raises(SourceError, match="was never seen"):
        bot("why", "lab/Never")


@pytest.mark.parametrize("text", ["1", "d", "", "xd", "1y"])
def test_a_length_of_time_has_a_number_and_a_unit(text: str) -> None:
    assert "write a length of time as 90m" in bot("watch", "--explain", "--since", text, code=2)


def test_a_ledger_is_copied_once(work: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    assert json.loads(bot("db", "backup", str(copy), "--json")) == {"file": str(copy)}
    assert Ledger(copy).path.stat().st_size > 0
    assert work.is_dir()
    with pytest.raises(SettingsError, match="name another file"):
        bot("db", "backup", str(copy))


def test_what_is_old_is_told_and_then_forgotten(work: Path) -> None:
    ledger = Ledger(work / "ledger.sqlite")
    with ledger.writing() as db:
        db.execute("UPDATE events SET at = 1.0")
    told = json.loads(bot("db", "prune", "--dry-run", "--json"))
    assert (told["events"], told["dry_run"]) == (5, True)
    assert bot("db", "prune", "--dry-run").startswith("0 decisions, 0 vanished releases, 5 events")
    assert json.loads(bot("db", "prune", "--older", "2d", "--json"))["events"] == 5
    assert "0 events, 0 notes and 0 steps are gone" in bot("db", "prune")
    assert len(counts()) == 3  # the queue is as it was
    assert "keep two days" in bot("db", "prune", "--older", "1d", code=2)


def test_who_keeps_everything_says_what_is_old(work: Path) -> None:
    (work.parent / "bot.yaml").write_text("watch: {keep_days: null}\n")
    with pytest.raises(SettingsError, match="say --older"):
        bot("db", "prune")
    assert bot("db", "prune", "--older", "9d").startswith("0 decisions")


def test_settings_that_are_right_and_their_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bot.yaml").write_text("workdir: here\n")
    assert bot("config", "check") == "bot.yaml is right\n"
    schema = json.loads(bot("config", "schema"))
    assert "workdir" in schema["properties"]
    assert "tiers" in json.loads(bot("config", "schema", "--results"))["properties"]
    assert "| `workdir` |" in bot("config", "schema", "--table")
