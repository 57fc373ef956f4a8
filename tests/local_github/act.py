"""Real workflow files, run by `act` on this machine as a runner of one's own would.

What act does otherwise than GitHub is made up for here: the legs of a matrix share one result in
act, so each is judged by its steps; what act did not reach at all was skipped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

Result = Literal["success", "failure", "cancelled", "skipped"]
BIN = Path(sys.executable).parent
LIMIT = 900  # seconds
OWN = ("Set up job", "Complete job")  # act's steps, of jobs too whose own are all skipped


@dataclass(frozen=True, kw_only=True)
class Act:
    """A machine with one runner: its home, what its environment holds, the repository's secrets."""

    home: Path
    machine: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    _running: dict[Path, subprocess.Popen[str]] = field(default_factory=dict, compare=False)

    def __call__(
        self,
        checkout: Path,
        workflow: str,
        event: dict[str, Any],
        environment: dict[str, str],
        log: Path,
    ) -> Mapping[str, Result]:
        """Run a workflow of `checkout` to its end: each job's result, legs as `quantize (1)`."""
        path = checkout / ".github" / "workflows" / workflow
        jobs = yaml.safe_load(path.read_text())["jobs"]
        self.home.mkdir(parents=True, exist_ok=True)
        events, secrets = log.with_suffix(".event.json"), self.home / "secrets"
        events.write_text(json.dumps(event))
        secrets.write_text("".join(f"{name}={value}\n" for name, value in self.secrets.items()))
        command = [
            *(str(BIN / "act"), _kind(event), "-W", str(path), "-e", str(events)),
            *("-P", "self-hosted=-self-hosted", "--json", "--no-cache-server"),
            *(
                part
                for name, value in self.variables.items()
                for part in ("--var", f"{name}={value}")
            ),
            *("--action-cache-path", str(self.home / "act"), "--secret-file", str(secrets)),
            *(part for name, value in environment.items() for part in ("--env", f"{name}={value}")),
        ]
        with subprocess.Popen(
            command, cwd=checkout, env=self._environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            self._running[log] = process
            try:
                stdout, stderr = process.communicate(timeout=LIMIT)
            finally:
                del self._running[log]
                process.kill()
        secrets.unlink(missing_ok=True)
        lines = [json.loads(line) for line in stdout.splitlines() if line.startswith("{")]
        log.write_text("".join(_said(line) for line in lines))
        found = _results(lines)
        assert found, stderr + stdout
        reached = {name.partition(" ")[0] for name in found}
        return {**{job: "skipped" for job in jobs if job not in reached}, **found}

    def interrupt(self, log: Path) -> None:
        """Cancel the run with this log: its step is killed, then `always()` steps have their turn.

        By SIGINT: after a SIGTERM act runs nothing more.
        """
        if (process := self._running.get(log)) is not None:
            process.send_signal(signal.SIGINT)

    def _environment(self) -> dict[str, str]:
        """All that a step sees of this machine: act hands on everything."""
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        kept = {"NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"]}  # as on a machine that ran before
        return {"PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8", **kept, **self.machine}


def _kind(event: Mapping[str, Any]) -> str:
    if "client_payload" in event:
        return "repository_dispatch"
    return "workflow_dispatch" if "inputs" in event else "schedule"


def _said(line: Mapping[str, Any]) -> str:
    """What GitHub's log would hold of an event: output of steps, summaries, and how steps ended."""
    job = _name(line)
    if line.get("raw_output"):
        return f"{job}: {str(line['msg']).rstrip()}\n"
    if line.get("command") == "summary":
        return f"{job} summary:\n{line.get('content', '')}\n"
    return f"{job}: {line['msg']}\n" if line.get("stepResult") == "failure" else ""


def _name(line: Mapping[str, Any]) -> str:
    """A job by its id, a leg of a matrix with its number."""
    matrix = line.get("matrix") or {}
    number = f" ({matrix['group']})" if "group" in matrix else ""
    return f"{line.get('jobID', '')}{number}"


def _results(lines: list[dict[str, Any]]) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for line in lines:
        if line.get("jobID") and line.get("stepResult") and line.get("step") not in OWN:
            failed = line["stepResult"] == "failure" or found.get(_name(line)) == "failure"
            found[_name(line)] = "failure" if failed else "success"
    return found
