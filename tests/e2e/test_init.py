"""`bot init` against a local GitHub and into a checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.actions.install import PLACES, RECORD, RELEASE, SINGLE
from tests.e2e.road import Road
from tests.local_github.server import TOKEN, GitHub


@pytest.fixture
def road(tmp_path: Path, github: GitHub) -> Road:
    made = Road(folder=tmp_path, url="http://127.0.0.1:9", token="")
    made.settings(github={"api_url": github.url})
    return made


@pytest.mark.road
def test_a_pull_request_is_opened_merged_and_later_renewed(road: Road, github: GitHub) -> None:
    repository = github.repository
    repository.branches["main"].clear()
    repository.push({"README.md": b"mine\n"})
    would = road.bot("init", "me/builds", "--dry-run", GITHUB_TOKEN=TOKEN)
    assert would.returncode == 0, would.stderr
    assert (repository.pulls, set(repository.branches)) == ([], {"main"})

    done = road.bot("init", "me/builds", "--json", GITHUB_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    [pull] = repository.pulls
    assert json.loads(done.stdout)["where"].endswith(f"/pull/{pull.number}")
    assert "hub-publish" in repository.branches[pull.head]["APEX-BOT.md"].decode()
    assert set(repository.branches["main"]) == {"README.md"}  # nothing until it is merged
    assert road.bot("init", "me/builds", GITHUB_TOKEN=TOKEN).returncode == 0
    assert len(repository.pulls) == 1
    pull.body = "older words"
    repository.branches[pull.head]["bot.yaml"] = b"older: 1\n"
    assert road.bot("init", "me/builds", GITHUB_TOKEN=TOKEN).returncode == 0
    assert "Nothing runs until this is merged" in pull.body
    assert b"workdir" in repository.branches[pull.head]["bot.yaml"]
    assert len(repository.pulls) == 1

    repository.merge(pull.number)
    assert set(repository.branches["main"]) == {"README.md", RECORD, *PLACES} - {SINGLE}
    assert "nothing to do" in road.bot("init", "me/builds", GITHUB_TOKEN=TOKEN).stdout
    mended = repository.branches["main"][RELEASE].decode()
    older = mended.replace("timeout-minutes: 2880", "timeout-minutes: 99")  # of an older version
    mine = older.replace("runs-on: [self-hosted, gpu]", "runs-on: [self-hosted, a100]", 1)
    record = json.loads(repository.branches["main"][RECORD])
    record["files"][RELEASE] = older
    repository.push({RELEASE: mine.encode(), RECORD: json.dumps(record).encode()})

    done = road.bot("init", "me/builds", "--upgrade", GITHUB_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert len(repository.pulls) == 2
    repository.merge(repository.pulls[-1].number)
    renewed = repository.branches["main"][RELEASE].decode()
    assert "timeout-minutes: 2880" in renewed
    assert "runs-on: [self-hosted, a100]" in renewed
    assert "nothing to do" in road.bot("init", "me/builds", "--upgrade", GITHUB_TOKEN=TOKEN).stdout


@pytest.mark.road
def test_a_checkout_gets_the_files_for_one_runner(road: Road) -> None:
    checkout = road.folder / "builds"
    refused = road.bot("init", str(road.folder))
    assert refused.returncode == 3
    assert "is no checkout" in refused.stderr
    (checkout / ".git").mkdir(parents=True)
    done = road.bot("init", str(checkout), "--single")
    assert done.returncode == 0, done.stderr
    assert (checkout / SINGLE).is_file()
    assert not (checkout / RELEASE).exists()
    assert road.bot("config", "check", str(checkout / "bot.yaml")).returncode == 0
    assert road.bot("init", str(checkout), "--upgrade").stdout == "nothing to do\n"


@pytest.mark.road
def test_without_a_token_or_a_repository_it_is_said(road: Road) -> None:
    missing = road.bot("init", "me/builds", GITHUB_TOKEN="")
    assert (missing.returncode, "GITHUB_TOKEN is not set" in missing.stderr) == (6, True)
    assert road.bot("init", "nothing").returncode == 3
    assert road.bot("init", "me/other", GITHUB_TOKEN=TOKEN).returncode == 6
