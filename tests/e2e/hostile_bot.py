"""The command `bot` of machines one of which has turned hostile, for runs of workflows by act.

A workflow's step finds it in front of the real one and does not know. What happens is in the file
that the variable HOSTILE names (`Plan`): the legs of the matrix that are hostile do their work as
they should, and then what their variation says, with what their job was given. Whatever they got
they keep: a process that such a job left behind acts again when a later step begins or has ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

PATIENCE = 300.0  # seconds until another job has left its record


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`legs`: the variation of a group, and the group it is about. `before` and `after` a step."""

    folder: str  # of the machines
    spoils: str  # of what the hostile ones were given, and keep
    run: int
    owner: str  # of what lies between the jobs
    legs: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)

    def given(self, group: str) -> Path:
        """What a hostile job was given."""
        return Path(self.spoils) / f"given-{group}"

    def done(self, group: str) -> Path:
        """That a leg of this run has done its own work."""
        return Path(self.spoils) / f"done-{self.run}-{group}"

    def machine(self, step: str, group: str) -> Path:
        """The working folder of a step's machine; those that publish begin with nothing."""
        names = {
            "prepare": "preparer", "quantize": f"maker-{group}", "describe": f"describer-{self.run}"
        }  # fmt: skip
        return Path(self.folder) / names.get(step, f"publisher-{self.run}")

    def keep(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def kept(cls, path: Path) -> Plan:
        return cls(**json.loads(path.read_text()))


def main() -> None:
    """Do what the real command does, and more where this machine is hostile."""
    plan, step = Plan.kept(Path(os.environ["HOSTILE"])), sys.argv[2]
    group = os.environ.get("APEX_GROUP", "")
    leg = plan.legs.get(group) if step == "quantize" else None
    if leg is not None:
        keep_given(plan, group)
    act(plan, plan.before.get(step))
    status = real(plan, step, group)
    if group:
        plan.done(group).touch()
    if leg is not None and status == 0:
        act(plan, leg[0], int(group), leg[1])
    act(plan, plan.after.get(step))
    sys.exit(status)


def real(plan: Plan, step: str, group: str) -> int:
    """The command that this one stands in front of, on the machine of its step."""
    command = [str(Path(sys.executable).parent / "bot"), *sys.argv[1:]]
    machine = {"BOT_WORKDIR": str(plan.machine(step, group))}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, env={**environment, **machine}, check=False).returncode


def keep_given(plan: Plan, group: str) -> None:
    """Keep what this job was given, for other hostile jobs and for later."""
    names = ("APEX_RELEASE", "APEX_SEALS", "HF_STAGING_TOKEN")
    partial = Path(plan.spoils) / f"{group}.partial"
    partial.write_text(json.dumps({name: os.environ[name] for name in names}))
    partial.rename(plan.given(group))


def act(plan: Plan, name: str | None, mine: int = 0, other: int = 1) -> None:
    """Do what a variation says; group 0 is a process that a job left behind."""
    if name is None:
        return
    from tests.e2e.hostile_runs import ALL, InRun

    ALL[name](InRun.of(plan, mine, other))


def waited(path: Path) -> bytes:
    """A file's content once it is there."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)
    return path.read_bytes()


if __name__ == "__main__":
    main()
