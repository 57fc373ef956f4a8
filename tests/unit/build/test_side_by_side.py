"""Groups of tiers made side by side in one folder, each killed at some step and run again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bot.workspace import sha256

ROOT = Path(__file__).resolve().parents[3]
FEW = ("Balanced", "Quality")
ALL = ("I-Nano,Compact,Quality", "I-Micro,I-Compact,Balanced", "I-Mini,I-Balanced,I-Quality")
PLACES = 20


def begin(
    model: Path, folder: Path, tiers: str, step: int = 0, delay: float = 0.0
) -> subprocess.Popen[str]:
    given = (str(model), str(folder), str(step), str(delay), tiers)
    command = [sys.executable, "-m", "tests.stepping", *given]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == code
    return said


def kept(folder: Path, tiers: str) -> dict[str, str]:
    """What lies in a folder of other groups than this one: names and content."""
    names = tuple(f"{tier}.gguf" for tier in tiers.split(","))
    return {
        path.name: sha256(path)
        for path in folder.iterdir()
        if not path.name.startswith(names)
        and not (path.suffix == ".journal" and any(f'"{n}"' in path.read_text() for n in names))
    }


def killed_and_run_again(
    model: Path, calm: Path, folder: Path, steps: dict[str, int], delay: float = 0.0
) -> None:
    running = [begin(model, folder, tiers, step, delay) for tiers, step in steps.items()]
    for process in running:
        end(process, -signal.SIGKILL)
    alone, *others = steps
    before = kept(folder, alone)
    end(begin(model, folder, alone, delay=delay))
    assert kept(folder, alone) == before  # nobody else's file or journal was touched
    for process in [begin(model, folder, tiers, delay=delay) for tiers in others]:
        end(process)
    found = {path.name: sha256(path) for path in folder.iterdir()}
    assert found == {path.name: sha256(path) for path in calm.iterdir()}


def counted(model: Path, calm: Path, groups: tuple[str, ...]) -> dict[str, int]:
    """Steps of each group when nothing disturbs it."""
    return {tiers: int(end(begin(model, calm, tiers))) for tiers in groups}


def test_groups_killed_at_some_steps_end_in_the_same_bytes(
    demo_model: Path, tmp_path: Path
) -> None:
    steps = counted(demo_model, tmp_path / "calm", FEW)
    middle = {tiers: count // 2 for tiers, count in steps.items()}
    killed_and_run_again(demo_model, tmp_path / "calm", tmp_path / "killed", middle)


@pytest.mark.long
@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_nine_tiers_killed_at_twenty_steps(demo_model: Path, tmp_path: Path, delay: float) -> None:
    steps = counted(demo_model, tmp_path / "calm", ALL)
    assert len(list((tmp_path / "calm").iterdir())) == 9
    places = range(PLACES) if not delay else (0, PLACES - 1)  # a slow disk takes its time
    for place in places:
        at = {tiers: int(count * (place + 0.5) / PLACES) for tiers, count in steps.items()}
        folder = tmp_path / f"killed-{place}"
        killed_and_run_again(demo_model, tmp_path / "calm", folder, at, delay)
