"""Who builds what is queued: an executor, and the one that runs `bot publish` on this machine."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bot import secrecy
from bot.disk.writing import write_text
from bot.errors import FOR_GOOD, OF_THE_DAY, BotError, BuildError, BusyError
from bot.legible import legible
from bot.store.queue_tables import QueuedRelease

LAST_WORDS = 2_000  # bytes of a log in which the error is looked for
# the work is left to init: a watcher that stays has no children to bury, one that goes none to lose
SCRIPT = """
folder=$1; shift
(
    code=0
    "$@" >"$folder/result.json" 2>"$folder/log" || code=$?
    echo $code >"$folder/exit.partial"; mv "$folder/exit.partial" "$folder/exit"
) &
"""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How far an attempt is. `good` is None while it runs."""

    good: bool | None
    link: str | None = None
    error: str | None = None
    final: bool = False  # another attempt would fail in the same way
    refused: bool = False  # by llama.cpp: final when it says the same once more
    passing: bool = False  # it failed for what is no fault of the release
    elsewhere: bool = False  # somebody else works on the same release
    page: str | None = None  # of what was published, where it is known
    lacks: tuple[str, ...] = ()  # parts of the model that are not in what was published
    waiting: bool = False  # for a person, who merges or closes the pull request `link`


class NotStarted(BotError):
    """A task that cannot be started, today or later; the queue gives it up."""


class Executor(Protocol):
    """What runs the attempts of tasks; each attempt is started once.

    `find` is asked before every start: the watcher that started it may have died before it could
    write that down.
    """

    def find(self, task: QueuedRelease) -> Attempt | None:
        """The run of the task's present attempt; None where there is none."""
        ...

    def start(self, task: QueuedRelease) -> str | None:
        """Start the present attempt; returns a link to it.

        Raises NotStarted for a task that never can be; after any other BotError `find` is asked
        before it is tried again.
        """
        ...


class Here:
    """`bot publish` in a process of its own, which outlives the watcher.

    An attempt has a folder. Its process holds a lock there as long as it lives, and leaves its
    exit code when it ends; so any watcher sees how far it is.
    """

    def __init__(self, folder: Path, bot: Sequence[str]) -> None:
        self._folder, self._bot = folder, tuple(bot)

    def find(self, task: QueuedRelease) -> Attempt | None:
        """The run of the task's present attempt; None where there is none."""
        folder = self._of(task)
        if not folder.is_dir():
            return None
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Attempt(good=None, link=str(folder / "log"))
        return self._ended(folder)

    def start(self, task: QueuedRelease) -> str | None:
        """Start the present attempt; returns the path of its log."""
        folder = self._of(task)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return str(folder / "log")  # another watcher was faster
            write_text(folder / "command", json.dumps(self._command(task)) + "\n")
            subprocess.run(
                ["sh", "-c", SCRIPT, "sh", str(folder), *self._command(task)],
                pass_fds=(lock.fileno(),),  # the lock is held as long as anybody has this open
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                check=True,
                env={**secrecy.publisher(), "PYTHONUNBUFFERED": "1"},
            )
        return str(folder / "log")

    def prune(self, before: float, open_tasks: Sequence[QueuedRelease]) -> None:
        """Remove folders of attempts that ended before a time, but each open task's latest."""
        open_names = {self._of(task).name for task in open_tasks}
        for folder in self._folder.glob("*-*-*"):
            if folder.name not in open_names and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)

    def _of(self, task: QueuedRelease) -> Path:
        return self._folder / f"{task.id}-{task.attempts}-{int(task.created)}"

    def _command(self, task: QueuedRelease) -> list[str]:
        tiers = ["--tiers", ",".join(task.tiers)] if task.tiers else []
        words = ["publish", task.repo, "--revision", task.commit, *tiers]
        return [*self._bot, *words, "--refresh", "--unless-published", "--json"]

    def _ended(self, folder: Path) -> Attempt | None:
        """How a run ended. After a power cut files are empty; what was published is found again."""
        log = folder / "log"
        code = _exit_code(folder / "exit")
        if code is None:
            if not log.exists():
                return None  # it was never started
            return Attempt(good=False, error="it was killed", link=str(log))
        if code == 0:
            return _good(folder / "result.json", str(log))
        return Attempt(
            good=False,
            error=_last_line(log) or f"exit code {code}",
            link=str(log),
            final=code in FOR_GOOD,
            refused=code == BuildError.exit_code,
            passing=code in OF_THE_DAY,
            elsewhere=code == BusyError.exit_code,
        )


def _exit_code(file: Path) -> int | None:
    """The code that a run left; None where it left none that can be read."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _good(file: Path, log: str) -> Attempt:
    """The attempt of a run that ended with 0, from the JSON that it printed."""
    try:
        printed = json.loads(file.read_bytes())
        url, waiting = printed["url"], printed.get("waiting")
        lacks = tuple(map(str, printed.get("lacks") or ()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Attempt(good=False, error="it ended well and its result is lost", link=log)
    if waiting:
        return Attempt(good=False, waiting=True, link=str(waiting))
    return Attempt(good=True, link=str(url), lacks=lacks)


def run_here(folder: Path, config: Path | None) -> Here:
    """The executor of this machine, with the settings file that the watcher has."""
    config_options = ("--config", str(config.absolute())) if config else ()
    return Here(folder, (sys.executable, "-m", "bot", *config_options))


def _last_line(log: Path) -> str | None:
    """The last line of a log that is not blank, printable, of at most 500 characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - LAST_WORDS, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    shortened = (legible(line, 500) for line in reversed(lines))
    return next(filter(None, shortened), None)
