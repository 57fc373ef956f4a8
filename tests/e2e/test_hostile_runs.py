"""release.yml run by act while one of its quantize jobs is hostile, or many are.

The workflow is the real one, and so is every step that is not hostile: see hostile_bot.py for how a
machine turns. The variations are those of hostile.py and hostile_runs.py, each named.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub as Client
from bot.settings.sections import DEMO
from tests.e2e.hostile import KEY, NONE, OTHER, OWN, PLANS, SECRET
from tests.e2e.hostile_bot import Plan
from tests.e2e.hostile_runs import GROUPS, RUNS
from tests.e2e.road import Road
from tests.e2e.test_workflows import MODEL, REPO, Builds, no_token
from tests.local_github.act import BIN, Act, Result
from tests.local_hub.server import running_hub

pytestmark = pytest.mark.long
BETWEEN = "carriers"
ROOT = Path(__file__).resolve().parents[2]
KINDS = ("Q8_0", "Q6_K", "Q5_K")  # made in no time
VICTIMS = 1 + len(OTHER)  # of group 1 nothing is changed, of each of the others one record
LEFT_OUT = {name for name, _ in (*OWN, *NONE)}
STOPPED = "is not what the job `prepare` wrote"


@dataclass(kw_only=True)
class Taken(Builds):
    """Runners on which another command stands in front of the bot."""

    plan: Path

    @property
    def act(self) -> Act:
        act = super().act
        path = os.pathsep.join([str(self.plan.parent), str(BIN), os.environ["PATH"]])
        own = {"PATH": path, "HOSTILE": str(self.plan), "HF_HUB_DISABLE_XET": "1"}
        return replace(act, machine={**act.machine, **own})


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What came of a run: its jobs, its log, the rows that everybody sees, the files."""

    jobs: Mapping[str, Result]
    log: str
    rows: Mapping[str, Any]
    files: frozenset[str]


@dataclass(kw_only=True)
class Yard:
    """A release of many small tiers, each made by a job on a machine of its own."""

    builds: Taken
    folder: Path
    spoils: Path
    profiles: Path
    carrier: Client
    tiers: Sequence[str]
    good: Ended | None = None

    def run(
        self, legs: Mapping[int, tuple[str, int]] | None = None, *,
        tiers: Sequence[str] | None = None,
        before: Mapping[str, str] | None = None, after: Mapping[str, str] | None = None,
    ) -> Ended:  # fmt: skip
        """A run in which the machines of `legs` are hostile; nothing is published before."""
        number = len(self.builds.runs)
        plan = Plan(
            folder=str(self.folder / "machines"), spoils=str(self.spoils), run=number,
            owner=BETWEEN, legs={str(group): leg for group, leg in (legs or {}).items()},
            before=before or {}, after=after or {},
        )  # fmt: skip
        plan.keep(self.builds.plan)
        secrets = {plan.machine(step, "") / SECRET for step in ("describe", "publish")}
        for secret in secrets:
            secret.parent.mkdir(parents=True)
            secret.write_text(KEY)
        Writer(self.publisher).delete(REPO)
        jobs = self.builds.run(
            ",".join(tiers or self.tiers), profiles=str(self.profiles), gate={"card": True},
            jobs={"tiers": 1, "policy": "any", "travel": "hub", "staging": BETWEEN, "keep": True},
        )  # fmt: skip
        ended = Ended(jobs=jobs, log=self.builds.log, **self.seen())
        self.require_untouched(ended, secrets)
        return ended

    @property
    def publisher(self) -> Client:
        return Client(self.builds.hub.url, SecretStr(self.builds.hub.token))

    def seen(self) -> dict[str, Any]:
        """The rows and files that everybody sees; none where there is no repository."""
        seen = Client(self.builds.hub.url, None)
        if not self.publisher.exists(REPO):
            return {"rows": {}, "files": frozenset()}
        held = seen.release(REPO)
        results = seen.read_json(REPO, held.commit, "results.json", 1_000_000)
        assert isinstance(results, dict)
        rows = {row["name"]: row for row in results["tiers"]}
        return {"rows": rows, "files": frozenset(file.path for file in held.files)}

    def give_up(self) -> None:
        """Delete what files travel through, as a person does who was told that it is not ours."""
        store = self.builds.hub.store
        for repo, _ in store.repositories(store.viewer(self.builds.hub.token)):
            if repo.owner == BETWEEN:
                Writer(self.carrier).delete(repo.id)

    def require_untouched(self, ended: Ended, secrets: set[Path]) -> None:
        """Nothing outside was read, written, removed or published; nothing odd was said."""
        home = self.folder / "home"
        held = {str(path.relative_to(home)): path for path in home.rglob("*") if path.is_file()}
        assert {name: path.read_text() for name, path in held.items()} == {
            "key": KEY, "tree/file": "kept"
        }  # fmt: skip
        mine = {home / "key", *self.folder.glob(f"machines/*-*/{SECRET}")}
        assert secrets < mine
        found = [
            path for path in self.folder.rglob("*")
            if path.is_file() and path not in mine and KEY.encode() in path.read_bytes()
        ]  # fmt: skip
        assert found == []
        store = self.builds.hub.store
        there = {repo.id for repo, _ in store.repositories(store.viewer(self.builds.hub.token))}
        assert {name for name in there if not name.startswith(f"{BETWEEN}/")} <= {MODEL, REPO}
        assert self.builds.hub.commits(MODEL) == 1
        assert "\x1b[2J" not in ended.log
        assert "/tmp/evil" not in ended.log
        assert no_token(self.builds) == []

    def require_rows(self, ended: Ended, tiers: Sequence[str]) -> None:
        """Just these tiers are published, each with the numbers that it has where nobody lies."""
        assert self.good is not None
        assert tuple(ended.rows) == tuple(tiers), ended.log
        for tier in tiers:
            assert ended.rows[tier] == self.good.rows[tier]
        lost = set(self.good.rows) - set(tiers)
        assert ended.files == {
            name for name in self.good.files if not any(f"{tier}." in name for tier in lost)
        }


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[Yard]:
    """The demo model in as many tiers as there are ways to mix three types."""
    folder, spoils = tmp_path_factory.mktemp("yard"), tmp_path_factory.mktemp("spoils")
    with running_hub(folder / "hub") as hub:
        makers = Client(hub.url, SecretStr(hub.token))
        makers.create_private(MODEL)
        files = {name: DEMO / name for name in ("config.json", "README.md")}
        files[demo_model.name] = demo_model
        makers.commit(MODEL, files, "Release", makers.head(MODEL))
        makers.make_public(MODEL)
        carrier = hub.store.add_user("carrier", orgs=[BETWEEN])
        hub.store.add_user("alice", orgs=[BETWEEN])
        builds = Taken(
            road=Road(folder=folder, url=hub.url, token=hub.token), hub=hub,
            reader=hub.store.add_user("reader"), carrier=carrier, plan=folder / "bin" / "plan.json",
        )  # fmt: skip
        builds.plan.parent.mkdir()
        front = builds.plan.parent / "bot"
        front.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.e2e.hostile_bot "$@"\n'
        )
        front.chmod(0o755)
        (folder / "home" / "tree").mkdir(parents=True)
        (folder / "home" / "key").write_text(KEY)
        (folder / "home" / "tree" / "file").write_text("kept")
        yield Yard(
            builds=builds, folder=folder, spoils=spoils, profiles=folder / "profiles",
            carrier=Client(hub.url, SecretStr(carrier)), tiers=profiles(folder / "profiles"),
        )  # fmt: skip


