"""Locks that processes share: held alone, used together, given back when nobody needs them."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.disk.locks import alone, leave, lock_now, unused, use


@contextmanager
def another(folder: Path, work: str) -> Iterator[None]:
    """A process that does `work` with `folder` and stays until the block ends."""
    program = (
        "import sys; from pathlib import Path; from bot.disk.locks import *\n"
        f"folder = Path(sys.argv[1])\n{work}: print(flush=True), input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_lock_is_had_at_once_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "made" / "lock"
    first = lock_now(path, fcntl.LOCK_SH)
    second = lock_now(path, fcntl.LOCK_SH)
    assert first is not None
    assert second is not None
    assert lock_now(path, fcntl.LOCK_EX) is None
    first.close()
    second.close()
    third = lock_now(path, fcntl.LOCK_EX)
    assert third is not None
    third.close()


def test_a_folder_that_another_process_fills_is_not_unused(tmp_path: Path) -> None:
    with another(tmp_path, "with alone(folder)"), unused(tmp_path) as nobody:
        assert not nobody
    with unused(tmp_path) as nobody:  # a lock ends with its process
        assert nobody
    with alone(tmp_path), unused(tmp_path) as nobody:
        assert not nobody


def test_a_folder_is_used_by_several_until_each_has_left(tmp_path: Path) -> None:
    use(tmp_path)
    use(tmp_path)  # once for this process
    with another(tmp_path, "if use(folder) is None"):
        leave(tmp_path)
        with unused(tmp_path) as nobody:
            assert not nobody
    with unused(tmp_path) as nobody:
        assert nobody
    leave(tmp_path)  # nothing is left to leave


def test_a_lock_that_was_removed_is_taken_anew(tmp_path: Path) -> None:
    use(tmp_path)
    (tmp_path / ".use").unlink()
    with unused(tmp_path) as nobody:
        assert nobody
    use(tmp_path)
    with unused(tmp_path) as nobody:
        assert not nobody
    leave(tmp_path)


def test_what_is_not_there_is_unused(tmp_path: Path) -> None:
    with unused(tmp_path / "none") as nobody:
        assert nobody
