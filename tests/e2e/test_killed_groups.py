"""Nine tiers in three groups side by side, by the command that jobs of a workflow run.

All groups work in one folder. Each is killed at a step of its own, whoever takes it (SQLite, too:
tests/stopping.py), and run again: the bytes are those of an undisturbed run, and nobody's files
were touched by another.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.settings.sections import data_folder
from bot.store.ledger import Ledger
from tests.demo_files import once
from tests.e2e.road import Road
from tests.local_hub.server import running_hub
from tests.split_gguf import shrink
from tests.stopping import ROOT, begin, is_stopped

MODEL, GROUPS = "lab/Small-MoE", (1, 2, 3)
TIERS = 9
TOLD = "prepared.json"  # what `prepare` printed
# types whose tables llama.cpp computes for seconds, and what stands in their place
LIGHT = {"IQ2_XXS": "Q4_K", "IQ2_XS": "Q5_K", "IQ2_S": "IQ4_XS", "IQ1_M": "Q3_K"}
DATA, NAMES = r"^write .*\.gguf\.partial$", r"^(open|cut|rename) .*\.gguf"
LEDGER, RECORD = r"\.sqlite(-journal)?$", r" [^ ]*/group-.\.json"
# steps of each kind, by the part of all of them, or by number where notes come as time allows
PLACES: list[tuple[str, float | int]] = [
    *((DATA, (n + 0.5) / 6) for n in range(6)),
    *((NAMES, (n + 0.5) / 4) for n in range(4)),
    *((LEDGER, (n + 0.5) / 5) for n in range(5)),
    *((RECORD, (n + 0.5) / 2) for n in range(2)),
    (r"^write .*\.journal", 1),
    (r"^rename .*\.journal", 2),
    (r"^remove .*\.journal$", 1),
]
# in the order of a group's work: killed at one, the next run comes to the next
IN_A_ROW = [
    (r"\.sqlite-journal$", 1),
    (r"^sync .*\.sqlite$", 1),
    (r"^remove .*\.sqlite-journal$", 2),
    (r"^open .*\.gguf\.partial$", 2),
    (r"^cut .*\.gguf\.partial$", 2),
    *((DATA, 40) for _ in range(5)),
    (r"^open .*\.journal", 2),
    (r"^write .*\.journal", 1),
    (r"^rename .*\.journal", 1),
    (r"^rename .*\.gguf", 2),
    (r"^remove .*\.journal$", 1),
    (r"^write .*/tokens$", 1),
    (r"^sync .*\.sqlite-journal$", 6),
    (r"^sync .*group-.\.json", 1),
    (r"^rename .*group-.\.json", 2),
    (r"^write .*group-.\.json", 3),
]
NOTES = {
    "opened": r"^open .*\.journal",
    "waited for": r"^sync .*\.journal",
    "named": r"^rename .*\.journal",
    "removed": r"^remove .*\.journal$",
    "record named": r"^rename .*group-.\.json",
    "ledger's own": r"^sync .*\.sqlite-journal$",
}


@dataclass(frozen=True)
class Release:
    """A folder with a release that is prepared, and what an undisturbed run makes of it."""

    folder: Path
    stopper: Path

    @property
    def road(self) -> Road:
        """Nobody asks a Hub any more."""
        return Road(folder=self.folder, url="http://127.0.0.1:9", token="")

    def quantizing(self, work: Path, group: int, log: Path, **stop: Any) -> subprocess.Popen[str]:
        """`bot step quantize` of a group in a working folder, its steps told in `log`."""
        config = self.road.settings(f"{work}.yaml", **_settings(self.folder, work))
        told = json.loads((self.folder / TOLD).read_text())
        names = ("--release", told["release"], "--sentinel", told["sentinel"])
        verb = ("step", "quantize", "--group", str(group), *names)
        return begin(
            self.stopper,
            [sys.executable, "-m", "tests.stepping", "bot", "--config", str(config), *verb],
            work,
            log=log,
            env=self.road.environment(OMP_WAIT_POLICY="passive"),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **stop,
        )

    @property
    def prepared(self) -> Path:
        """The working folder before any group."""
        return self.folder / "work"

    @property
    def calm(self) -> Path:
        """The working folder after all groups; each's steps lie beside it."""
        return self.folder / "calm"

    def steps(self, group: int) -> list[str]:
        """What a group did when nothing disturbed it."""
        return (self.folder / f"calm-{group}.log").read_text().splitlines()


