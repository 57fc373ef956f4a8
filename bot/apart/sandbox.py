"""Running code that reads strangers' files: no secrets, no network, bounded time and memory."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which
from typing import Literal

from bot.apart import cell, tether
from bot.clock import span
from bot.errors import BuildError, CapacityError

Isolation = Literal["cell", "offline", "none"]
IsolationSetting = Literal[
    "best", "cell", "offline", "none"
]  # best: the most there is; cell: no less
OFFLINE = ("unshare", "--user", "--map-root-user", "--net")
_EVERY = 0.2  # seconds between looks at the process
_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a subprocess may use, and how its end is told of: whose, and what to do."""

    seconds: float
    memory: int | None = None  # bytes of its own; mapped files do not count
    name: str = "the converter"
    longer: str = "raise convert.timeout_hours"
    larger: str = "raise convert.memory_gb"


@cache
def isolation() -> Isolation:
    """How far a command can be kept from the rest of this machine.

    `cell`: it sees only what it is given (see cell.py). `offline`: a network of its own, without
    any interface; it can read what this user can. `none`: the platform has or allows neither.
    """
    if cell.cell_here():
        return "cell"
    try:
        tried = subprocess.run((*OFFLINE, "true"), capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return "offline" if tried.returncode == 0 else "none"


def chosen_isolation(setting: IsolationSetting) -> Isolation:
    """The isolation that settings ask for: no more than they say, as good as this system can.

    Raises CapacityError where they want a cell and this system has none.
    """
    available = isolation()
    if setting == "cell" and available != "cell":
        raise CapacityError(
            "this system lets no process have namespaces of its own, and isolation is cell: "
            "allow user namespaces (kernel.unprivileged_userns_clone, or the container's "
            "seccomp profile), or set it to best"
        )
    if setting == "none" or available == "none":
        return "none"
    return "offline" if setting == "offline" else available


def tethered() -> tuple[str, ...]:
    """The command that starts another one which dies with this process, however it ends."""
    return (sys.executable, "-I", "-S", str(Path(tether.__file__)), str(os.getpid()))


def environment(python: Path, home: Path) -> dict[str, str]:
    """All that the subprocess gets to see: no token, no proxy, no setting of the user's.

    HF_MODULES_CACHE names a folder that cannot be made: transformers puts a repository's own code
    there before it imports it.
    """
    return {
        "PATH": str(python.parent),
        "HOME": str(home),
        "TMPDIR": str(home),
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_MODULES_CACHE": "/dev/null/no-code-of-repositories",
    }


def run_apart(
    command: Sequence[str],
    *,
    home: Path,
    env: dict[str, str],
    log: Path,
    limits: Limits,
    watch: Callable[[], None],
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    isolation_setting: IsolationSetting = "best",
) -> int:
    """Run `command` in `home`, its output appended to `log`; its exit code.

    In a cell it sees `home`, the folders `reads` and `writes`, and the system's programs alone.
    `watch` is called a few times a second. Raises BuildError past the time limit, CapacityError
    past the memory limit (told on Linux only); the whole process group is gone afterwards, also
    when an exception such as KeyboardInterrupt passes through.
    """
    home.mkdir(parents=True, exist_ok=True)
    last = time.monotonic() + limits.seconds
    with log.open("ab") as output:
        process = subprocess.Popen(
            enclosed(command, home, reads, writes, chosen_isolation(isolation_setting)),
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                watch()
                _check(process.pid, last, limits, log)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_EVERY)
        finally:
            end_process(process)
    return process.returncode


def require_made(path: Path, name: str) -> Path:
    """A file that a process of somebody's making left: its own, no way to another's.

    Raises BuildError, naming what the process worked on, for a link or anything else.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise BuildError(f"what worked on {name} left no file of its own; do not use it")
    return path


def enclosed(
    command: Sequence[str],
    home: Path,
    reads: Sequence[Path],
    writes: Sequence[Path],
    level: Isolation,
    *,
    loopback: bool = False,
) -> list[str]:
    """The command in an isolation; it dies with the thread that starts it, however that ends.

    `loopback`: without a network it still reaches ports of its own.
    """
    if level != "cell":
        # found by full path: the subprocess's PATH does not lead to unshare
        offline = [str(which("unshare")), *OFFLINE[1:]] if level == "offline" else []
        raised = f"{shlex.quote(sys.executable)} -I -S -c {shlex.quote(cell.LOOPBACK)}"
        up = (str(which("sh")), "-c", f'{raised}; exec "$@"', "up")
        return [*offline, *(up if offline and loopback else ()), *tethered(), *command]
    root = home / ".cell"
    root.mkdir(exist_ok=True)
    own = cell.command(
        command,
        root=root,
        place=home,
        reads=reads,
        writes=(*writes, home.resolve()),
        loopback=Path(sys.executable) if loopback else None,
    )
    return [*tethered(), *own]


def _check(pid: int, last: float, limits: Limits, log: Path) -> None:
    if time.monotonic() > last:
        raise BuildError(
            f"{limits.name} took longer than {span(limits.seconds)}; {limits.longer}, its log is "
            f"{log}"
        )
    used = held_memory(pid)
    if limits.memory is not None and used > limits.memory:
        raise CapacityError(
            f"{limits.name} took {used / 1e9:.1f} GB of memory, "
            f"{limits.memory / 1e9:.1f} GB are allowed; {limits.larger}"
        )


def held_memory(pid: int) -> int:
    """Bytes of memory that a process and all of its session hold for themselves.

    0 where the system does not tell.
    """
    return sum(map(_own_memory, _session(pid)))


def _session(leader: int) -> Iterator[int]:
    """The processes of a session: field 6 of /proc/PID/stat, proc(5)."""
    for stat_file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat_file.read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        if text.rpartition(")")[2].split()[3:4] == [str(leader)]:
            yield int(stat_file.parent.name)


def _own_memory(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    match = _ANONYMOUS.search(status)
    return int(match[1]) * 1024 if match else 0


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process's group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
