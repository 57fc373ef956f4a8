"""Files that are whole or not there."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from bot.disk.writing import write_text, writing
from tests.stopping import begin, is_stopped

WRITES = """
import sys
from pathlib import Path
from bot.disk.writing import write_text
write_text(Path(sys.argv[1]), "first")
"""


def test_writing_gives_the_name_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.gguf"
    with writing(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    assert not partial.exists()


def test_writing_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "card.md"
    write_text(target, "old")

    def interrupted() -> None:
        with writing(target) as partial:
            partial.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert target.read_text() == "old"


@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "killed"])
@pytest.mark.parametrize("step", ["open", "write", "sync", "rename"])
def test_a_small_file_is_written_by_two_at_once(
    tmp_path: Path, stopper: Path, step: str, killed: bool
) -> None:
    """Another writes it wholly while one is held at a step of its own."""
    folder = tmp_path / "shared"
    folder.mkdir()
    target = folder / "known"
    command = [sys.executable, "-c", WRITES, str(target)]
    one = begin(stopper, command, folder, of=f"^{step} ", at=1, how=signal.SIGSTOP)
    assert is_stopped(one)
    write_text(target, "second")
    assert target.read_text() == "second"
    if killed:
        one.kill()
    else:
        one.send_signal(signal.SIGCONT)
    assert one.wait() == (-signal.SIGKILL if killed else 0)
    assert target.read_text() == ("second" if killed else "first")
    write_text(target, "third")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("known", "third")]
