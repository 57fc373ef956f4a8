"""What is asked of GitHub, and what the local one answers, held against GitHub's own description.

`@octokit/openapi` has github.com's and those of Enterprise servers; nothing of it is kept here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bot.clients.github.github import GithubRepository
from bot.clients.github.github_actions import DETAILS
from bot.clients.github.github_client import connect
from bot.errors import SettingsError
from tests.clients_npm.node import HERE, clients
from tests.local_github.scripted import FILES, Script
from tests.local_github.server import TOKEN, Answered, GitHub, running_github

pytestmark = clients

GENERATED = HERE / "node_modules" / "@octokit" / "openapi" / "generated"
INPUTS = {"model": "lab/x", "revision": "c" * 40, "tiers": "", "delivery": "ab" * 8}


@cache
def described(name: str) -> dict[str, Any]:
    """A description, with `nullable` of OpenAPI 3.0 as JSON Schema says it."""
    found: dict[str, Any] = json.loads((GENERATED / f"{name}.json").read_text(encoding="utf-8"))
    return dict(_translated(found))


def _translated(value: Any) -> Any:
    if isinstance(value, list):
        return [_translated(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {key: _translated(part) for key, part in value.items()}
    if made.pop("nullable", None) is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made


def operation(name: str, answered: Answered) -> dict[str, Any]:
    """What a description says of a method and path."""
    wanted = answered.method.lower()
    for path, methods in described(name)["paths"].items():
        pattern = re.sub(r"\\{path\\}|\{path\}|\{ref\}", "(.+)", path)
        pattern = re.sub(r"\{[^}]+\}", "([^/]+)", pattern)
        if wanted in methods and re.fullmatch(pattern, answered.path):
            return dict(methods[wanted])
    raise AssertionError(f"{name} has no {answered.method} {answered.path}")


def require_valid(name: str, schema: dict[str, Any], body: Any) -> None:
    """A body against a schema of a description."""
    whole = {**schema, "components": described(name)["components"]}
    Draft202012Validator(whole).validate(body)


def resolved(name: str, part: dict[str, Any]) -> dict[str, Any]:
    """A response that may be one of the description's shared ones."""
    if "$ref" not in part:
        return part
    kind, called = part["$ref"].split("/")[-2:]
    return dict(described(name)["components"][kind][called])


def require_described(name: str, answered: Answered) -> None:
    """One request with its answer: path, body, status, and the answer's body."""
    found = operation(name, answered)
    if answered.asked and "requestBody" in found:
        content = found["requestBody"]["content"]["application/json"]
        require_valid(name, content["schema"], json.loads(answered.asked))
    if answered.status >= 400 and str(answered.status) not in found["responses"]:
        # not every refusal is described; of workflow_dispatch none is
        basic = {"$ref": "#/components/schemas/basic-error"}
        require_valid(name, basic, json.loads(answered.body))
        return
    assert str(answered.status) in found["responses"], (answered.method, answered.path)
    told = resolved(name, found["responses"][str(answered.status)]).get("content", {})
    schema = told.get("application/json", {}).get("schema")
    if schema and answered.body:
        require_valid(name, schema, json.loads(answered.body))


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    with running_github(tmp_path, Script()) as running:
        running.repository.push(FILES)
        yield running


def everything(github: GitHub) -> None:
    """All that the bot asks of GitHub."""
    found = GithubRepository(connect(TOKEN, github.url), "me/builds")
    with github.repository.held():
        run_id = found.start("release.yml", "main", INPUTS)
        assert run_id is not None
        found.cancel(run_id)
    found.rerun(run_id, failed=False)
    found.dispatch("apex-bot-release", INPUTS)
    github.repository.wait()
    assert len(found.runs("release.yml", 0.0)) == 2
    found.run(run_id)
    found.log(found.jobs(run_id)[0].id)
    found.runners()
    issue = found.open_issue("t", "b", "l")
    found.edit_issue(issue.number, "c")
    found.issues("l")
    found.issue(issue.number)
    found.may_write("writer")
    found.may_write("nobody")
    with pytest.raises(SettingsError):
        found.start("release.yml", "nowhere", INPUTS)


def test_all_that_is_asked_and_answered_is_as_github_describes_it(github: GitHub) -> None:
    everything(github)
    held = [one for one in github.answered if one.path.startswith("/repos/")]
    assert len(held) > 15
    for answered in held:
        require_described("api.github.com", answered)


@pytest.mark.parametrize("version", ["ghes-3.17", "ghes-3.19"])
def test_an_enterprise_server_is_asked_for_what_it_knows(github: GitHub, version: str) -> None:
    """These do not know the wish for a run's details; the order goes out without it."""
    github.fail("POST", "dispatches$", "422-details")
    found = GithubRepository(connect(TOKEN, github.url), "me/builds")
    assert found.start("release.yml", "main", INPUTS) is None
    first, second = [one for one in github.answered if one.path.endswith("/dispatches")]
    body = operation(version, first)["requestBody"]["content"]["application/json"]["schema"]
    assert DETAILS not in body["properties"]
    assert DETAILS in json.loads(first.asked)
    assert set(json.loads(second.asked)) <= set(body["properties"])
    require_described(version, second)