def _settings(folder: Path, work: Path) -> dict[str, Any]:
    profiles = folder / "profiles"
    return {
        "workdir": str(work),
        "hub": {"namespace": "alice"},
        "llama": {"threads": 1, "gpu_layers": 0},
        "calibration": {"context": 128, "chunks": 2},
        "evaluation": {"noise_chunks": 0, "context": 128, "chunks": 1, "tasks": [], "speed": False},
        "jobs": {"tiers": TIERS // len(GROUPS)},
        **({"profiles": str(profiles)} if profiles.is_dir() else {}),
    }


def _release(folder: Path, stopper: Path, model: Path, *, light: bool) -> Release:
    """Nine tiers; `light` ones are made in no time."""
    if light:
        (folder / "profiles").mkdir()
        for path in data_folder("profiles").glob("*.yaml"):
            text = path.read_text()
            for kind, other in LIGHT.items():
                text = text.replace(kind, other)
            (folder / "profiles" / path.name).write_text(text)
    with running_hub(folder / "hub") as hub:
        small = folder / "Small-MoE-BF16.gguf"
        shrink(model, small, layers=6, experts=3)
        makers = Client(hub.url, SecretStr(hub.token))
        makers.create_private(MODEL)
        card = folder / "README.md"
        card.write_text("---\nlicense: apache-2.0\n---\n")
        files = {card.name: card, small.name: small}
        makers.commit(MODEL, files, "Release", makers.head(MODEL))
        makers.make_public(MODEL)
        road = Road(folder=folder, url=hub.url, token=hub.token)
        road.settings(**_settings(folder, folder / "work"))
        done = road.bot("step", "prepare", "--model", MODEL, "--json")
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)["matrix"]["include"]
    assert [len(row["tiers"].split(",")) for row in groups] == [3, 3, 3]
    (folder / TOLD).write_text(done.stdout)
    made = Release(folder, stopper)
    shutil.copytree(made.prepared, made.calm)
    for group in GROUPS:
        _end(made.quantizing(made.calm, group, folder / f"calm-{group}.log"))
    assert len(list(made.calm.glob("jobs/*/release/*APEX*.gguf"))) == TIERS
    return made


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, stopper: Path, demo_model: Path) -> Release:
    """Light tiers, prepared once for all processes of a run."""

    def make(folder: Path) -> None:
        _release(folder, stopper, demo_model, light=True)

    return Release(once(tmp_path_factory, "groups", make), stopper)


def _end(process: subprocess.Popen[str], code: int = 0) -> None:
    _, said = process.communicate(timeout=900)
    assert process.returncode == code, said


def _changed(log: Path) -> set[Path]:
    """Files that a process wrote, cut, renamed or removed, by its steps."""
    lines = (line.split(" ") for line in (log.read_text().splitlines() if log.exists() else ()))
    paths = (names for verb, *names in lines if verb in ("write", "cut", "rename", "remove"))
    return {Path(name) for names in paths for name in names}


def _state(paths: Iterable[Path]) -> dict[Path, str | None]:
    return {path: sha256(path) if path.is_file() else None for path in paths}


def _files(work: Path) -> dict[str, str]:
    """All that lies in the job's folder, by name: no note and no unfinished file is left."""
    paths = (path for path in work.glob("jobs/*/**/*") if path.is_file())
    return {str(path.relative_to(work)): sha256(path) for path in paths}


def _records(work: Path) -> Iterator[Any]:
    """What the groups tell later jobs: tiers, and all finished work with the files' hashes."""
    for group in GROUPS:
        (path,) = work.glob(f"orders/*/group-{group}.json")
        record = json.loads(path.read_text())
        yield record["tiers"]
        for one in (*record["work"], *_rows(path.with_suffix(".sqlite"))):
            yield one["step"], one["inputs"], [(f["path"], f["sha256"]) for f in one["files"]]


