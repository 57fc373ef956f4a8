"""GitHub's answers, parsed strictly."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bot.clients.github.github_replies import Editors, RunJob, Runner

RUNNER = {"name": "box", "status": "online", "busy": False,
          "labels": [{"name": "self-hosted"}, {"name": "GPU"}]}  # fmt: skip
JOB = {"id": 7, "name": "build", "status": "queued", "conclusion": None, "html_url": None,
       "runner_name": None}  # fmt: skip


def test_a_runner_takes_jobs_whose_labels_it_has() -> None:
    runner = Runner.model_validate(RUNNER | {"os": "linux"})
    assert runner.online
    assert runner.takes(())
    assert runner.takes(("gpu", "Self-Hosted"))
    assert not runner.takes(("gpu", "arm64"))
    assert not Runner.model_validate(RUNNER | {"status": "offline"}).online


@pytest.mark.parametrize(
    "wrong", [{"name": "x" * 401}, {"busy": "maybe"}, {"labels": None}, {"labels": ["GPU"]}]
)
def test_what_is_no_runner_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Runner.model_validate(RUNNER | wrong)


def test_lists_of_a_waiting_job_may_be_null() -> None:
    job = RunJob.model_validate(JOB | {"labels": None, "steps": None})
    assert (job.labels, job.steps) == ((), ())
    with pytest.raises(ValidationError):
        RunJob.model_validate(JOB | {"id": -1})


def test_editors_of_an_issue() -> None:
    nodes = [
        {"editedAt": "2026-11-02T10:00:00Z", "editor": {"login": "alice"}},
        {"editedAt": "2026-11-03T10:00:00Z", "editor": None},
    ]
    issue = {"issue": {"userContentEdits": {"nodes": nodes}}}
    editors = Editors.of({"data": {"viewer": {"login": "bot"}, "repository": issue}})
    assert (editors.viewer, [edit.login for edit in editors.edits]) == ("bot", ["alice", None])
    alone = Editors.of({"data": {"viewer": {"login": "bot"}, "repository": None}})
    assert alone.edits == ()
    for answer in ({}, {"data": None}, {"data": {"viewer": None}}):
        with pytest.raises(ValidationError):
            Editors.of(answer)
