"""A converter that turned hostile tries what it can: a table of what each isolation stops.

The child is a real process started as the converter is; what it reached is what it printed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bot.apart import cell, sandbox
from bot.apart.sandbox import Isolation, Limits
from tests.unit.apart.test_sandbox import PROGRAMS

ROOT = Path(__file__).resolve().parents[3]
TRIES = r"""
import json, os, signal, socket, sys
home, agent, abstract, port, parent, victim = sys.argv[1:7]
reached = {}

def attempt(name):
    def run(act):
        try:
            reached[name] = bool(act())
        except (OSError, PermissionError):
            reached[name] = False
    return run

def unix(address):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        return True

attempt("the user's files")(lambda: open(home + "/.ssh/id_ed25519").read())
attempt("writing to the user's files")(lambda: open(home + "/.bashrc", "a").write("evil"))
attempt("a socket of an agent")(lambda: unix(agent))
attempt("an abstract socket")(lambda: unix("\0" + abstract))
attempt("the network")(lambda: socket.create_connection(("127.0.0.1", int(port)), 5))
attempt("another process's environment")(
    lambda: b"HF_TOKEN" in open(f"/proc/{parent}/environ", "rb").read())
attempt("another process's memory")(lambda: open(f"/proc/{parent}/mem", "rb"))
attempt("what other processes run")(lambda: open(f"/proc/{parent}/cmdline").read())
attempt("signals to another process")(lambda: os.kill(int(victim), signal.SIGTERM) or True)
attempt("the system's files")(lambda: open("/etc/hostname").read())
attempt("mounting")(lambda: os.system("mount -t tmpfs x /tmp 2>/dev/null") == 0)
attempt("its own folder")(lambda: open("made", "w").write("x"))
print(json.dumps(reached))
"""
# what a child reaches, by isolation; root is not stopped by what a kernel shows to root alone
OWN = {"its own folder"}
FILES = {"the user's files", "writing to the user's files", "the system's files"}
LINES = {"a socket of an agent", "what other processes run", "signals to another process"}
REACHES: dict[Isolation, set[str]] = {
    "cell": OWN,
    "offline": OWN | FILES | LINES,
    "none": OWN | FILES | LINES | {"an abstract socket", "the network"},
}
# these depend on who runs the bot: a bot that is not root is closed to its own user (secrecy.py)
ROOTS = {"another process's environment", "another process's memory", "mounting"}


@pytest.fixture
def user(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A home folder, an agent's socket, a service, and a process of the user's; as arguments."""
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("secret")
    (home / ".bashrc").write_text("mine\n")
    agent, abstract = str(tmp_path / "agent"), f"apex-bot-test-{os.getpid()}"
    with ExitStack() as open_:
        for address in (agent, f"\0{abstract}"):
            line = open_.enter_context(socket.socket(socket.AF_UNIX))
            line.bind(address)
            line.listen()
        server = open_.enter_context(socket.create_server(("127.0.0.1", 0)))
        sleeper = [sys.executable, "-c", "import time; time.sleep(300)"]
        victim = open_.enter_context(subprocess.Popen(sleeper))
        pid = str(victim.pid)
        yield str(home), agent, abstract, str(server.getsockname()[1]), pid, pid
        victim.kill()


@pytest.mark.parametrize("level", ["cell", "offline", "none"])
def test_what_each_isolation_stops(
    tmp_path: Path,
    user: tuple[str, ...],
    level: Isolation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there: Isolation = sandbox.isolation()
    order: tuple[Isolation, ...] = ("none", "offline", "cell")
    if order.index(level) > order.index(there):
        pytest.skip(f"this system has no isolation of the kind {level}")
    monkeypatch.setattr(sandbox, "isolation", lambda: level)  # as a poorer system would answer
    work = tmp_path / "work"
    work.mkdir()
    python, log = Path(sys.executable), work / "log"
    status = sandbox.run(
        (str(python), "-c", TRIES, *user),
        home=work / "home",
        env=sandbox.environment(python, work / "home"),
        log=log,
        limits=Limits(seconds=60),
        watch=lambda: None,
        reads=PROGRAMS,
        writes=(work,),
    )
    assert status == 0, log.read_text()
    found: dict[str, bool] = json.loads(log.read_text())
    reached = {name for name, good in found.items() if good}
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
    sandbox.require_isolation("cell")
    refused = ""
except CapacityError as error:
    refused = str(error)
python, log = Path(sys.executable), work / "log"
status = sandbox.run(
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
    done = container(kind, sys.executable, "-c", INSIDE, str(work), TRIES, *user)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found.pop("level"), found.pop("status")) == (LEFT[kind], 0)
    assert "convert.isolation is cell" in found.pop("refused")
    reached = {name for name, good in found.items() if good}
    assert reached - ROOTS == REACHES[LEFT[kind]]


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_a_system_without_cells_can_be_refused() -> None:
    """By the exit code for what a machine lacks, and in words that say what to do."""
    sandbox.require_isolation("best")
    done = container("seccomp", sys.executable, "-c", (
        "from bot.apart import sandbox; sandbox.require_isolation('best');"
        "sandbox.require_isolation('cell')"
    ))  # fmt: skip
    assert "CapacityError: this system lets no process have namespaces of its own" in done.stderr


def test_a_cell_shows_what_it_is_given_and_holds_nothing(tmp_path: Path) -> None:
    if not cell.here():
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
    status = sandbox.run(
        (str(python), "-c", code, str(tmp_path)),
        home=home, env=sandbox.environment(python, home), log=log,
        limits=Limits(seconds=60), watch=lambda: None, reads=(*PROGRAMS, tmp_path / "given"),
    )  # fmt: skip
    said = log.read_text()
    assert status == 0, said
    assert "read me" in said
    assert "other" not in said
    assert "WROTE given" not in said
    assert list((home / ".cell").iterdir()) == []
