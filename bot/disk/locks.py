"""Folders and jobs that processes share: who holds them, and who needs them still."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from bot.errors import BusyError

LOOK_EVERY = 0.2  # seconds between looks at a lock that others hold


ALONE, USED = ".lock", ".use"  # of a folder that jobs share: who fills it, who reads it


_USES: dict[Path, int] = {}  # descriptors of this process, by folder


def lock_now(path: Path, kind: int) -> IO[str] | None:
    """A lock's file where the lock could be had at once, and was not removed meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")  # for reading too: on a network's folder a shared lock wants that
    if _taken(file, kind) and has_its_name(file.fileno(), path):
        return file
    file.close()
    return None


def has_its_name(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: whoever gives a folder back takes locks, too."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _taken(file: IO[str], kind: int) -> bool:
    """Whether a lock could be had at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder that jobs share, waiting for another process that does.

    The lock ends with its holder. Raises BusyError where the folder cannot be locked.
    """
    file = _locked(folder, ALONE, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(file)


def use(folder: Path) -> None:
    """Keep others from giving a folder back that jobs share, until this process ends."""
    descriptor = _USES.get(folder)
    if descriptor is not None and has_its_name(descriptor, folder / USED):
        return
    leave(folder)
    _USES[folder] = _locked(folder, USED, fcntl.LOCK_SH)


def leave(folder: Path) -> None:
    """Need a folder no more."""
    if (descriptor := _USES.pop(folder, None)) is not None:
        os.close(descriptor)


def _locked(folder: Path, name: str, kind: int) -> int:
    """A descriptor that holds a folder's lock, waited for; one that was removed counts as none."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, kind)
        except OSError as error:
            os.close(file)
            raise BusyError(
                f"{folder} cannot be locked ({error.strerror}); set workdir to a local disk"
            ) from error
        except BaseException:  # an interrupt while waiting
            os.close(file)
            raise
        if has_its_name(file, folder / name):
            return file
        os.close(file)


@contextmanager
def unused(folder: Path, names: Sequence[str] = (ALONE, USED)) -> Iterator[bool]:
    """Whether no process holds any of a folder's locks; where so, none does within the block."""
    with ExitStack() as held:
        paths = [folder / name for name in names] if folder.is_dir() else []
        files = [held.enter_context(path.open("a+")) for path in paths]
        yield all(_taken(file, fcntl.LOCK_EX) for file in files)
