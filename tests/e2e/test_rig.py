"""A release of true shape on machines as they are: jobs that are killed, disks that just do.

Half a gigabyte where tests are `long`. The same on four layers of Qwen3.6-35B-A3B, 9 GB, are marked
`rig`: `pytest -m rig` takes hours and 65 GB of disk. BOT_TEST_RIG may name the model's file that
bench/real_shapes.py has written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - the Hub as people use it

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.disk.space import taken
from bot.errors import CapacityError
from bot.localhub.server import RunningHub
from bot.records.built import Built
from bot.settings.sections import DEMO
from bot.verbs.card_preview import fill
from tests.e2e.road import Road
from tests.e2e.test_full_disk import disk
from tests.stopping import begin
from tests.true_projector import LAYERS, write_projector
from tests.true_shapes import QWEN
from tests.true_weights import write_model

GIVEN = os.environ.get("BOT_TEST_RIG", "")
SOURCE, CALM, KILLED = "makers/Qwen3.6-35B-A3B", "alice/calm", "alice/killed"
GROUPS, TIERS = (1, 2, 3), 9
LINE = 40_000_000  # bytes a second
SPARE = 1.02
PROJECTOR = "mmproj-BF16.gguf"
LARGE = 1 << 30  # bytes of a model
LIMITS = ("ppl_ratio", "mean_kld", "max_kld", "p999_kld", "accuracy_drop", "behaviour_drop")


@pytest.fixture(
    scope="module",
    params=[pytest.param(8, marks=pytest.mark.long), pytest.param(256, marks=pytest.mark.rig)],
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers with so many experts: with all of them the vocabulary is the release's, too."""
    experts: int = request.param
    if experts == QWEN.size.experts and GIVEN:
        return Path(GIVEN)
    path = tmp_path_factory.mktemp("rig") / f"{QWEN.name}-BF16.gguf"
    if experts == QWEN.size.experts:
        write_model(QWEN, path, QWEN.sized(4))
    else:
        size = QWEN.sized(4, experts, vocabulary=4096)
        write_model(QWEN, path, size, tokenizer=DEMO / "tiny-moe-Q8_0.gguf")
    return path


def _settings(model: Path, **more: Any) -> dict[str, Any]:
    """Few chunks, and nothing held back: the weights are noise."""
    few = {"context": 64, "chunks": 1, "tasks": [], "noise_chunks": 0}
    context = 512 if model.stat().st_size > LARGE else 64  # tokens for each of many experts
    return {
        "hub": {"namespace": "alice"},
        "llama": {"threads": 1, "gpu_layers": 0},
        "quantize": {"memory_gb": 0.5, "missing_data": "next"},
        "calibration": {"context": context, "chunks": 6, "batch": context, "checkpoint": 1},
        "evaluation": {**few, "reference": "file", "behaviour": {"measure": False}},
        "gate": {limit: {"*": 1e9} for limit in LIMITS},
        "jobs": {"tiers": TIERS // len(GROUPS)},
        **more,
    }


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A Hub behind a slow line that holds the model, and what an undisturbed run publishes."""

    road: Road
    hub: RunningHub
    stopper: Path
    calm: Mapping[str, tuple[str, int]]  # sha256 and bytes of each file by its name

    def begin(self, *words: str, of: str = "", at: int = 0) -> subprocess.Popen[str]:
        """A step of a job, which gets SIGKILL at the step `at` of those that `of` finds."""
        return begin(
            self.stopper,
            self.road.command(*words),
            self.work,
            of=of,
            at=at,
            env=self.road.environment(OMP_WAIT_POLICY="passive", HF_HUB_DISABLE_XET="1"),
            cwd=self.road.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def work(self) -> Path:
        return self.road.folder / "work"

    def made(self, tiers: list[str]) -> int:
        """Bytes that lie here of some tiers' files which are not whole."""
        partial = (self.work.glob(f"jobs/*/release/*-APEX-{tier}.gguf.partial") for tier in tiers)
        return sum(taken(path) for paths in partial for path in paths)

    def whole(self, tiers: list[str]) -> int:
        """Bytes that they will have."""
        ends = tuple(f"-APEX-{tier}.gguf" for tier in tiers)
        return sum(size for name, (_, size) in self.calm.items() if name.endswith(ends))


@pytest.fixture
def rig(tmp_path: Path, model: Path, stopper: Path) -> Iterator[Rig]:
    with RunningHub(tmp_path / "hub", bandwidth=LINE) as hub:
        token = hub.store.add_user("alice")
        card = tmp_path / "README.md"
        card.write_text("---\nlicense: apache-2.0\n---\n")
        projector = tmp_path / PROJECTOR
        write_projector(projector, LAYERS if model.stat().st_size > LARGE else 2)
        files = {"README.md": card, model.name: model, PROJECTOR: projector}
        fill(hub.store, SOURCE, {name: _built(path) for name, path in files.items()})
        calm = Road(folder=tmp_path / "calm", url=hub.url, token=token, patience=4 * 3600)
        calm.folder.mkdir()
        alone = {"threads": 2, "gpu_layers": 0}  # which no byte depends on
        calm.settings(**_settings(model, publish={"free": "always"}, llama=alone))
        done = calm.bot("publish", SOURCE, "--to", CALM, HF_HUB_DISABLE_XET="1")
        assert done.returncode == 0, done.stderr
        published = _published(hub.url, CALM)
        HfApi(hub.url, token).delete_repo(CALM)  # for all of it twice there may be no room
        shutil.rmtree(calm.folder)
        road = Road(folder=tmp_path / "killed", url=hub.url, token=token)
        road.folder.mkdir()
        road.settings(**_settings(model))
        yield Rig(road=road, hub=hub, stopper=stopper, calm=published)


def _built(path: Path) -> Built:
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))


