"""The local GitHub itself, asked by github3: what `bot init` and a workflow's title need."""

from __future__ import annotations

from typing import Any

import pytest

from bot.clients.github.github_client import connect
from tests.local_github.repository import FOLDER, Run
from tests.local_github.server import TOKEN, GitHub
from tests.local_github.workflow import evaluated, parsed


@pytest.fixture
def repo(github: GitHub) -> Any:
    """The repository as github3 sees it."""
    return connect(TOKEN, github.url).repository("me", "builds")


def test_files_go_through_a_branch_and_a_pull_request(repo: Any, github: GitHub) -> None:
    head = repo.ref(f"heads/{repo.default_branch}").object.sha
    repo.create_ref("refs/heads/apex-bot/init", head)
    made = repo.create_file("bot.yaml", "Settings", b"watch: {}\n", branch="apex-bot/init")
    assert made["commit"].sha
    found = repo.file_contents("bot.yaml", "apex-bot/init")
    assert found.decoded == b"watch: {}\n"
    found.update("Others", b"watch: {page: 3}\n", branch="apex-bot/init")
    pull = repo.create_pull("apex-bot", "main", "apex-bot/init", "A text")
    assert [p.number for p in repo.pull_requests(state="open", head="me:apex-bot/init")] == [
        pull.number
    ]
    assert "bot.yaml" not in github.repository.branches["main"]
    github.repository.merge(pull.number)
    assert repo.file_contents("bot.yaml", "main").decoded == b"watch: {page: 3}\n"
    assert list(repo.pull_requests(state="open")) == []
    assert len(list(repo.pull_requests(state="all"))) == 1


@pytest.mark.parametrize("name", ["heads/none", "heads/main/more"])
def test_what_is_not_there_is_said(repo: Any, name: str) -> None:
    with pytest.raises(Exception, match="404 Not Found"):
        repo.ref(name)


def test_what_stands_in_the_way_is_said(repo: Any) -> None:
    head = repo.ref("heads/main").object.sha
    with pytest.raises(Exception, match="422 Reference already exists"):
        repo.create_ref("refs/heads/main", head)
    repo.create_file("a", "m", b"1", branch="main")
    with pytest.raises(Exception, match="422"):
        repo.create_file("a", "m", b"2", branch="main")
    old = repo.file_contents("a", "main")
    repo.file_contents("a", "main").update("m", b"3", branch="main")
    with pytest.raises(Exception, match="409"):
        old.update("m", b"4", branch="main")


def test_the_parts_of_a_workflow_that_github_reads(github: GitHub) -> None:
    file = parsed(github.repository.branches["main"][f"{FOLDER}/release.yml"])
    event = {"inputs": {"delivery": "d" * 16, "model": "lab/M"}}
    assert file.title(event) == f"apex-bot {'d' * 16} lab/M"
    assert file.title({"client_payload": event["inputs"]}) == f"apex-bot {'d' * 16} lab/M"
    assert file.group_of(event) == "release-lab/M"
    assert file.labels("prepare") == ["self-hosted", "gpu"]
    assert evaluated("${{ inputs.none || 'all' }}", event) == "all"
    more = parsed(b'on: push\njobs: {a: {runs-on: "${{ fromJSON(vars.X || \'[\\"gpu\\"]\') }}"}}')
    assert more.labels("a") == ["gpu"]
    assert more.triggers == {"push": None}


def test_of_a_group_one_runs_and_the_newest_waits(github: GitHub) -> None:
    event = {"inputs": {"delivery": "d" * 16, "model": "lab/M"}}

    def begin() -> Run:
        return github.repository.begin("release.yml", "workflow_dispatch", event, "main")

    with github.repository.held():
        runs = [begin()]
        runs[0].status = "in_progress"
        runs += [begin(), begin()]
        assert [run.conclusion for run in runs] == [None, "cancelled", None]
        runs[0].status = "queued"
    github.repository.wait()
    assert [run.conclusion for run in runs] == ["success", "cancelled", "success"]
