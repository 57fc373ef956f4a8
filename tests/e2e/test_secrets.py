"""A whole publication with planted secrets: none is in what it prints, writes or starts.

Nor in what it leaves when it is ended in the middle, at a step of its own: see tests/steps.py.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.steps import holding
from tests.tracing import traced

PLANTED = {
    "GITHUB_TOKEN": "ghp_plantedplantedplanted",
    "BOT_NOTIFY_URL": "https://hooks.example/planted/secret",
    "BOT_STATUS_TOKEN": "status-planted-planted",
}
LOUD = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "HF_HUB_DISABLE_XET": "1"}
CORES = Path("/proc/sys/kernel/core_pattern")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and ptrace")


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


@pytest.fixture
def told(road: Road) -> dict[str, str]:
    """The environment of a command that is given every secret, and a folder for what it drops."""
    temporary = road.folder / "tmp"
    temporary.mkdir()
    return road.environment(**PLANTED, **LOUD, TMPDIR=str(temporary), PYTHONFAULTHANDLER="1")


def command(road: Road, model: Path) -> list[str]:
    return road.command("publish", str(model), "--profiles", "Compact", "--to", "alice/M")


def holding_secrets(road: Road, hub: Hub) -> list[Path]:
    """Files that hold a secret, of all that lies where the command worked."""
    own = road.folder / "hub"  # where the local Hub keeps its users
    secrets = [secret.encode() for secret in (hub.token, *PLANTED.values())]
    return [
        path for path in road.folder.rglob("*")
        if path.is_file() and own not in path.parents
        and any(secret in path.read_bytes() for secret in secrets)
    ]  # fmt: skip


def dumping() -> None:
    """Let the program that is started write a core; so does what it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.road
@linux
def test_no_secret_anywhere(road: Road, hub: Hub, demo_model: Path, told: dict[str, str]) -> None:
    """In output, files, arguments and environments; each program that is started is looked at."""
    done, became = traced(
        command(road, demo_model), road.folder / "programs", told, cwd=road.folder
    )
    assert done.returncode == 0, done.stderr
    assert "POST" in done.stderr  # the library did tell what it asked
    (road.folder / "programs").unlink()
    (road.folder / "said").write_text(done.stdout + done.stderr)
    assert holding_secrets(road, hub) == []
    secrets = (hub.token, *PLANTED.values())
    first, *others = became
    assert all(secret in first.environment for secret in secrets)
    assert not any(secret in "\0".join(first.arguments) for secret in secrets)
    assert others, "it started nothing"
    for program in others:
        seen = "\0".join([*program.arguments, program.environment])
        assert [program.arguments[:4] for secret in secrets if secret in seen] == []


@pytest.mark.road
def test_a_refused_token_is_not_repeated(road: Road, demo_model: Path) -> None:
    wrong = "hf_wrongwrongwrongwrong"
    done = road.bot("publish", str(demo_model), HF_TOKEN=wrong, HF_DEBUG="1")
    assert done.returncode == 6
    assert wrong not in done.stdout + done.stderr


@linux
def test_this_system_would_write_a_core(road: Road, told: dict[str, str]) -> None:
    """What the tests below would find: another program with the same secrets and the same end."""
    program = "import os; os.kill(os.getpid(), 6)"
    ended = subprocess.Popen(
        [sys.executable, "-c", program],
        env=told, cwd=road.folder, preexec_fn=dumping, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.wait() == -signal.SIGABRT
    if CORES.read_text().startswith(("|", "/")):
        pytest.skip("this system keeps cores elsewhere")
    (core,) = road.folder.glob("core*")
    assert PLANTED["GITHUB_TOKEN"].encode() in core.read_bytes()


STEPS = (("call", 1), ("call", 2), ("call", 5), ("ledger", 1), ("rename", 2), ("write .*README", 1))
NUMBERS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGQUIT, signal.SIGKILL)
ENDS = [
    pytest.param(
        *(number, of, at),
        id=f"{number.name} at {of} {at}",
        marks=() if (number, of, at) == (signal.SIGABRT, "call", 2) else (pytest.mark.long,),
    )
    for number in NUMBERS
    for of, at in STEPS
]


@linux
@pytest.mark.road
@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(("number", "of", "at"), ENDS)
def test_no_secret_is_in_what_a_crash_leaves(
    road: Road, hub: Hub, demo_model: Path, told: dict[str, str],
    number: signal.Signals, of: str, at: int,
) -> None:  # fmt: skip
    """No core, whatever whoever started it allows; stacks, ledgers and leftovers hold none."""
    # faulthandler reads the stacks of threads that go on, and may die of that in its own way
    road.settings(publish={"overlap": False})
    said = road.folder / "said"
    with (
        said.open("w") as output,
        holding(
            command(road, demo_model), at=at, of=of, env=told, cwd=road.folder,
            stdout=output, stderr=output, preexec_fn=dumping,
        ) as held,
    ):  # fmt: skip
        assert held.step() is not None, said.read_text()
        held.process.send_signal(number)
        assert held.process.wait() == -number
    if number in (signal.SIGABRT, signal.SIGSEGV):
        assert "most recent call first" in said.read_text()  # faulthandler's
    assert list(road.folder.rglob("core*")) == []
    assert holding_secrets(road, hub) == []


# every place that shows a traceback shows locals, too, as developers' tools do
CRASHING = r"""
import sys, threading, traceback
from tests.steps import at_step

def show(kind, error, where):
    told = traceback.TracebackException(kind, error, where, capture_locals=True)
    told.print(file=sys.stderr)

class Fault(BaseException):
    "What no net for strange replies takes for one."

def fail(line):
    raise Fault("a fault of the bot's own")

sys.excepthook = show
threading.excepthook = lambda told: show(*told[:3])
at_step(sys.argv[1], int(sys.argv[2]), fail)
sys.argv[1:] = sys.argv[3:]
from bot.cli.main import main
main()
"""


# the first call is huggingface_hub's own, which takes no failure of it for one
CRASHES = (("ledger", 3), ("rename", 1), ("rename", 9), ("write .*README", 1))


@linux
@pytest.mark.road
@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("of", "at"),
    [("call", 2), *(pytest.param(*where, marks=pytest.mark.long) for where in CRASHES)],
)
def test_no_secret_is_in_a_traceback_with_its_locals(
    road: Road, hub: Hub, demo_model: Path, told: dict[str, str], of: str, at: int
) -> None:
    words = command(road, demo_model)
    words = words[words.index("bot") + 1 :]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CRASHING, of, str(at), *words],
        env={**told, "PYTHONPATH": str(root)}, cwd=road.folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Fault: a fault of the bot's own" in done.stderr
    assert "self = " in done.stderr
    assert ("***" in done.stderr) is (of == "call")  # a local had one
    (road.folder / "said").write_text(done.stdout + done.stderr)
    assert holding_secrets(road, hub) == []
