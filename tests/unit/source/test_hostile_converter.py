"""A converter that turned hostile tries what it can: a table of what each isolation stops.

The child is a real process started as the converter is; what it reached is what it printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.apart import cell, sandbox
from bot.apart.sandbox import Isolation, Limits
from tests.hostile_process import LEVELS, REACHES, ROOTS, TOLD, a_user
from tests.unit.apart.test_sandbox import PROGRAMS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def user(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """What a hostile process looks for; see tests/hostile_process.py."""
    with a_user(tmp_path) as names:
        yield names


@pytest.mark.parametrize("level", LEVELS)
def test_what_each_isolation_stops(tmp_path: Path, user: tuple[str, ...], level: Isolation) -> None:
    if LEVELS.index(level) > LEVELS.index(sandbox.isolation()):
        pytest.skip(f"this system has no isolation of the kind {level}")
    work = tmp_path / "work"
    work.mkdir()
    python, log = Path(sys.executable), work / "log"
    status = sandbox.run_apart(
        (str(python), "-c", TOLD, *user),
        home=work / "home",
        env=sandbox.environment(python, work / "home"),
        log=log,
        limits=Limits(seconds=60),
        watch=lambda: None,
        reads=PROGRAMS,
        writes=(work,),
        isolation_setting=level,
    )
    assert status == 0, log.read_text()
    attempts: dict[str, bool] = json.loads(log.read_text())
    reached = {name for name, good in attempts.items() if good}
    assert reached - ROOTS == REACHES[level]
    if level == "cell":
        assert not reached & ROOTS
        assert (tmp_path / "user" / ".bashrc").read_text() == "mine\n"
    assert (work / "home" / "made").read_text() == "x"


# a process of ours in a container: it asks the kernel itself, and starts the child as it may
INSIDE = r"""
import json, sys
from pathlib import Path
from bot.apart import sandbox
from bot.errors import CapacityError
from tests.unit.apart.test_sandbox import PROGRAMS

work, tries, user = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
try:
    sandbox.chosen_isolation("cell")
    refused = ""
except CapacityError as error:
    refused = str(error)
python, log = Path(sys.executable), work / "log"
status = sandbox.run_apart(
    (str(python), "-c", tries, *user), home=work / "home",
    env=sandbox.environment(python, work / "home"), log=log,
    limits=sandbox.Limits(seconds=60), watch=lambda: None, reads=PROGRAMS, writes=(work,),
)
found = json.loads(log.read_text())
print(json.dumps({"level": sandbox.isolation(), "refused": refused, "status": status, **found}))
"""
# how the kernel refuses (tests/unit/apart/refusing.py), and what is left
LEFT: dict[str, Isolation] = {"seccomp": "none", "used-up": "none", "mounts": "offline"}


def container(kind: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the kernel refuses; skipped where this system cannot be made to."""
    front = [sys.executable, "-m", "tests.unit.apart.refusing", kind]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    tried = subprocess.run([*front, "true"], env=environment, capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"this system cannot be made to refuse: {tried.stderr.decode()[-200:]}")
    return subprocess.run(
        [*front, *command], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp and namespaces are Linux's")
@pytest.mark.parametrize("kind", LEFT)
def test_what_is_stopped_where_the_kernel_refuses(
    tmp_path: Path, user: tuple[str, ...], kind: str
) -> None:
    """The rows of a container: nothing is set, the kernel says no to the bot as to anybody."""
    if LEFT[kind] == "offline" and sandbox.isolation() == "none":
        pytest.skip("this system lets no process have a network of its own")
    work = tmp_path / "work"
    work.mkdir()
    done = container(kind, sys.executable, "-c", INSIDE, str(work), TOLD, *user)
    assert done.returncode == 0, done.stderr
    attempts = json.loads(done.stdout)
    assert (attempts.pop("level"), attempts.pop("status")) == (LEFT[kind], 0)
    assert " isolation is cell" in attempts.pop("refused")
    reached = {name for name, good in attempts.items() if good}
    assert reached - ROOTS == REACHES[LEFT[kind]]


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_a_system_without_cells_can_be_refused() -> None:
    """By the exit code for what a machine lacks, and in words that say what to do."""
    sandbox.chosen_isolation("best")
    done = container("seccomp", sys.executable, "-c", (
        "from bot.apart import sandbox; sandbox.chosen_isolation('best');"
        "sandbox.chosen_isolation('cell')"
    ))  # fmt: skip
    assert "CapacityError: this system lets no process have namespaces of its own" in done.stderr


@pytest.mark.parametrize("more", [(), (Path("/"), Path("//"))], ids=["as given", "the root, too"])
def test_a_cell_shows_what_it_is_given_and_holds_nothing(
    tmp_path: Path, more: tuple[Path, ...]
) -> None:
    """An interpreter in /bin has the root of the system above it."""
    if not cell.cell_here():
        pytest.skip("this system lets no process have a root of its own")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("read me")
    (tmp_path / "other").mkdir()
    code = (
        "import os, sys\n"
        "folder = sys.argv[1]\n"
        "print(open(folder + '/given/file').read(), os.listdir(folder), os.listdir('/proc/1/fd'))\n"
        "for name in ('given/file', 'given/more', '../escape'):\n"
        "    try:\n"
        "        open(f'{folder}/{name}', 'w')\n"
        "        print('WROTE', name)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    home = tmp_path / "home"
    python, log = Path(sys.executable), tmp_path / "log"
    status = sandbox.run_apart(
        (str(python), "-c", code, str(tmp_path)),
        home=home, env=sandbox.environment(python, home), log=log,
        limits=Limits(seconds=60), watch=lambda: None, reads=(*PROGRAMS, *more, tmp_path / "given"),
    )  # fmt: skip
    output = log.read_text()
    assert status == 0, output
    assert "read me" in output
    assert "other" not in output
    assert "WROTE given" not in output
    assert list((home / ".cell").iterdir()) == []
