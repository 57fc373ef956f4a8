"""SIGKILL at steps of a whole publication: what is gone on with ends the same.

A step is a change of the disk (see tests/steps.py) or a request.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.errors import SourceError
from tests.e2e.road import CHOSEN, REPO, Calm, Road, seen_files
from tests.local_hub.server import Hub, running_hub
from tests.unit.clients.hub.between import Between, Fault, between

PLACES, REQUESTS = 60, 40  # of the long tests: as many parts of the whole


def _road(folder: Path, hub: Hub, proxy: Between | None = None) -> Road:
    road = Road(folder=folder, url=(proxy or hub).url, token=hub.token)
    road.settings()
    return road


STAGES = {
    "calibrate": r"rename .*imatrix\.gguf$",
    "quantize": r"write .*Balanced\.gguf\.partial",
    "quantize, late": r"rename .*I-Compact\.gguf$",
    "reference": r"rename .*reference\.logits$",
    "evaluate": r"remove .*tokens$",
    "card": r"write .*size-vs-kld\.svg",
}
QUICK = ("quantize, late",)


@pytest.mark.parametrize(
    "stage",
    [pytest.param(n, marks=pytest.mark.road if n in QUICK else pytest.mark.long) for n in STAGES],
)
def test_killed_in_a_stage(calm: Calm, tmp_path: Path, demo_model: Path, stage: str) -> None:
    with running_hub(tmp_path / "hub") as hub:
        road = _road(tmp_path, hub)
        road.killed_at(STAGES[stage], "publish", str(demo_model), *CHOSEN)
        with pytest.raises(SourceError):
            seen_files(hub)  # nothing is to be seen yet
        said = _ends_well(calm, road, hub, demo_model)
    table, last = said.rstrip().rsplit("\n\n", 1)
    assert all(tier in table for tier in CHOSEN[1].split(","))
    assert "every hash verified" in last


@pytest.mark.long
@pytest.mark.parametrize("number", range(PLACES))
def test_killed_at_any_step(calm: Calm, tmp_path: Path, demo_model: Path, number: int) -> None:
    with running_hub(tmp_path / "hub") as hub:
        road = _road(tmp_path, hub)
        road.killed_at("", "publish", str(demo_model), *CHOSEN, at=calm.step(number, PLACES))
        _whole_or_nothing(calm, hub)
        _ends_well(calm, road, hub, demo_model)


@pytest.mark.long
def test_killed_once_the_repository_is_there_and_once_the_commit_is(
    calm: Calm, tmp_path: Path, demo_model: Path, work: Path
) -> None:
    """Before the repository is public."""
    del work
    with running_hub(tmp_path / "hub") as hub:
        for commits in (0, 1):
            there = partial(_has, hub, commits)
            assert _killed_at_a_request(tmp_path, hub, demo_model, there) == -signal.SIGKILL
        with pytest.raises(SourceError):
            seen_files(hub)
        _ends_well(calm, _road(tmp_path, hub), hub, demo_model)


@pytest.mark.long
@pytest.mark.parametrize("number", range(REQUESTS))
def test_killed_at_any_request(
    calm: Calm, tmp_path: Path, demo_model: Path, work: Path, number: int
) -> None:
    del work
    at = number * calm.requests // REQUESTS
    with running_hub(tmp_path / "hub") as hub:
        code = _killed_at_a_request(tmp_path, hub, demo_model, lambda reached: reached >= at)
        assert code == -signal.SIGKILL
        _whole_or_nothing(calm, hub)
        _ends_well(calm, _road(tmp_path, hub), hub, demo_model)


def _has(hub: Hub, commits: int, _number: int) -> bool:
    return hub.commits(REPO) == commits


def _killed_at_a_request(folder: Path, hub: Hub, model: Path, there: Callable[[int], bool]) -> int:
    """Publish, and SIGKILL it when a request comes for whose number from 0 `there` is true.

    Returns its exit code.
    """
    with between(hub.url) as proxy:
        road = _road(folder, hub, proxy)
        with road.held_at("$.", "publish", str(model), *CHOSEN, HF_HUB_DISABLE_XET="1") as running:

            def choose(number: int, _method: str, _path: str) -> Fault | None:
                if there(number):
                    running.process.kill()
                return None

            proxy.choose = choose
            return running.process.wait()


def _whole_or_nothing(calm: Calm, hub: Hub) -> None:
    try:
        seen = seen_files(hub)
    except SourceError:
        return
    assert seen == calm.files


def _ends_well(calm: Calm, road: Road, hub: Hub, model: Path) -> str:
    """The same command, run again, goes on and ends as if nothing had been; what it says."""
    done = road.bot("publish", str(model), *CHOSEN)
    assert done.returncode == 0, done.stderr
    assert seen_files(hub) == calm.files
    assert hub.commits(REPO) == 1
    assert not Client(hub.url, SecretStr(hub.token)).release(REPO).private
    return done.stdout
