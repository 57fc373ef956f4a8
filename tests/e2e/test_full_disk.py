"""A disk that fills up at a step of a publication: said, shown whole or not, and gone on with."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.errors import CapacityError, SourceError
from tests.e2e.road import CHOSEN, REPO, Calm, Road, seen_files
from tests.local_hub.server import running_hub
from tests.steps import Held, holding

PLACES = 24  # of the long tests: as many parts of the whole
ROOM = 2 << 30  # bytes, enough for the whole of it


class Disk:
    """A small file system of its own that only commands run through `inside` see."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder = folder
        self._namespace = ("nsenter", "--preserve-credentials", "-U", "-m", "-t", str(process.pid))

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command where the disk is mounted."""
        return [*self._namespace, "--", *command]

    def size(self, count: int) -> None:
        """Set its bytes; fewer than are used are refused."""
        self.run("mount", "-o", f"remount,size={count}", str(self.folder))

    def fill(self) -> None:
        """Leave no room at all, while somebody writes perhaps."""
        for _ in range(1000):
            used = self.run("df", "--block-size=1", "--output=used", str(self.folder))
            try:
                return self.size(max(4096, int(used.split()[-1])))  # 0 would be: no limit
            except subprocess.CalledProcessError:  # more was written in between
                continue
        raise AssertionError("the disk could not be filled")

    def run(self, *command: str) -> str:
        """A short command's output."""
        return subprocess.run(
            self.inside(*command), check=True, capture_output=True, text=True
        ).stdout


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """An empty disk at `folder`, gone at the end."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("unshare and nsenter, of util-linux, are not here")
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={ROOM} none '{folder}' && echo there && exec cat"
    with subprocess.Popen(
        ["unshare", "-Urm", "sh", "-c", mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "there\n":
            pytest.skip("this machine lets nobody mount a disk of their own")
        try:
            yield Disk(folder, process)
        finally:
            process.stdin.close()


def _publishing(
    road: Road, own: Disk, model: Path, at: int, of: str = ""
) -> AbstractContextManager[Held]:
    """A publication whose every file, also a temporary one, lies on the disk."""
    own.run("mkdir", "-p", f"{own.folder}/tmp")
    return holding(
        own.inside(*road.command("publish", str(model), *CHOSEN)),
        at=at,
        of=of,
        env=road.environment(TMPDIR=f"{own.folder}/tmp"),
        cwd=road.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


STAGES = {
    "making": r"write .*I-Compact\.gguf\.partial",
    "measuring": r"write .*reference\.logits\.partial",
    "card": r"write .*size-vs-kld\.svg",
}
QUICK = ("card",)


@pytest.mark.parametrize(
    "stage",
    [pytest.param(n, marks=pytest.mark.road if n in QUICK else pytest.mark.long) for n in STAGES],
)
def test_filled_in_a_stage(calm: Calm, tmp_path: Path, demo_model: Path, stage: str) -> None:
    assert _filled(calm, tmp_path, demo_model, 1, STAGES[stage]) == CapacityError.exit_code


@pytest.mark.long
@pytest.mark.parametrize("number", range(PLACES))
def test_filled_at_any_step(calm: Calm, tmp_path: Path, demo_model: Path, number: int) -> None:
    code = _filled(calm, tmp_path, demo_model, calm.step(number, PLACES))
    assert code in (0, CapacityError.exit_code)  # 0: it needed no more


def _filled(calm: Calm, folder: Path, model: Path, at: int, of: str = "") -> int:
    """Fill the disk at a step, then make room and publish again; the first one's exit code."""
    with running_hub(folder / "hub") as hub, disk(folder / "disk") as own:
        road = Road(folder=folder, url=hub.url, token=hub.token)
        road.settings(workdir=str(folder / "disk" / "work"))
        with _publishing(road, own, model, at, of) as held:
            assert held.step() is not None
            own.fill()
            held.go_on()
            _, said = held.process.communicate()
            code = held.process.returncode
        if code:
            assert "Traceback" not in said, said
            # found full while it worked, or looked at before that
            assert re.search(r"space|GB are free; free some", said.splitlines()[-1]), said
        with suppress(SourceError):  # the last files may be ours, after all was shown
            assert seen_files(hub) == calm.files
        own.size(ROOM)
        with _publishing(road, own, model, 0) as held:
            _, said = held.process.communicate()
            assert held.process.returncode == 0, said
        assert seen_files(hub) == calm.files
        assert hub.commits(REPO) == 1
        assert not Client(hub.url, SecretStr(hub.token)).release(REPO).private
        return int(code)
