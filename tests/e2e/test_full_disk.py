"""A disk that fills up at some instant of a publication: said, nothing shown, and gone on with."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub import Hub as Client
from bot.errors import CapacityError, SourceError
from tests.e2e.road import Road
from tests.local_hub.server import Hub, running_hub

TIERS = "Balanced,I-Mini"
REPO = "alice/Tiny-MoE-14M-APEX-GGUF"
SEED = 27
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


@pytest.fixture(scope="module")
def calm(
    tmp_path_factory: pytest.TempPathFactory, demo_model: Path
) -> tuple[float, dict[str, str]]:
    """Seconds of an undisturbed publication and the files it ended in."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("unshare and nsenter, of util-linux, are not here")
    folder = tmp_path_factory.mktemp("calm")
    with running_hub(folder / "hub") as hub, disk(folder / "disk") as own:
        start = time.monotonic()
        process = _publish(_road(folder, hub), own, demo_model)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return time.monotonic() - start, _files(hub)


def _road(folder: Path, hub: Hub) -> Road:
    road = Road(folder=folder, url=hub.url, token=hub.token)
    road.settings(workdir=str(folder / "disk" / "work"))
    return road


def _publish(road: Road, own: Disk, model: Path) -> subprocess.Popen[str]:
    """A publication whose every file, also a temporary one, lies on the disk."""
    own.run("mkdir", "-p", f"{own.folder}/tmp")
    return subprocess.Popen(
        own.inside(*road.command("publish", str(model), "--profiles", TIERS)),
        env=road.environment(TMPDIR=f"{own.folder}/tmp", PYTHONPATH=str(Path.cwd())),
        cwd=road.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _files(hub: Hub) -> dict[str, str]:
    """sha256 of every large file that everybody sees, and the names of the others."""
    return {file.path: file.sha256 or "" for file in Client(hub.url, None).release(REPO).files}


@pytest.mark.parametrize("number", range(2))
def test_filled_at_some_instants(
    calm: tuple[float, dict[str, str]], tmp_path: Path, demo_model: Path, number: int
) -> None:
    _filled(calm, tmp_path, demo_model, _instants(2)[number])


@pytest.mark.long
@pytest.mark.parametrize("number", range(24))
def test_filled_at_any_instant(
    calm: tuple[float, dict[str, str]], tmp_path: Path, demo_model: Path, number: int
) -> None:
    _filled(calm, tmp_path, demo_model, _instants(24)[number])


def _instants(count: int) -> list[float]:
    """Fractions of the whole, one in each of `count` equal parts."""
    seeded = random.Random(SEED)  # noqa: S311 - instants, not secrets
    return [(i + seeded.random()) / count for i in range(count)]


def _filled(calm: tuple[float, dict[str, str]], folder: Path, model: Path, instant: float) -> None:
    seconds, files = calm
    with running_hub(folder / "hub") as hub, disk(folder / "disk") as own:
        road = _road(folder, hub)
        process = _publish(road, own, model)
        time.sleep(instant * seconds)
        own.fill()
        _, said = process.communicate(timeout=300)
        if process.returncode != 0:
            assert process.returncode == CapacityError.exit_code, said
            assert "Traceback" not in said, said
            # found full while it worked, or looked at before that
            assert re.search(r"space|GB are free; free some", said.splitlines()[-1]), said
            with pytest.raises(SourceError):
                _files(hub)
        own.size(ROOM)
        process = _publish(road, own, model)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert _files(hub) == files
        assert hub.commits(REPO) == 1
        assert not Client(hub.url, SecretStr(hub.token)).release(REPO).private