def _published(url: str, repo_id: str) -> dict[str, tuple[str, int]]:
    """sha256 and bytes of each model that everybody sees."""
    files = Client(url, None).release(repo_id).files
    return {f.path: (f.sha256 or "", f.size) for f in files if f.path.endswith(".gguf")}


def _end(process: subprocess.Popen[str], code: int = 0) -> str:
    out, said = process.communicate()
    assert process.returncode == code, said
    return out


def _kill_when(there: Mapping[subprocess.Popen[str], Callable[[], bool]]) -> None:
    """SIGKILL each process as soon as its condition is true; none may end before."""
    waiting = dict(there)
    while waiting:
        for process in [one for one, is_there in waiting.items() if is_there()]:
            process.kill()
            _end(process, -signal.SIGKILL)
            del waiting[process]
        for process in waiting:
            if process.poll() is not None:
                raise AssertionError(f"it ended before: {process.communicate()}")
        time.sleep(0.02)


def _exists(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(taken(path) for path in folder.glob(pattern))


def test_three_groups_side_by_side_each_killed_in_every_stage(rig: Rig) -> None:
    """What was published in the end is, byte for byte, what nobody disturbed."""
    prepare = ("step", "prepare", "--model", SOURCE, "--json")
    _kill_when({rig.begin(*prepare): _exists(rig.work, "jobs/*/handed/imatrix.checkpoint")})
    _end(rig.begin(*prepare, of=r"^rename .*reference\.logits", at=1), -signal.SIGKILL)
    told = json.loads(_end(rig.begin(*prepare)))
    names = ("--release", told["release"], "--sentinel", told["sentinel"])
    tiers = {row["group"]: row["tiers"].split(",") for row in told["matrix"]["include"]}
    assert [*tiers] == [*GROUPS]
    _groups_are_killed(rig, names, tiers)

    describe = ("step", "describe", "--to", KILLED, *names)
    _end(rig.begin(*describe, of=r"^open .*size-vs-kld\.svg", at=1), -signal.SIGKILL)
    _end(rig.begin(*describe))
    publish = ("step", "publish", *names)
    _kill_when({rig.begin(*publish): _exists(rig.hub.store.folder, "incoming/*")})
    _end(rig.begin(*publish))
    assert _published(rig.hub.url, KILLED) == rig.calm
    assert PROJECTOR in rig.calm


def _groups_are_killed(rig: Rig, names: tuple[str, ...], tiers: Mapping[int, list[str]]) -> None:
    """Each in the middle of making its tiers, and of measuring them; then they come to the end."""

    def group(number: int, **stop: Any) -> subprocess.Popen[str]:
        return rig.begin("step", "quantize", "--group", str(number), *names, **stop)

    def half(number: int) -> Callable[[], bool]:
        return lambda: 2 * rig.made(tiers[number]) >= rig.whole(tiers[number])

    _kill_when({group(number): half(number) for number in GROUPS})
    for process in [group(number, of=r"^write .*/tokens$", at=2) for number in GROUPS]:
        _end(process, -signal.SIGKILL)
    for process in [group(number) for number in GROUPS]:
        _end(process)


@pytest.mark.long
def test_a_disk_with_two_percent_to_spare(tmp_path: Path) -> None:
    """The disk that the bot says it needs, and a fiftieth: all tiers lie on it at the end."""
    model = tmp_path / f"{QWEN.name}-BF16.gguf"
    size = QWEN.sized(4, 8, vocabulary=4096)
    write_model(QWEN, model, size, tokenizer=DEMO / "tiny-moe-Q8_0.gguf")
    with RunningHub(tmp_path / "hub") as hub, disk(tmp_path / "disk") as own:
        token = hub.store.add_user("alice")
        road = Road(folder=tmp_path, url=hub.url, token=token)
        licence = {"license": "apache-2.0"}
        road.settings(
            **_settings(model, workdir=str(own.folder / "work"), reserve_gb=0, source=licence)
        )
        command = own.inside(*road.command("publish", str(model), "--to", CALM))
        own.run("mkdir", str(own.folder / "tmp"))
        own.size(10_000_000)
        refused = _on(own.folder, road, command)
        assert refused.returncode == CapacityError.exit_code, refused.stderr
        needed = re.search(r"needs (\d+\.\d\d) GB", refused.stderr)
        assert needed is not None, refused.stderr
        own.size(int(float(needed[1]) * 1e9 * SPARE))
        done = _on(own.folder, road, command)
        assert done.returncode == 0, done.stderr
        assert len(_published(hub.url, CALM)) == TIERS


def _on(folder: Path, road: Road, command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command all of whose files, also the temporary ones, lie in a folder."""
    env = road.environment(TMPDIR=str(folder / "tmp"), OMP_WAIT_POLICY="passive")
    return subprocess.run(
        command, env=env, cwd=road.folder, capture_output=True, text=True, check=False
    )
