"""A job that opens strangers' models has turned hostile: it holds the token that files travel with,
its own seal, and every record. What the describing and publishing machine makes of that.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.disk.writing import write_text
from bot.errors import BotError
from bot.jobs import claims, describing, grouping, preparing, sending, step_report
from bot.jobs.orders import JobOrder, order_folder
from bot.jobs.travel import SENTINEL, Staging, carrier_of
from bot.progress import Narrator
from bot.records.coding import from_json
from bot.records.results import Results
from bot.settings.sections import DEMO
from bot.settings.settings import load
from bot.workplace.workplace import Workplace
from tests.e2e.hostile import (
    IGNORED,
    KEY,
    NONE,
    OTHER,
    OWN,
    PLANS,
    Attack,
    Change,
    file_of,
    replan,
)
from tests.local_hub.server import Hub, running_hub

pytestmark = pytest.mark.road

MODEL, REPO, BETWEEN = "lab/Tiny-MoE-14M", "alice/Tiny-MoE-14M-APEX-GGUF", "carriers"
TIERS = MINE, OTHERS = "Quality", "Compact"  # of the first group and the second


@dataclass
class Scene:
    """A release whose two tiers are made, each by a job on a machine of its own."""

    folder: Path
    hub: Hub
    carrier: str
    sentinel: str = ""
    seals: dict[int, str] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)  # of staging, by path
    machines: int = 0

    def machine(self, name: str, **more: Any) -> tuple[Workplace, io.StringIO]:
        """A machine with a working folder of its own, and what it says."""
        settings = load(
            None,
            workdir=self.folder / name,
            llama={"threads": 2, "gpu_layers": 0},
            hub={"namespace": "alice", "endpoint": self.hub.url},
            calibration={"context": 128, "chunks": 2},
            evaluation={"noise_chunks": 0, "context": 128, "chunks": 4, "task_count": 4},
            demo_texts=True,
            jobs={"tiers": 1, "policy": "any", "travel": "hub", "staging": BETWEEN},
            **more,
        )
        said = io.StringIO()
        return Workplace(settings, Narrator(said), None), said

    @property
    def carriers(self) -> Client:
        return Client(self.hub.url, SecretStr(self.carrier))

    @property
    def release(self) -> str:
        commit = Client(self.hub.url, None).release(MODEL).commit
        return f"lab--Tiny-MoE-14M-{commit[:12]}"

    @property
    def staging(self) -> str:
        workplace, _ = self.machine("a")
        way = carrier_of(workplace, order_folder(workplace.folders, self.release))
        assert isinstance(way, Staging)
        return way.repo_id

    def put(self, path: str, content: bytes) -> None:
        """Write a file of staging, as whoever holds its token can."""
        file = self.folder / "hostile" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.carriers.commit(
            self.staging, {path: file}, "hostile", self.carriers.head(self.staging)
        )


@dataclass(kw_only=True)
class Here(Attack):
    """The hostile job of group 1, in staging; put back afterwards."""

    scene: Scene

    def text(self, record: str) -> bytes:
        return self.scene.records[self.named(record)]

    def put(self, path: str, content: bytes) -> None:
        self.scene.put(path, content)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch, running_hub(folder / "hub") as hub:
        makers = Client(hub.url, SecretStr(hub.token))
        makers.create_private(MODEL)
        files = {name: DEMO / name for name in ("config.json", "README.md")}
        files[demo_model.name] = demo_model
        makers.commit(MODEL, files, "Release", makers.head(MODEL))
        makers.make_public(MODEL)
        made = Scene(folder=folder, hub=hub, carrier=hub.store.add_user("carrier", orgs=[BETWEEN]))
        patch.setenv("HF_STAGING_TOKEN", made.carrier)
        workplace, _ = made.machine("a")
        order = JobOrder(model=MODEL, revision="main", tiers=TIERS, delivery="by-hand")
        place, prepared = preparing.prepare_order(workplace, order)
        assert prepared is not None
        made.sentinel, made.seals = place.sentinel, dict(claims.seals_of(place, prepared))
        for number in made.seals:
            other, _ = made.machine(f"b{number}")
            seal = claims.show_seals({number: made.seals[number]})
            theirs = order_folder(other.folders, made.release)
            assert grouping.quantize_group(other, theirs, made.sentinel, number, seal)
        held = made.carriers.release(made.staging)
        for file in held.files:
            if file.path.endswith(".json"):
                text = made.carriers.read_text(made.staging, held.commit, file.path, 32_000_000)
                assert text is not None
                made.records[file.path] = text.encode()
        yield made


@pytest.fixture(autouse=True)
def carriers_token(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_STAGING_TOKEN", scene.carrier)


QUICK = ("another's tier", "another's measure", "a path upwards", "NaN", "no seal")


def looked_at(cases: list[tuple[str, Change]], quick: tuple[str, ...] = ()) -> list[Any]:
    return [
        pytest.param(act, id=name, marks=() if name in quick else pytest.mark.long)
        for name, act in cases
    ]


# ── what comes of it ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outcome:
    tiers: tuple[str, ...]
    results: Results
    said: str


@pytest.fixture(scope="module")
def good(scene: Scene) -> Outcome:
    """What is described where nobody is hostile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_STAGING_TOKEN", scene.carrier)
        return describe(scene)


