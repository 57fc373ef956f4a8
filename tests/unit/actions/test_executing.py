"""Builds on this machine: real processes, that outlive who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bot.actions.executing import Attempt, Here
from bot.store.queue_tables import QueuedRelease

TASK = QueuedRelease(
    id="abc", repo="maker/Model", commit="c" * 40, weights="w", tiers=("I-Mini", "I-Nano"),
    reason="r", state="starting", attempts=1, due=0, error=None, link=None, created=7, changed=7,
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path) -> Callable[[str], Here]:
    """An executor whose `bot` is a program of ours."""

    def make(program: str) -> Here:
        return Here(tmp_path / "runs", (sys.executable, "-c", program))

    return make


def ended(executor: Here, task: QueuedRelease = TASK) -> Attempt:
    """The run once it has ended."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        run = executor.find(task)
        if run is not None and run.good is not None:
            return run
        time.sleep(0.01)
    raise AssertionError("it does not end")


def test_a_good_run_tells_where_it_published(here: Callable[[str], Here], tmp_path: Path) -> None:
    program = (
        "import json, sys; print('narration', file=sys.stderr)\n"
        "print(json.dumps({'url': 'http://hub/' + ' '.join(sys.argv[1:])}))"
    )
    executor = here(program)
    assert executor.find(TASK) is None
    link = executor.start(TASK)
    assert link == str(tmp_path / "runs" / "abc-1-7" / "log")
    words = f"publish maker/Model --revision {'c' * 40} --tiers I-Mini,I-Nano"
    assert ended(executor).link == f"http://hub/{words} --refresh --unless-published --json"
    assert ended(executor).good is True
    assert executor.find(replace(TASK, attempts=2)) is None


def test_a_run_tells_what_is_lacking(here: Callable[[str], Here]) -> None:
    executor = here("""print('{"url": "u", "lacks": ["without its vision part"]}')""")
    executor.start(TASK)
    assert ended(executor) == Attempt(good=True, link="u", lacks=("without its vision part",))


def test_a_run_that_waits_for_a_person_is_not_published(here: Callable[[str], Here]) -> None:
    executor = here("""print('{"url": "u", "waiting": "http://hub/me/model/discussions/1"}')""")
    executor.start(TASK)
    assert ended(executor) == Attempt(
        good=False, waiting=True, link="http://hub/me/model/discussions/1"
    )


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            "sys.exit('Error: the disk is full')",
            Attempt(good=False, error="Error: the disk is full"),
        ),
        ("say('no mixture'); sys.exit(4)", Attempt(good=False, error="no mixture", final=True)),
        ("say('busy'); sys.exit(10)", Attempt(good=False, error="busy", elsewhere=True)),
        ("sys.exit(9)", Attempt(good=False, error="exit code 9")),
        ("sys.exit(8)", Attempt(good=False, error="exit code 8", refused=True)),
        ("sys.exit(143)", Attempt(good=False, error="exit code 143", passing=True)),
        ("say('gone'); sys.exit(12)", Attempt(good=False, error="gone", passing=True)),
        ("say('no Hub'); sys.exit(7)", Attempt(good=False, error="no Hub", passing=True)),
        ("print('')", Attempt(good=False, error="it ended well and its result is lost")),
        ("print('[]')", Attempt(good=False, error="it ended well and its result is lost")),
        ("print('{}')", Attempt(good=False, error="it ended well and its result is lost")),
    ],
)
def test_a_failed_run_says_why(
    here: Callable[[str], Here], program: str, expected: Attempt
) -> None:
    executor = here(f"import sys\ndef say(text): print(text, file=sys.stderr)\n{program}")
    link = executor.start(TASK)
    assert ended(executor) == replace(expected, link=link)


def test_a_run_is_started_once_and_seen_by_others_while_it_lives(
    here: Callable[[str], Here], tmp_path: Path
) -> None:
    marks, go = tmp_path / "marks", tmp_path / "go"
    program = (
        f"import pathlib, time; open({str(marks)!r}, 'a').write('x')\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        """print('{"url": "u"}')"""
    )
    executor, other = here(program), here(program)
    executor.start(TASK)
    assert other.find(TASK) == Attempt(good=None, link=executor.start(TASK))
    other.start(TASK)
    go.touch()
    assert ended(other).good is True
    assert marks.read_text() == "x"


def test_a_run_goes_on_when_its_starter_is_killed(
    here: Callable[[str], Here], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    program = (
        f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        """print('{"url": "u"}')"""
    )
    executor = here(program)
    starter = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.unit.actions.test_executing import TASK, Here\n"
        "Here(Path(sys.argv[1]), (sys.executable, '-c', sys.argv[2])).start(TASK)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", starter, str(tmp_path / "runs"), program]
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run(command, cwd=root, check=False).returncode == -signal.SIGKILL
    attempt = executor.find(TASK)
    assert attempt is not None
    assert attempt.good is None
    go.touch()
    assert ended(executor).good is True


def test_a_run_that_is_killed_says_so(here: Callable[[str], Here]) -> None:
    executor = here("import os, signal, time; os.kill(os.getppid(), signal.SIGKILL)")
    executor.start(TASK)
    assert ended(executor).error == "it was killed"


def test_a_folder_without_a_run_is_a_start_that_never_came(
    here: Callable[[str], Here], tmp_path: Path
) -> None:
    (tmp_path / "runs" / "abc-1-7").mkdir(parents=True)
    assert here("").find(TASK) is None


@pytest.mark.parametrize(
    ("left", "error"),
    [
        ({"exit": b"0\n", "result.json": b"", "log": b""}, "it ended well and its result is lost"),
        ({"exit": b"0\n"}, "it ended well and its result is lost"),
        ({"exit": b"", "log": b""}, "it was killed"),
        ({"exit": b"\xff\x00", "log": b""}, "it was killed"),
        ({"exit": b"8\n"}, "exit code 8"),
        ({"exit": b"8\n", "log": b"\xff\xfe\n"}, "\ufffd\ufffd"),
    ],
)
def test_what_a_power_cut_leaves_is_a_failure_and_stalls_nothing(
    here: Callable[[str], Here], tmp_path: Path, left: dict[str, bytes], error: str
) -> None:
    folder = tmp_path / "runs" / "abc-1-7"
    folder.mkdir(parents=True)
    for name, content in left.items():
        (folder / name).write_bytes(content)
    run = here("").find(TASK)
    assert run is not None
    assert (run.good, run.error, run.final) == (False, error, False)


def test_folders_of_old_runs_are_removed_but_not_the_latest_of_what_is_open(
    here: Callable[[str], Here], tmp_path: Path
) -> None:
    executor = here("")
    for name in ("abc-1-7", "abc-2-7", "old-1-3"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        os.utime(folder, (1_000, 1_000))
    (tmp_path / "runs" / "new-1-3").mkdir()
    executor.prune(2_000, [replace(TASK, attempts=2)])
    assert {folder.name for folder in (tmp_path / "runs").iterdir()} == {"abc-2-7", "new-1-3"}
