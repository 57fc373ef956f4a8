import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bot.disk.folders import Folders
from bot.disk.hashes import sha256
from bot.disk.paths import slug
from bot.disk.space import require_free
from bot.disk.writing import write_text, writing
from bot.errors import BusyError, CapacityError
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


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Qwen/Qwen3.6-35B-A3B", "Qwen--Qwen3.6-35B-A3B"),
        ("../../etc/passwd", "..--..--etc--passwd".strip(".-")),
        ("a b\n\0c", "a-b-c"),
        ("...", "model"),
        ("ü" * 300, "model"),
    ],
)
def test_slug_is_one_harmless_component(name: str, clean: str) -> None:
    made = slug(name)
    assert made == clean
    assert "/" not in made
    assert made not in {"", ".", ".."}


def test_a_job_is_locked_against_other_processes(tmp_path: Path) -> None:
    job = Folders(tmp_path).job("org/model", "0" * 64)
    program = (
        "from pathlib import Path; from bot.disk.folders import Folders\n"
        f"job = Folders(Path({str(tmp_path)!r})).job('org/model', '0' * 64)\n"
        "with job.locked(): print('held')"
    )
    with job.locked():
        held = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert held.returncode != 0
        assert BusyError.__name__ in held.stderr
    free = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert free.stdout == "held\n"


def test_room_is_asked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    require_free(tmp_path / "not" / "yet", 1, 0)
    with pytest.raises(CapacityError, match="are free; free some"):
        require_free(tmp_path / "not" / "yet", 1 << 60, 0)


def test_sha256_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate((4 << 20) + 1)
    assert sha256(path) == hashlib.sha256(bytes((4 << 20) + 1)).hexdigest()


def test_parts_of_a_job_are_worked_on_side_by_side_the_whole_alone(tmp_path: Path) -> None:
    job = Folders(tmp_path).job("model", "0" * 64)
    with job.locked("group-1"):
        with job.locked("group-2"):
            pass
        for part in ("group-1", ""):
            with pytest.raises(BusyError), job.locked(part):
                pass
    with job.locked(), pytest.raises(BusyError), job.locked("group-1"):
        pass