def describe(scene: Scene) -> Outcome:
    scene.machines += 1
    workplace, said = scene.machine(f"d{scene.machines}")
    folder = order_folder(workplace.folders, scene.release)
    told = describing.describe_release(
        workplace, folder, scene.sentinel, None, claims.show_seals(scene.seals)
    )
    results = from_json(Results, Path(told.files["results.json"].path).read_bytes())
    for name, built in told.files.items():
        if Path(built.path).is_file():
            assert Path(built.path).resolve().is_relative_to(folder.root), name
            assert KEY.encode() not in Path(built.path).read_bytes()
    return Outcome(told.tiers, results, said.getvalue())


@pytest.fixture
def attack(scene: Scene, good: Outcome) -> Iterator[Here]:
    """A key and a tree beside the working folders, which must be as they were."""
    home = scene.folder / "home"
    (home / "tree").mkdir(parents=True, exist_ok=True)
    (home / "key").write_text(KEY)
    (home / "tree" / "file").write_text("kept")
    assert good.tiers == TIERS
    yield Here(scene=scene, release=scene.release, seals=scene.seals)
    assert (home / "key").read_text() == KEY
    assert (home / "tree" / "file").read_text() == "kept"
    held = scene.carriers.release(scene.staging)
    for path, content in scene.records.items():
        text = scene.carriers.read_text(scene.staging, held.commit, path, 40_000_000)
        if text is None or text.encode() != content:
            scene.put(path, content)


def row(results: Results, tier: str) -> Any:
    return next(row for row in results.tiers if row.name == tier)


@pytest.mark.parametrize("act", looked_at(OWN, QUICK))
def test_a_record_that_claims_what_it_may_not_is_named_and_left_out(
    attack: Here, good: Outcome, act: Change
) -> None:
    act(attack)
    found = describe(attack.scene)
    assert found.tiers == (OTHERS,)
    assert "the record of group 1 " in found.said
    assert "\x1b" not in found.said
    assert "\n::" not in found.said
    assert row(found.results, OTHERS) == row(good.results, OTHERS)
    assert found.results.reference == good.results.reference


@pytest.mark.long
@pytest.mark.parametrize("act", looked_at(NONE))
def test_what_is_no_record_is_no_tier(attack: Here, good: Outcome, act: Change) -> None:
    act(attack)
    found = describe(attack.scene)
    assert found.tiers == (OTHERS,)
    assert "the record of group 1 is none of this version" in found.said
    assert row(found.results, OTHERS) == row(good.results, OTHERS)


@pytest.mark.parametrize("act", looked_at(OTHER, ("sealed by its own",)))
def test_nobody_writes_another_groups_record(attack: Here, good: Outcome, act: Change) -> None:
    act(attack)
    found = describe(attack.scene)
    assert found.tiers == (MINE,)
    assert "the record of group 2 " in found.said
    assert row(found.results, MINE) == row(good.results, MINE)


@pytest.mark.long
@pytest.mark.parametrize("act", looked_at(IGNORED))
def test_what_nobody_asks_for_is_not_looked_at(attack: Here, good: Outcome, act: Change) -> None:
    act(attack)
    found = describe(attack.scene)
    assert found.tiers == TIERS
    assert found.results.tiers == good.results.tiers


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(name, marks=() if n in (0, 5) else pytest.mark.long)
        for n, name in enumerate(PLANS)
    ],
)
def test_another_plan_is_not_the_runs(attack: Here, plan: str) -> None:
    """No step of a later job goes by it, and nothing is removed."""
    scene = attack.scene
    replan(plan)(attack)
    workplace, _ = scene.machine(f"e{scene.machines}")
    folder = order_folder(workplace.folders, scene.release)
    seals = claims.show_seals(scene.seals)
    for step in (
        lambda: describing.describe_release(workplace, folder, scene.sentinel, None, seals),
        lambda: grouping.quantize_group(workplace, folder, scene.sentinel, 1, seals),
        lambda: sending.publish_described(workplace, folder, scene.sentinel, private=True),
        lambda: step_report.report_order(workplace, folder, scene.sentinel, ""),
        lambda: step_report.clean_order(workplace, folder, scene.sentinel, ""),
    ):
        with pytest.raises(BotError, match="is not what the job `prepare` wrote"):
            step()
    assert folder.known is None


