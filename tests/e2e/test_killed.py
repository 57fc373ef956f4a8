"""SIGKILL at random instants of a whole publication: what is gone on with ends the same."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub import Hub as Client
from bot.errors import SourceError
from tests.e2e.road import Road
from tests.local_hub.server import Hub, running_hub

TIERS = "Balanced,I-Mini"
REPO = "alice/Tiny-MoE-14M-APEX-GGUF"
SEED = 9


@dataclass(frozen=True, kw_only=True)
class Calm:
    """An undisturbed publication: its length in seconds and what it ended in."""

    seconds: float
    files: dict[str, str]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[Calm]:
    folder = tmp_path_factory.mktemp("calm")
    with running_hub(folder / "hub") as hub:
        road = Road(folder=folder, url=hub.url, token=hub.token)
        road.settings()
        start = time.monotonic()
        done = road.bot("publish", str(demo_model), "--profiles", TIERS)
        assert done.returncode == 0, done.stderr
        yield Calm(seconds=time.monotonic() - start, files=_files(hub))


def _files(hub: Hub) -> dict[str, str]:
    """sha256 of every large file that everybody sees, and the names of the others."""
    found = Client(hub.url, None).release(REPO)
    return {file.path: file.sha256 or "" for file in found.files}


def test_killed_at_some_instants(calm: Calm, tmp_path: Path, demo_model: Path) -> None:
    for number, instant in enumerate(_instants(3)):
        _killed(calm, tmp_path / str(number), demo_model, instant)


@pytest.mark.long
@pytest.mark.parametrize("number", range(100))
def test_killed_at_any_instant(calm: Calm, tmp_path: Path, demo_model: Path, number: int) -> None:
    _killed(calm, tmp_path / str(number), demo_model, _instants(100)[number])


def _instants(count: int) -> list[float]:
    """Fractions of the whole, one in each of `count` equal parts."""
    seeded = random.Random(SEED)  # noqa: S311 - instants, not secrets
    return [(i + seeded.random()) / count for i in range(count)]


def _killed(calm: Calm, folder: Path, model: Path, instant: float) -> None:
    folder.mkdir()
    with running_hub(folder / "hub") as hub:
        road = Road(folder=folder, url=hub.url, token=hub.token)
        road.settings()
        arguments = ("publish", str(model), "--profiles", TIERS)
        with subprocess.Popen(
            road.command(*arguments),
            env=road.environment(),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                process.wait(instant * calm.seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        try:
            seen = _files(hub)
        except SourceError:
            seen = calm.files  # nothing is to be seen
        assert seen == calm.files
        done = road.bot(*arguments)
        assert done.returncode == 0, done.stderr
        assert _files(hub) == calm.files
        assert hub.commits(REPO) == 1
        assert not Client(hub.url, SecretStr(hub.token)).release(REPO).private
