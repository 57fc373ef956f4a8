"""What GitHub answers about runs, jobs, runners and issues, parsed strictly.

Shapes are those of its OpenAPI description (workflow-run, job, runner, issue); other keys are
passed over.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

Text = Annotated[str, Field(max_length=4_000)]
Name = Annotated[str, Field(max_length=400)]


class Answer(BaseModel):
    """Frozen, of known types and bounded sizes."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _listed(value: Any) -> Any:
    return () if value is None else value


class WorkflowRun(Answer):
    """A run of a workflow. Status and conclusion are GitHub's words."""

    id: Annotated[int, Field(ge=0)]
    display_title: Text
    event: Name
    status: Name | None
    conclusion: Name | None
    run_attempt: int = 1
    html_url: Text
    created_at: AwareDatetime
    updated_at: AwareDatetime


class RunStep(Answer):
    """A step of a job."""

    name: Text
    conclusion: Name | None
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None


class RunJob(Answer):
    """A job of a run."""

    id: Annotated[int, Field(ge=0)]
    name: Text
    status: Name
    conclusion: Name | None
    html_url: Text | None
    created_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    runner_name: Name | None
    labels: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()
    steps: Annotated[tuple[RunStep, ...], BeforeValidator(_listed)] = ()


class Label(Answer):
    """A label of a runner."""

    name: Name


class Runner(Answer):
    """A self-hosted runner."""

    name: Name
    status: Name
    busy: bool
    labels: tuple[Label, ...]

    @property
    def online(self) -> bool:
        """Whether it talks to GitHub."""
        return self.status == "online"

    def takes(self, labels: tuple[str, ...]) -> bool:
        """Whether it has all labels that a job wants; letters of either case."""
        own = {label.name.casefold() for label in self.labels}
        return {label.casefold() for label in labels} <= own


class Issue(Answer):
    """An issue."""

    number: Annotated[int, Field(ge=1)]
    title: Text
    body: Annotated[str, Field(max_length=70_000)]
    open: bool
    author: Name
    html_url: Text
    updated_at: AwareDatetime


class Edit(Answer):
    """One edit of an issue's text; nobody is known where the account is gone."""

    login: Name | None
    at: AwareDatetime


class Editors(Answer):
    """The owner of the token in use, and who edited an issue's text."""

    viewer: Name
    edits: tuple[Edit, ...]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Editors:
        """From GraphQL's answer. Raises ValidationError where it has none."""
        data = answer.get("data") or {}
        viewer = (data.get("viewer") or {}).get("login")
        issue = (data.get("repository") or {}).get("issue") or {}
        nodes = (issue.get("userContentEdits") or {}).get("nodes")
        edits = [
            {"login": (node.get("editor") or {}).get("login"), "at": node.get("editedAt")}
            for node in nodes or ()
        ]
        return cls.model_validate({"viewer": viewer, "edits": edits})
