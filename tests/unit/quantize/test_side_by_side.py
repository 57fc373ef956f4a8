"""Passes side by side in one folder, held or killed at some step: none disturbs another's files."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.disk.hashes import sha256
from tests.split_gguf import shrink
from tests.stopping import ROOT, begin, is_stopped

ONE, OTHER = "I-Compact", "Balanced,Quality"
# each step of a note; of the data one that has notes before it
STEPS = {
    "note opened": r"^open .*\.journal",
    "note written": r"^write .*\.journal",
    "note waited for": r"^sync .*\.journal",
    "note named": r"^rename .*\.journal",
    "note removed": r"^remove .*\.journal$",
    "data": r"^write .*\.gguf\.partial",
    "file named": r"^rename .*\.gguf",
}
QUICK = ("note named",)
MIDDLE = 30  # of the data's writes


@pytest.fixture(scope="module")
def small(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for passes of a second."""
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    shrink(demo_model, path, layers=4, experts=3)
    return path


@pytest.fixture(scope="module")
def alone(stopper: Path, small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names and content of what both make when nothing disturbs them."""
    folder = tmp_path_factory.mktemp("alone")
    for tiers in (ONE, OTHER):
        _end(_making(stopper, small, folder, tiers))
    return _held(folder)


def _making(
    stopper: Path, model: Path, folder: Path, tiers: str, **stop: Any
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.stepping", "pass", str(model), str(folder), tiers]
    return begin(stopper, command, folder, cwd=ROOT, **stop)


def _end(process: subprocess.Popen[str], code: int = 0) -> None:
    process.communicate(timeout=600)
    assert process.returncode == code


def _held(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir()}


@pytest.mark.road
@pytest.mark.parametrize(
    "step", [pytest.param(n, marks=() if n in QUICK else pytest.mark.long) for n in STEPS]
)
@pytest.mark.parametrize("killed", [False, True], ids=["held", "killed"])
def test_another_pass_meanwhile(
    stopper: Path, small: Path, tmp_path: Path, alone: dict[str, str], step: str, killed: bool
) -> None:
    """One stops there, the other runs from begin to end, then the first goes on, or begins anew."""
    stop = {"of": STEPS[step], "at": MIDDLE if step == "data" else 1}
    folder = tmp_path / "work"
    folder.mkdir()
    first = _making(stopper, small, folder, ONE, how=signal.SIGSTOP, **stop)
    assert is_stopped(first)
    if killed:
        first.kill()
        _end(first, -signal.SIGKILL)
    before = _held(folder)
    _end(_making(stopper, small, folder, OTHER))
    now = _held(folder)
    assert {name: now.get(name) for name in before} == before
    assert sorted(set(now) - set(before)) == sorted(f"{tier}.gguf" for tier in OTHER.split(","))
    if killed:
        _end(_making(stopper, small, folder, ONE))
    else:
        first.send_signal(signal.SIGCONT)
        _end(first)
    assert _held(folder) == alone