def profiles(folder: Path) -> tuple[str, ...]:
    """One for each way to mix the types; their tiers."""
    folder.mkdir()
    tiers = []
    for number, (experts, shared, attention) in enumerate(itertools.product(KINDS, repeat=3), 1):
        tiers.append(f"T{number:02}")
        types = {"base": "Q6_K", "experts": experts, "shared": shared, "attention": attention}
        said = {"tier": tiers[-1], "order": number, "about": "a mix", "imatrix": False, **types}
        (folder / f"{tiers[-1]}.yaml").write_text(yaml.safe_dump(said))
    return tuple(tiers)


def require_held(yard: Yard, tiers: Sequence[str], legs: Mapping[int, tuple[str, int]]) -> None:
    """A run in which these groups are hostile: what is forged is named, the rest is as it was."""
    ended = yard.run(legs, tiers=tiers)
    forged = {group for group, (name, _) in legs.items() if name in LEFT_OUT}
    forged |= {other for name, other in legs.values() if name in dict(OTHER)}
    for group in range(1, len(tiers) + 1):
        said = f"the record of group {group} "
        named = any(said in line for line in ended.log.splitlines() if "describe: " in line)
        assert named is (group in forged), said
    assert all(ended.jobs[f"quantize ({group})"] == "success" for group in range(1, len(tiers) + 1))
    assert (sent(ended), ended.jobs["report"]) == ("success", "failure" if forged else "success")
    yard.require_rows(ended, [t for n, t in enumerate(tiers, 1) if n not in forged])


def test_a_few_hostile_jobs_beside_honest_ones(yard: Yard) -> None:
    """The short form: three forge their own records, and one of them another's."""
    tiers = yard.tiers[:5]
    yard.good = yard.run(tiers=tiers)
    assert yard.good.jobs["report"] == "success", yard.good.log
    assert tuple(yard.good.rows) == tuple(tiers)
    legs = {3: ("numbers of another", 2), 4: ("another's tier", 1), 5: ("a path upwards", 1)}
    require_held(yard, tiers, legs)


