"""A module of ours that works on strangers' words in a child: an order in, files out.

The child sees Python, the bot and what it is given, as far as this system can keep it to that (see
sandbox.py); it holds no token, and its time, memory and files have an end. What it made is looked
at before anybody believes it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import bot
from bot.apart import sandbox
from bot.apart.sandbox import IsolationSetting, Limits
from bot.disk.own_build import VARIABLE, folders_of, own_folder
from bot.errors import BotError, BuildError, SettingsError
from bot.foreign import last_lines
from bot.legible import legible

ORDER, MADE = "order.json", "made"
LARGEST = 32 << 20  # bytes of a file that a child writes, its log among them
LOG_END = 64 << 10  # bytes of a log that are read
LONGEST = 600  # letters of what a child says last
CRASHES = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}
PACKAGE = Path(bot.__file__).resolve().parent
# limits hold before anything else is read; the last one is the kernel's, which never comes late
SCRIPT = """
import resource, runpy, sys
size, memory, module, *places = sys.argv[1:]
for what, most in ((resource.RLIMIT_FSIZE, size), (resource.RLIMIT_DATA, memory)):
    given = resource.getrlimit(what)[1]  # who was given less has less
    if int(most) and (given == resource.RLIM_INFINITY or int(most) < given):
        resource.setrlimit(what, (int(most), int(most)))
sys.path += [place for place in places if place not in sys.path]
runpy.run_module(module, run_name="__main__")
"""


class CrashedError(BuildError):
    """A child that ended itself in a library: a failed assertion, a place that is not its own."""


@contextmanager
def sent(
    module: str,
    order: str,
    *,
    limits: Limits,
    reads: Sequence[Path] = (),
    isolation: IsolationSetting = "best",
    library: Path | None = None,
    binding: bool = False,
) -> Iterator[Path]:
    """The folder in which `module`, run in a child, left what it made of `order`.

    The child has llama.cpp's libraries that this process has, those of the folder `library`, or
    with `binding` the binding's own. What it made is gone after the block. Raises SettingsError or
    BuildError in the child's own words, CrashedError where it had none left, BuildError or
    CapacityError past a limit.
    """
    with TemporaryDirectory(prefix="apex-bot-") as folder:
        home, log = Path(folder).resolve() / "home", Path(folder) / "log"
        (home / MADE).mkdir(parents=True)
        (home / ORDER).write_text(order, encoding="utf-8")
        python = Path(sys.executable)
        chosen = None if binding else library or own_folder()
        own = {VARIABLE: str(chosen)} if chosen else {}
        code = sandbox.run_apart(
            _command(python, module, limits),
            home=home,
            env={**sandbox.environment(python, home), **own, "OPENBLAS_NUM_THREADS": "1"},
            log=log,
            limits=limits,
            watch=lambda: None,
            reads=(*programs(), *(folders_of(chosen) if chosen else ()), *reads),
            isolation_setting=isolation,
        )
        if code:
            raise _failure(code, log, limits)
        yield home / MADE


def carry_out(work: Callable[[str, Path], None]) -> None:
    """In the child: do `work` with the order and the folder for what is made of it.

    An error of ours becomes the last line and the exit code, any other ends in its traceback.
    """
    try:
        work(Path(ORDER).read_text(encoding="utf-8"), Path(MADE).absolute())
    except BotError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _command(python: Path, module: str, limits: Limits) -> list[str]:
    arguments = (str(LARGEST), str(limits.memory or 0), module, *map(str, libraries()))
    return [str(python), "-I", "-X", "utf8", "-c", SCRIPT, *arguments]


def libraries() -> list[Path]:
    """Where this process finds modules of others and of ours, without the current folder."""
    folders = [Path(place).resolve() for place in sys.path if place]
    installed = [place for place in folders if place.name in ("site-packages", "dist-packages")]
    return [*installed, PACKAGE.parent]


def programs() -> tuple[Path, ...]:
    """What a child of ours reads to run: Python, its libraries, and the bot."""
    real = Path(sys.executable).resolve().parent.parent
    places = [Path(sys.prefix), Path(sys.base_prefix), real, *libraries()[:-1]]
    folders = dict.fromkeys(place.resolve() for place in places)
    system = (place for place in folders if not place.is_relative_to("/usr"))
    own = own_folder()
    return (*system, PACKAGE, *(folders_of(own) if own else ()))


def _failure(code: int, log: Path, limits: Limits) -> BotError:
    """The child's own last words."""
    lines = [line for line in last_lines(log, LOG_END) if line.strip()]
    last = legible(lines[-1], LONGEST) if lines else ""
    reason = last or f"it ended with {code} and said nothing"
    if code == SettingsError.exit_code:
        return SettingsError(reason)
    # a cell's first process hands on a signal as 128 and its number, as a shell does
    crashed = code in CRASHES or 128 - code in CRASHES
    return (CrashedError if crashed else BuildError)(f"{limits.name} failed: {reason}")
