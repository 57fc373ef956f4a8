"""A whole publication with planted secrets: none is in what it prints, writes or starts."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.road import Road
from tests.local_hub.server import Hub

PLANTED = {
    "GITHUB_TOKEN": "ghp_plantedplantedplanted",
    "BOT_NOTIFY_URL": "https://hooks.example/planted/secret",
    "BOT_STATUS_TOKEN": "status-planted-planted",
}
LOUD = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


def _children(pid: int) -> list[int]:
    """Processes that descend from one, as /proc has them."""
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        for task in tasks:
            for child in (task / "children").read_text().split():
                found += [int(child), *_children(int(child))]
    except OSError:  # gone meanwhile
        return found
    return found


def _seen(pid: int) -> str:
    """Arguments and environment of a process; empty when it is gone."""
    try:
        return "".join(
            Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
            for name in ("cmdline", "environ")
        )
    except OSError:
        return ""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_no_secret_anywhere(road: Road, hub: Hub, demo_model: Path) -> None:
    out, err = road.folder / "stdout", road.folder / "stderr"
    told: dict[int, str] = {}
    command = road.command("publish", str(demo_model), "--profiles", "Compact", "--to", "alice/M")
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        subprocess.Popen(
            command,
            env=road.environment(**PLANTED, **LOUD),
            cwd=road.folder,
            stdout=stdout,
            stderr=stderr,
        ) as process,
    ):
        while process.poll() is None:
            told[0] = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode() or told.get(0, "")
            # a child that was only just made still is its parent, as far as /proc can say
            looks = {c: _seen(c) for c in _children(process.pid)}
            told |= {c: s for c, s in looks.items() if s and not s.startswith(told[0])}
            time.sleep(0.005)
    assert process.returncode == 0, err.read_text()
    assert "POST" in err.read_text()  # the library did tell what it asked
    secrets = (hub.token, *PLANTED.values())
    written = [path for path in (road.folder / "work").rglob("*") if path.is_file()]
    for secret in secrets:
        for path in (out, err, *written):
            assert secret.encode() not in path.read_bytes(), path
        assert [text.split("\0")[:4] for text in told.values() if secret in text] == []


def test_a_refused_token_is_not_repeated(road: Road, demo_model: Path) -> None:
    wrong = "hf_wrongwrongwrongwrong"
    done = road.bot("publish", str(demo_model), HF_TOKEN=wrong, HF_DEBUG="1")
    assert done.returncode == 6
    assert wrong not in done.stdout + done.stderr