def test_every_way_to_forge_a_record(yard: Yard) -> None:
    """As many hostile jobs in a run as there are tiers, until each variation had its turn."""
    yard.good = yard.run()
    assert yard.good.jobs["report"] == "success", yard.good.log
    assert tuple(yard.good.rows) == tuple(yard.tiers)
    waiting = [name for name in GROUPS if name not in dict(OTHER)]
    legs = {VICTIMS + n: (name, 1 + n) for n, (name, _) in enumerate(OTHER, 1)}
    tried: list[str] = []
    while legs or waiting:
        first = max(legs, default=2) + 1
        for group in range(first, len(yard.tiers) + 1):
            if waiting:
                legs[group] = (waiting.pop(0), 1)
        require_held(yard, yard.tiers, legs)
        tried += [name for name, _ in legs.values()]
        legs = {}
    assert sorted(tried) == sorted(GROUPS)
    assert len(tried) > 60


# what one hostile job of two does to the whole run: when, and what comes of it
STOPS = {
    **dict.fromkeys(PLANS, STOPPED),
    "an older plan": STOPPED,
    "no place": STOPPED,
    "no place of ours": "is left alone",
    "a public place": "is public and is left alone",
    "another content": "as it was measured",
    "no content": "as it was measured",
}


# what a process that was left behind does at the beginning of a step; its plan is then another
LATER = {
    ("describe", "logits elsewhere"): ("failure", "failure"),
    ("publish", "another content"): ("failure", "failure"),
    ("publish", "no content"): ("failure", "failure"),
    ("publish", "a key as a projector"): ("failure", "failure"),
    ("publish", "another description"): ("failure", "failure"),
    ("publish", "another card"): ("failure", "failure"),
    ("publish", "no record"): ("success", "success"),
    ("report", "another key"): ("success", "failure"),
    ("clean", "logits elsewhere"): ("success", "failure"),
}


def test_what_concerns_the_whole_run(yard: Yard) -> None:
    """Nothing is published that is not as it was made; the next run mends it by itself."""
    tiers = yard.tiers[:2]
    yard.run({1: ("keep", 1)}, tiers=yard.tiers[2:3])
    yard.good = yard.run(tiers=tiers)
    assert tuple(yard.good.rows) == tuple(tiers)
    for name, said in STOPS.items():
        ended = yard.run({2: (name, 1)}, tiers=tiers)
        assert said in ended.log, (name, ended.log)
        assert "failure" in (ended.jobs["describe"], ended.jobs["publish"]), name
        assert ended.jobs["report"] == "failure", name
        assert (ended.rows, ended.files) == ({}, frozenset()), name
        if "is left alone" in said:
            yard.give_up()
    ended = yard.run({2: ("no record", 1)}, tiers=tiers)
    yard.require_rows(ended, tiers[1:])
    mended = yard.run(tiers=tiers)
    assert set(mended.jobs.values()) == {"success"}, mended.log
    yard.require_rows(mended, tiers)
    later = {name for _, name in LATER}
    assert {*STOPS, *later, "no record"} == set(RUNS)


def sent(ended: Ended) -> Result:
    """How the two jobs ended that come to a publication."""
    return "failure" if ended.jobs["describe"] == "failure" else ended.jobs["publish"]


def test_a_process_that_was_left_behind_acts_later(yard: Yard) -> None:
    """Between the steps of the jobs that publish, with what its own job was given."""
    tiers = yard.tiers[:2]
    yard.good = yard.run({2: ("a ledger", 1)}, tiers=tiers)
    assert tuple(yard.good.rows) == tuple(tiers)
    for (step, name), (publish, report) in LATER.items():
        ended = yard.run(tiers=tiers, before={step: name})
        assert (sent(ended), ended.jobs["report"]) == (publish, report), (step, name)
        if publish == "success":
            yard.require_rows(ended, tiers)
        else:
            assert (ended.rows, ended.files) == ({}, frozenset()), (step, name)


def test_prepare_runs_again_while_plans_are_forged(yard: Yard) -> None:
    """Before it and after it; between two runs of it in the test of what concerns a whole run."""
    tiers = yard.tiers[:2]
    yard.good = yard.run({2: ("a ledger", 1)}, tiers=tiers)
    ended = yard.run(tiers=tiers, before={"prepare": "other groups"})
    assert set(ended.jobs.values()) == {"success"}, ended.log
    yard.require_rows(ended, tiers)
    for name in ("logits elsewhere", "a key as a projector"):
        ended = yard.run(tiers=tiers, after={"prepare": name})
        assert ended.log.count(STOPPED) >= 3, ended.log  # each leg, and those after them
        assert ended.rows == {}
    ended = yard.run(tiers=tiers)
    assert set(ended.jobs.values()) == {"success"}, ended.log
    yard.require_rows(ended, tiers)
