"""Running code that reads strangers' files: no secrets, no network, bounded time and memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bot.build import tether
from bot.errors import BuildError, CapacityError

_EVERY = 0.2  # seconds between looks at the process
_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a subprocess may use."""

    seconds: float
    memory: int | None = None  # bytes of its own; mapped files do not count


@cache
def isolation() -> tuple[str, ...]:
    """The command that starts another one in a network of its own, without any interface.

    Empty where the platform has none or forbids it.
    """
    command = ("unshare", "--user", "--map-root-user", "--net")
    try:
        tried = subprocess.run((*command, "true"), capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if tried.returncode == 0 else ()


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


def run(
    command: Sequence[str],
    *,
    home: Path,
    env: dict[str, str],
    log: Path,
    limits: Limits,
    watch: Callable[[], None],
) -> int:
    """Run `command` in `home`, its output appended to `log`; its exit code.

    `watch` is called a few times a second. Raises BuildError past the time limit, CapacityError
    past the memory limit (told on Linux only); the whole process group is gone afterwards, also
    when an exception such as KeyboardInterrupt passes through.
    """
    home.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + limits.seconds
    with log.open("ab") as output:
        # found by full path: the subprocess's PATH does not lead to unshare
        process = subprocess.Popen(
            [*_resolved(isolation()), *tethered(), *command],
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
                _check(process.pid, end, limits, log)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_EVERY)
        finally:
            _end(process)
    return process.returncode


def _resolved(command: Sequence[str]) -> list[str]:
    from shutil import which

    return [(which(word) or word) if word == "unshare" else word for word in command]


def _check(pid: int, end: float, limits: Limits, log: Path) -> None:
    if time.monotonic() > end:
        raise BuildError(
            f"the converter took longer than {limits.seconds / 3600:g} hours; raise "
            f"convert.timeout_hours, its log is {log}"
        )
    used = _memory(pid)
    if limits.memory is not None and used > limits.memory:
        raise CapacityError(
            f"the converter took {used / 1e9:.1f} GB of memory, "
            f"{limits.memory / 1e9:.1f} GB are allowed; raise convert.memory_gb"
        )


def _memory(pid: int) -> int:
    """Bytes of memory that are the process's own; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    match = _ANONYMOUS.search(status)
    return int(match[1]) * 1024 if match else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process's group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