def _rows(ledger: Path) -> Iterator[dict[str, Any]]:
    for one in Ledger(ledger, shared_folder=True).work():
        files = [{"path": file.path, "sha256": file.sha256} for file in one.files]
        yield {"step": one.step, "inputs": one.inputs, "files": files}


def _at(release: Release, group: int, of: str, where: float) -> int:
    if isinstance(where, int):
        return where
    pattern = subprocess.run(
        ["grep", "-cE", of], input="\n".join(release.steps(group)), capture_output=True, text=True
    )  # the same expressions as the library's
    return 1 + int(int(pattern.stdout) * where)


def _killed_and_run_again(release: Release, work: Path, of: str, where: float) -> None:
    shutil.copytree(release.prepared, work)
    logs = {group: work.with_name(f"{work.name}-{group}.log") for group in GROUPS}
    running = [
        release.quantizing(work, group, logs[group], of=of, at=_at(release, group, of, where))
        for group in GROUPS
    ]
    for process in running:
        _end(process, -signal.SIGKILL)
    alone, *others = GROUPS
    theirs = {path for group in others for path in _changed(logs[group])}
    before = _state(theirs)
    _end(release.quantizing(work, alone, logs[alone]))
    assert _state(theirs) == before
    for process in [release.quantizing(work, group, logs[group]) for group in others]:
        _end(process)
    _same(release, work, logs.values())


def _same(release: Release, work: Path, logs: Iterable[Path]) -> None:
    """What an undisturbed run makes was made, and no file was changed by two groups."""
    assert _files(work) == _files(release.calm)
    assert list(_records(work)) == list(_records(release.calm))
    changed = [_changed(log) for log in logs]
    for number, one in enumerate(changed):
        for other in changed[number + 1 :]:
            assert one & other == set()
    shutil.rmtree(work)


@pytest.mark.long
@pytest.mark.parametrize(("of", "where"), PLACES)
def test_killed_at_twenty_places(
    release: Release, tmp_path: Path, of: str, where: float | int
) -> None:
    _killed_and_run_again(release, tmp_path / "killed", of, where)


@pytest.mark.long
def test_killed_twenty_times_in_a_row(release: Release, tmp_path: Path) -> None:
    """One group alone, whose kill touches nobody's files, then the others at once; to the end."""
    work = Path(shutil.copytree(release.prepared, tmp_path / "killed"))
    logs = {group: tmp_path / f"{group}.log" for group in GROUPS}
    alone, *others = GROUPS
    assert len(IN_A_ROW) == 20
    for of, at in IN_A_ROW:
        theirs = _state(path for group in others for path in _changed(logs[group]))
        _end(release.quantizing(work, alone, logs[alone], of=of, at=at), -signal.SIGKILL)
        assert _state(theirs) == theirs, of
        for process in [release.quantizing(work, n, logs[n], of=of, at=at) for n in others]:
            _end(process, -signal.SIGKILL)
    for process in [release.quantizing(work, group, logs[group]) for group in GROUPS]:
        _end(process)
    _same(release, work, logs.values())


@pytest.mark.long
@pytest.mark.parametrize("note", NOTES)
def test_others_run_while_one_is_held(release: Release, tmp_path: Path, note: str) -> None:
    work = Path(shutil.copytree(release.prepared, tmp_path / "held"))
    logs = {group: tmp_path / f"{group}.log" for group in GROUPS}
    held, *others = GROUPS
    first = release.quantizing(work, held, logs[held], of=NOTES[note], at=1, how=signal.SIGSTOP)
    assert is_stopped(first)
    for process in [release.quantizing(work, group, logs[group]) for group in others]:
        _end(process)
    first.send_signal(signal.SIGCONT)
    _end(first)
    _same(release, work, logs.values())


@pytest.mark.long
def test_the_nine_tiers_as_they_are(tmp_path: Path, stopper: Path, demo_model: Path) -> None:
    """With those below 3 bits, killed in the middle of their data."""
    (tmp_path / "real").mkdir()
    release = _release(tmp_path / "real", stopper, demo_model, light=False)
    _killed_and_run_again(release, tmp_path / "killed", DATA, 0.5)
