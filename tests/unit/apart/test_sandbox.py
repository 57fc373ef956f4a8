import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.apart import sandbox
from bot.apart.sandbox import Limits
from bot.errors import BuildError, CapacityError

LONG = Limits(seconds=60)
PROGRAMS = tuple(
    Path(prefix).resolve()
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix))
    if not prefix.startswith("/usr")
)


def run(code: str, folder: Path, limits: Limits = LONG, *arguments: str) -> tuple[int, str]:
    python, log = Path(sys.executable), folder / "log"
    status = sandbox.run_apart(
        (str(python), "-c", code, *arguments),
        home=folder / "home",
        env=sandbox.environment(python, folder / "home"),
        log=log,
        limits=limits,
        watch=lambda: None,
        reads=PROGRAMS,
        writes=(folder.resolve(),),
    )
    return status, log.read_text()


def test_no_secret_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    status, output = run("import os; print(sorted(os.environ), os.getcwd())", tmp_path)
    assert status == 0
    assert str(tmp_path / "home") in output
    assert "TOKEN" not in output
    assert "PYTHONPATH" not in output
    _, output = run("import os; print(dict(os.environ))", tmp_path)
    assert "hf_secret" not in output


def test_no_network_is_reached(tmp_path: Path) -> None:
    if sandbox.isolation() == "none":
        pytest.skip("this system lets no process have a network of its own")
    code = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", int(port)), 5):
            status, output = run(code, tmp_path, LONG, port)
    assert status == 1
    assert "OSError" in output or "unreachable" in output


def test_time_ends_the_whole_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is over as soon as the grandchild is at work."""
    beat = tmp_path / "beat"
    clock = SimpleNamespace(monotonic=lambda: 100.0 if beat.exists() else 0.0)
    monkeypatch.setattr(sandbox, "time", clock)
    code = (
        "import subprocess, sys, time\n"
        "loop = 'import pathlib, sys, time\\nwhile True:\\n"
        " pathlib.Path(sys.argv[1]).touch(); time.sleep(0.02)'\n"
        "subprocess.Popen([sys.executable, '-c', loop, sys.argv[1]])\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(BuildError, match=r"raise convert\.timeout_hours"):
        run(code, tmp_path, Limits(seconds=10), str(beat))
    assert beat.exists()
    last = beat.stat().st_mtime_ns
    time.sleep(0.3)
    assert beat.stat().st_mtime_ns == last


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own memory")
def test_memory_is_limited(tmp_path: Path) -> None:
    code = "import time; held = bytearray(b'x') * 300_000_000; time.sleep(60)"
    with pytest.raises(CapacityError, match=r"raise convert\.memory_gb"):
        run(code, tmp_path, Limits(seconds=60, memory=100_000_000))


def test_an_interrupted_watch_leaves_no_process(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sandbox.run_apart(
            (sys.executable, "-c", code + "time.sleep(60)"),
            home=tmp_path,
            env=dict(os.environ),
            log=tmp_path / "log",
            limits=LONG,
            watch=interrupt,
        )
    assert time.monotonic() - began < 30


PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
from bot import interrupts
from bot.apart import sandbox
interrupts.answer_signals()
assert sandbox.isolation() == "none"
folder = Path(sys.argv[1])
code = "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()} '); time.sleep(600)"
sandbox.run_apart(
    (sys.executable, "-c", code, str(folder / "pid")),
    home=folder / "home", env={}, log=folder / "log",
    limits=sandbox.Limits(seconds=600), watch=lambda: None,
)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_running_where_there_is_no_unshare(
    tmp_path: Path, number: signal.Signals
) -> None:
    root = Path(__file__).resolve().parents[3]
    # no command is found, unshare neither
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, stderr=subprocess.PIPE
    ) as process:
        pid = tmp_path / "pid"
        while not pid.exists() or not pid.read_text().endswith(" "):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
    stat = Path(f"/proc/{int(pid.read_text())}/stat")
    end = time.monotonic() + 60
    while _runs(stat):
        assert time.monotonic() < end, "the command outlived the process that started it"
        time.sleep(0.02)


def _runs(stat: Path) -> bool:
    """Whether a process goes on; one that nobody has waited for yet does not."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
