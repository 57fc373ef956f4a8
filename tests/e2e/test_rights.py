"""Who may read what a run leaves: its user alone, whatever the umask; a group where settings say.

What is looked at is every file and folder, of a job that was made, measured and described.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.road import REPO, TIERS, Road


def modes(folder: Path) -> dict[str, int]:
    """Rights of everything below a folder, the folder's too, links left out."""
    places = (folder, *folder.rglob("*"))
    return {str(p): stat.S_IMODE(p.lstat().st_mode) for p in places if not p.is_symlink()}


def others(folder: Path, denied: int = 0o077) -> list[str]:
    """What others may read, write or enter."""
    return [f"{path} {mode:o}" for path, mode in modes(folder).items() if mode & denied]


@pytest.fixture
def bot(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command with a umask that lets everybody do everything."""
    road = Road(folder=tmp_path, url="http://127.0.0.1:9", token="")
    road.settings()

    def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        config = road.settings("other.yaml", **settings) if settings else None
        return subprocess.run(
            road.command(*arguments, config=config),
            env=road.environment(), cwd=tmp_path, capture_output=True, text=True, check=False,
            umask=0,
        )  # fmt: skip

    return run


@pytest.mark.road
def test_nobody_else_reads_what_a_run_leaves(
    tmp_path: Path,
    measured: Path,
    demo_model: Path,
    bot: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    work = tmp_path / "work"
    shutil.copytree(measured, work)  # with its rights
    assert others(work) == []
    done = bot("card", str(demo_model), "--profiles", TIERS, "--to", REPO)
    assert done.returncode == 0, done.stderr
    kinds = {Path(path).suffix for path in modes(work)}
    assert {".sqlite", ".png", ".svg", ".gguf", ".json", ".md"} <= kinds
    assert others(work) == []

    ledger = work / "ledger.sqlite"
    for path in (work, *work.glob("ledger.sqlite*")):
        path.chmod(path.stat().st_mode | 0o055)  # as an earlier version left them
    assert bot("status").returncode == 0
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    told = bot("doctor").stdout
    assert f"others may look into {work}: run `chmod -R go-rwx {work}`" in told


@pytest.mark.road
def test_a_group_shares_a_folder_where_settings_say_so(
    tmp_path: Path, demo_model: Path, bot: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = bot("plan", str(demo_model), workdir_access="group")
    assert done.returncode == 0, done.stderr
    work = tmp_path / "work"
    assert others(work, 0o007) == []
    wanted = {stat.S_IMODE(path.stat().st_mode) for path in (work, work / "ledger.sqlite")}
    assert wanted == {0o770, 0o660}


def test_what_the_user_asked_for_elsewhere_has_the_users_rights(
    tmp_path: Path, bot: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "checkout" / ".git").mkdir(parents=True)
    done = bot("init", str(tmp_path / "checkout"))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "checkout" / "APEX-BOT.md").stat().st_mode) == 0o666
