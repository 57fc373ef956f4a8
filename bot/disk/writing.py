"""Files that are whole or not there: written beside, put on disk, then named."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bot.disk.locks import has_its_name
from bot.disk.space import require_free
from bot.errors import SettingsError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A partial file to fill; it takes `path`'s name, on disk for good, when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    partial.unlink(missing_ok=True)
    yield partial
    name_finished(partial, path)


def copy(source: Path, target: Path, reserve: int) -> None:
    """A second copy of a file; what a stopped run left of it gives its room back first.

    Raises CapacityError unless it fits and `reserve` bytes stay free.
    """
    with writing(target) as partial:
        require_free(target.parent, source.stat().st_size, reserve)
        shutil.copyfile(source, partial)


def partial_of(path: Path) -> Path:
    """The name a file has while it is written."""
    return path.with_name(f"{path.name}.partial")


def name_finished(partial: Path, path: Path) -> None:
    """Give a whole file its name, on disk for good."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically, whoever else writes it at the same time: the last one counts.

    What processes left that were killed while they wrote it goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, descriptor = _draft(path)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            name_finished(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    for abandoned in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 8}.partial"):
        _forget(abandoned)


def _draft(path: Path) -> tuple[Path, int]:
    """A partial file of nobody else's, which is locked while its writer lives."""
    while True:
        draft = partial_of(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # without locks nobody takes it away either
            fcntl.flock(file, fcntl.LOCK_EX)
        if has_its_name(file, draft):  # else it was taken for one that is left
            return draft, file
        os.close(file)


def _forget(draft: Path) -> None:
    """Remove a partial file whose writer is gone."""
    with suppress(OSError), draft.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()


def keep_text(path: Path, text: str) -> None:
    """Write a text unless it is there already, so that its time only changes with its content."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def decoded(data: bytes, name: str) -> str:
    """The text in a file's bytes, every one of them: line ends stay as they are.

    Raises SettingsError for what is no UTF-8. A zero byte is none either: UTF-16 and UTF-32 of
    plain English are valid UTF-8 but for these, and a model would be measured on noise.
    """
    at = data.find(0)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start if at < 0 else min(at, error.start)
    if at < 0:
        return text
    raise SettingsError(
        f"{name} is not UTF-8 at byte {at:,}; convert it (`iconv -t UTF-8`), or name another"
    )
