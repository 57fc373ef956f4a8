"""The parts of a workflow file that GitHub itself reads: triggers, titles, groups, jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A workflow file, parsed."""

    name: str
    run_name: str | None
    group: str | None
    triggers: Mapping[str, Any]
    jobs: Mapping[str, Any]

    def title(self, event: Mapping[str, Any]) -> str:
        """The display title of a run of an event."""
        return evaluated(self.run_name or self.name, event)

    def group_of(self, event: Mapping[str, Any]) -> str | None:
        """The concurrency group of a run of an event."""
        return evaluated(self.group, event) if self.group else None

    def labels(self, job: str) -> list[str]:
        """The labels that a job wants; a variable that is not set has no say."""
        found = self.jobs.get(job, {}).get("runs-on", [])
        if isinstance(found, str):
            inner = re.search(r"'(\[.*\])'", found)
            found = yaml.safe_load(inner[1]) if inner else [found]
        return [str(label) for label in found] if isinstance(found, list) else []


def parsed(text: bytes) -> Workflow:
    """A workflow from its file. YAML reads the key `on` as true."""
    found = yaml.safe_load(text)
    triggers = found.get("on", found.get(True))
    if isinstance(triggers, str):
        triggers = {triggers: None}
    elif isinstance(triggers, list):
        triggers = dict.fromkeys(triggers)
    group = found.get("concurrency")
    return Workflow(
        name=str(found.get("name", "")),
        run_name=found.get("run-name"),
        group=group.get("group") if isinstance(group, dict) else group,
        triggers=triggers or {},
        jobs=found.get("jobs", {}),
    )


def evaluated(text: str, event: Mapping[str, Any]) -> str:
    """A text with its expressions replaced: `a.b || c.d || 'words'` and no more."""
    return EXPRESSION.sub(lambda found: _value(found[1], event), text)


def _value(expression: str, event: Mapping[str, Any]) -> str:
    for part in expression.split("||"):
        name = part.strip()
        if name.startswith("'"):
            return name.strip("'")
        found: Any = {"inputs": event.get("inputs"), "github": {"event": event}}
        for step in name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        if found:
            return str(found)
    return ""