def test_a_plan_that_others_left_is_made_anew_and_ours_is_found_again(attack: Here) -> None:
    """`prepare` runs again, as a failed job brings about by itself."""
    scene = attack.scene
    order = JobOrder(model=MODEL, revision="main", tiers=TIERS, delivery="by-hand")
    workplace, said = scene.machine("a")
    folder, same = preparing.prepare_order(workplace, order)
    assert folder.sentinel == scene.sentinel
    assert "calibrating" not in said.getvalue()
    data = attack.data("prepared")
    attack.write("prepared", json.dumps({**data, "room": [1, 1]}).encode())
    _, fresh = preparing.prepare_order(workplace, order)
    assert same is not None
    assert fresh is not None
    assert fresh.room == same.room != (1, 1)
    assert folder.known == fresh
    scene.sentinel = folder.sentinel
    held = scene.carriers.release(scene.staging)
    text = scene.carriers.read_text(
        scene.staging, held.commit, attack.named("prepared"), 32_000_000
    )
    assert text is not None
    scene.records[attack.named("prepared")] = text.encode()
    assert describe(scene).tiers == TIERS  # its seals are the same: nothing is made again


@pytest.mark.long
def test_a_tier_with_another_content_is_not_published(attack: Here, tmp_path: Path) -> None:
    scene = attack.scene
    path = file_of(attack.own)["path"]
    held = scene.carriers.release(scene.staging)
    (right,) = (one for one in held.files if one.path == path)
    evil = tmp_path / "evil.gguf"
    evil.write_bytes(b"GGUF" + bytes(right.size - 4))
    scene.carriers.commit(scene.staging, {path: evil}, "hostile", held.commit)
    scene.machines += 1
    workplace, _ = scene.machine(f"d{scene.machines}")
    folder = order_folder(workplace.folders, scene.release)
    describing.describe_release(
        workplace, folder, scene.sentinel, None, claims.show_seals(scene.seals)
    )
    publisher = Workplace(workplace.settings, workplace.narrator, SecretStr(scene.hub.token))
    scene.hub.store.add_user("alice", orgs=[BETWEEN])
    with pytest.raises(BotError, match="as it was measured"):
        sending.publish_described(publisher, folder, scene.sentinel, private=True)
    assert Client(scene.hub.url, SecretStr(scene.hub.token)).exists(REPO) is False
    scene.carriers.copies(scene.staging, {path: right}, held)  # as it was


@pytest.mark.long
def test_what_was_described_is_sent_from_its_own_folder_alone(attack: Here) -> None:
    scene = attack.scene
    describe(scene)
    workplace, _ = scene.machine(f"d{scene.machines}")
    folder = order_folder(workplace.folders, scene.release)
    path = folder.path / "described.json"
    data = json.loads(path.read_text())
    key = scene.folder / "home" / "key"
    for name in ("mmproj.gguf", "README.md"):
        file = {"path": str(key), "bytes": key.stat().st_size, "sha256": sha256(key), "shards": []}
        write_text(path, json.dumps({**data, "files": {**data["files"], name: file}}))
        publisher = Workplace(workplace.settings, workplace.narrator, SecretStr(scene.hub.token))
        with pytest.raises(BotError, match="not where this release was described"):
            sending.publish_described(publisher, folder, scene.sentinel, private=True)
    assert Client(scene.hub.url, SecretStr(scene.hub.token)).exists(REPO) is False


@pytest.mark.long
def test_a_staging_place_that_is_not_ours_any_more_is_left_alone(attack: Here) -> None:
    scene = attack.scene
    right = scene.carriers.read_text(
        scene.staging, scene.carriers.head(scene.staging), SENTINEL, 10_000
    )
    assert right is not None
    scene.put(SENTINEL, b"{}")
    with pytest.raises(BotError, match="is left alone"):
        describe(scene)
    assert scene.carriers.exists(scene.staging)
    scene.put(SENTINEL, right.encode())
