"""The demo's texts: their form, nothing evaluated was calibrated on, the sums in ORIGIN.md."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from bot.measures.tasks import read_tasks

DEMO = Path(__file__).resolve().parents[3] / "bot" / "demo"
TEXTS = ("evaluation.txt", "calibration.txt", "tasks.txt")
TASKS = 200
SHORTEST_SHARED = 60  # characters; shorter phrases are common English


@dataclass(frozen=True, kw_only=True)
class Task:
    """Six lines taken apart."""

    context: str
    right: int
    endings: tuple[str, ...]


@pytest.fixture(scope="module")
def tasks() -> tuple[Task, ...]:
    lines = _text("tasks.txt").split("\n")
    return tuple(
        Task(context=lines[i], right=int(lines[i + 1]), endings=tuple(lines[i + 2 : i + 6]))
        for i in range(0, len(lines) - 5, 6)
    )


def test_every_task_is_asked() -> None:
    assert len(read_tasks(DEMO / "tasks.txt", "hellaswag", None)) == TASKS


def _text(name: str) -> str:
    return (DEMO / name).read_bytes().decode("utf-8")


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_clean(name: str) -> None:
    text = _text(name)
    assert 70_000 <= len(text.encode()) <= 90_000
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not re.search(r"[\r\0\ufeff\ufffd]", text)
    assert "gutenberg" not in text.lower()


@pytest.mark.parametrize("name", TEXTS)
def test_origin_states_the_sum_of_the_file(name: str) -> None:
    row = re.search(rf"^\| `{re.escape(name)}` .*`([0-9a-f]{{64}})` \|$", _text("ORIGIN.md"), re.M)
    assert row is not None
    assert row[1] == sha256((DEMO / name).read_bytes()).hexdigest()


def test_every_task_has_six_clean_lines(tasks: tuple[Task, ...]) -> None:
    lines = _text("tasks.txt").removesuffix("\n").split("\n")
    assert len(lines) == 6 * TASKS == 6 * len(tasks)
    for line in lines:
        assert line
        assert line == line.strip()
        assert line.isascii()
        assert "`" not in line
        assert "  " not in line
    assert all(re.match(r"[^:]+: \S", task.context) for task in tasks)


def test_right_indices_are_evenly_used(tasks: tuple[Task, ...]) -> None:
    assert Counter(task.right for task in tasks) == dict.fromkeys(range(4), TASKS // 4)


def test_endings_of_a_task_differ_but_not_in_length(tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        assert len({ending.lower() for ending in task.endings}) == 4
        right = len(task.endings[task.right])
        assert all(abs(len(ending) - right) <= 0.3 * right for ending in task.endings)
        assert not any(ending in task.context for ending in task.endings)


def test_an_ending_is_right_once_and_wrong_three_times(tasks: tuple[Task, ...]) -> None:
    right = Counter(task.endings[task.right] for task in tasks)
    offered = Counter(ending for task in tasks for ending in task.endings)
    assert len({task.context for task in tasks}) == TASKS
    assert right == dict.fromkeys(right, 1)
    assert offered == dict.fromkeys(right, 4)


@pytest.mark.parametrize("name", ["evaluation.txt", "calibration.txt"])
def test_no_task_occurs_in_another_text(name: str, tasks: tuple[Task, ...]) -> None:
    text = " ".join(_text(name).split())
    for task in tasks:
        _, _, context = task.context.partition(": ")
        assert context not in text
        assert task.endings[task.right] not in text


def test_calibration_and_evaluation_share_no_passage() -> None:
    evaluation, calibration = (" ".join(_text(name).split()) for name in TEXTS[:2])
    windows = {
        evaluation[start : start + SHORTEST_SHARED]
        for start in range(len(evaluation) - SHORTEST_SHARED + 1)
    }
    shared = [
        calibration[start : start + SHORTEST_SHARED]
        for start in range(len(calibration) - SHORTEST_SHARED + 1)
        if calibration[start : start + SHORTEST_SHARED] in windows
    ]
    assert shared == []
