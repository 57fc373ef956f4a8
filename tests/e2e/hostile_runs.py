"""What hostile jobs do within runs of a workflow: `ALL`, by name. See hostile_bot.py."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub as Client
from bot.clients.hub.refusals import MovedOn
from bot.jobs.orders import LONGEST, Folder
from bot.jobs.travel import SENTINEL, staging_name
from tests.e2e.hostile import IGNORED, NONE, OTHER, OWN, PLANS, Attack, file_of, replan
from tests.e2e.hostile_bot import Plan, waited


@dataclass(kw_only=True)
class InRun(Attack):
    """Where files lie between the jobs of a run, with a token that was meant for them."""

    plan: Plan
    client: Client

    @classmethod
    def of(cls, plan: Plan, mine: int, other: int) -> InRun:
        """With what hostile jobs were given so far."""
        there = Path(plan.spoils).glob("given-*")
        given = {
            int(path.name.removeprefix("given-")): json.loads(path.read_text()) for path in there
        }
        one = given.get(mine) or next(iter(given.values()))
        return cls(
            plan=plan,
            release=one["APEX_RELEASE"],
            seals={number: told["APEX_SEALS"].partition(":")[2] for number, told in given.items()},
            mine=mine,
            other=other,
            client=Client(os.environ["HF_ENDPOINT"], SecretStr(one["HF_STAGING_TOKEN"])),
        )

    @property
    def repo_id(self) -> str:
        return f"{self.plan.owner}/{staging_name(Folder(Path(self.release)))}"

    def text(self, record: str) -> bytes:
        """As its job left it, once that has done its work in this run."""
        if record.startswith("group-"):
            waited(self.plan.done(record.removeprefix("group-")))
        found = self.client.read_text(
            self.repo_id, self.client.head(self.repo_id), self.named(record), LONGEST
        )
        assert found is not None
        return found.encode()

    def put(self, path: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / Path(path).name
            local.write_bytes(content)
            self.commit({path: local})

    def commit(self, files: dict[str, Path], deletions: tuple[str, ...] = ()) -> None:
        """A commit, whatever others commit meanwhile."""
        while True:
            head = self.client.head(self.repo_id)
            try:
                self.client.commit(self.repo_id, files, "hostile", head, deletions=deletions)
            except MovedOn:
                continue
            return


def another_content(attack: InRun) -> None:
    """The other group's file, as long as it was, is another one."""
    file = file_of(attack.theirs)
    attack.put(file["path"], b"GGUF" + bytes(file["bytes"] - 4))


def no_content(attack: InRun) -> None:
    attack.commit({}, deletions=(file_of(attack.theirs)["path"],))


def older(attack: InRun) -> None:
    """Keep the plan and a record of this order."""
    for record in ("prepared", "group-1"):
        (Path(attack.plan.spoils) / f"{record}.json").write_bytes(attack.text(record))


def replayed(attack: InRun) -> None:
    """Put back the plan and the record of the order that was kept."""
    for record in ("prepared", "group-1"):
        attack.write(record, (Path(attack.plan.spoils) / f"{record}.json").read_bytes())


def runner_commands(attack: InRun) -> None:
    """Lines and files that a runner obeys: they are of this job alone."""
    del attack
    lies = {"APEX_PUBLISHED": "{}", "APEX_SEALS": "1:" + "0" * 32, "release": "x", "published": "x"}
    for variable in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STATE"):
        with Path(os.environ[variable]).open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in lies.items())
    with Path(os.environ["GITHUB_PATH"]).open("a") as file:
        file.write("/tmp/evil\n")
    told = [f"::set-{kind} name={name}::{lie}" for name, lie in lies.items()
            for kind in ("output", "env")]  # fmt: skip
    sys.stdout.write("\n".join([*told, "::add-path::/tmp/evil", ""]))


def another_description(attack: InRun) -> None:
    """A key as a part of the model, in what shall be published."""
    told = attack.data("described")
    key = {**told["files"]["README.md"], "path": "../../home/key"}
    attack.write("described", json.dumps(
        {**told, "files": {**told["files"], "mmproj.gguf": key}}).encode())  # fmt: skip


def another_card(attack: InRun) -> None:
    card = attack.data("described")["files"]["README.md"]
    attack.put(card["path"], b"evil".ljust(card["bytes"]))


# what concerns one group, as in hostile.py, and what concerns the whole run
GROUPS: dict[str, Callable[[InRun], None]] = {
    **dict([*OWN, *NONE, *OTHER, *IGNORED]),
    "a runner's commands": runner_commands,
}
RUNS: dict[str, Callable[[InRun], None]] = {
    **{name: replan(name) for name in PLANS},
    "another content": another_content,
    "no content": no_content,
    "no place of ours": lambda attack: attack.put(SENTINEL, b"{}"),
    "a public place": lambda attack: attack.client.make_public(attack.repo_id),
    "no place": lambda attack: Writer(attack.client).delete(attack.repo_id),
    "an older plan": replayed,
    "another description": another_description,
    "another card": another_card,
    "no record": lambda attack: attack.commit({}, deletions=(attack.named("group-1"),)),
}
ALL: dict[str, Callable[[InRun], None]] = {**GROUPS, **RUNS, "keep": older}
