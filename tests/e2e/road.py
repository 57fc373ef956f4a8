"""Driving the real command `bot` against a local Hub in a process of its own.

`work` is a working folder in which the demo model's `TIERS` were made and measured with the
settings of `Road`: tests of what comes after begin with a copy of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bot.clients.hub.hub import Hub as Client
from bot.records.coding import from_json, to_json
from bot.settings.sections import PACKAGE
from tests.demo_files import once
from tests.local_hub.server import Hub, running_hub
from tests.steps import Held, holding, steps
from tests.unit.clients.hub.between import between

BOT = (sys.executable, "-m", "bot")
# without an importance matrix and with one; below 3 bits making a tier takes four times as long
TIERS = "Balanced,Compact,I-Compact"
CHOSEN = ("--profiles", "Balanced,I-Compact")  # of an undisturbed publication
REPO = "alice/Tiny-MoE-14M-APEX-GGUF"
FEWER = 10  # steps
FEW = {"context": 128, "chunks": 4, "task_count": 4}


@dataclass(frozen=True, kw_only=True)
class Road:
    """A working folder with settings, a Hub's address and a token."""

    folder: Path
    url: str
    token: str
    patience: float = 900  # seconds that a verb may take

    def environment(self, **more: str) -> dict[str, str]:
        """What the command sees of the world: no token but this one."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        names = ("PATH", "LANG", "TMPDIR", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        own = {"HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": self.url}
        own["GITHUB_API_URL"] = "http://127.0.0.1:9"  # nothing of a test leaves this machine
        return {**kept, **own, "HF_TOKEN": self.token, **more}

    def settings(self, name: str = "bot.yaml", **values: object) -> Path:
        """A settings file: little text, so that a run takes seconds."""
        path = self.folder / name
        default = {
            "workdir": str(self.folder / "work"),
            "llama": {"threads": 2, "gpu_layers": 0},
            "calibration": {"context": 128, "chunks": 4},
            "evaluation": {**FEW, "behaviour": {"tokens": 16, "prompts": self._prompts()}},
            "source": {"license": "apache-2.0"},
            "demo_texts": True,
        }
        path.write_text(yaml.safe_dump({**default, **values}))
        return path

    def _prompts(self) -> str:
        """One prompt of each kind and one edit: answers of miniatures are all alike."""
        whole = json.loads((PACKAGE / "behaviour" / "prompts.json").read_text())
        one = {prompt["kind"]: prompt for prompt in reversed(whole["prompts"])}
        path = self.folder / "prompts.json"
        path.write_text(
            json.dumps({**whole, "prompts": [*one.values()], "edits": whole["edits"][:1]})
        )
        return str(path)

    def bot(
        self, *arguments: str, config: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            self.command(*arguments, config=config),
            env=self.environment(**environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )

    def command(self, *arguments: str, config: Path | None = None) -> list[str]:
        """The command line of a verb."""
        return [*BOT, "--config", str(config or self.folder / "bot.yaml"), *arguments]

    def held_at(
        self, of: str, *arguments: str, at: int = 1, **environment: str
    ) -> AbstractContextManager[Held]:
        """A verb that waits at its step number `at` of those that `of` finds."""
        return holding(
            self.command(*arguments),
            at=at,
            of=of,
            env=self.environment(**environment),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def killed_at(self, of: str, *arguments: str, at: int = 1) -> None:
        """SIGKILL a verb at that step."""
        with self.held_at(of, *arguments, at=at) as held:
            assert held.step() is not None, f"it ended before it came to {of}"
            held.kill()


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    """A working folder with `TIERS` of the demo model made and measured, to copy."""

    def make(folder: Path) -> None:
        road = Road(folder=folder, url="http://127.0.0.1:9", token="")
        road.settings()
        done = road.bot("evaluate", str(demo_model), "--profiles", TIERS)
        assert done.returncode == 0, done.stderr

    return once(tmp_path_factory, "measured", make) / "work"


@dataclass(frozen=True, kw_only=True)
class Calm:
    """An undisturbed publication: how many steps and requests it took, and what it ended in."""

    steps: int
    requests: int
    files: dict[str, str]

    def step(self, number: int, parts: int) -> int:
        """Where a part begins of as many as the steps are divided into.

        The last ones are left out: over Xet there are a few fewer.
        """
        return 1 + number * (self.steps - FEWER) // parts


def seen_files(hub: Hub) -> dict[str, str]:
    """sha256 of every large file that everybody sees, and the names of the others."""
    found = Client(hub.url, None).release(REPO)
    return {file.path: file.sha256 or "" for file in found.files}


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Calm:
    """Two tiers of the demo model, published over HTTP without Xet."""

    def make(folder: Path) -> None:
        with running_hub(folder / "hub") as hub, between(hub.url) as proxy:
            road = Road(folder=folder, url=proxy.url, token=hub.token)
            road.settings()
            taken = steps(
                road.command("publish", str(demo_model), *CHOSEN),
                env=road.environment(HF_HUB_DISABLE_XET="1"),
                cwd=folder,
                stderr=subprocess.PIPE,
            )
            found = Calm(steps=taken, requests=len(proxy.requests), files=seen_files(hub))
        (folder / "calm.json").write_text(to_json(found))

    folder = once(tmp_path_factory, "calm", make)
    return from_json(Calm, (folder / "calm.json").read_text())


@pytest.fixture
def work(tmp_path: Path, measured: Path) -> Path:
    """A working folder in the test's own, where `Road.settings` looks for it."""
    return Path(shutil.copytree(measured, tmp_path / "work"))


@contextmanager
def hub_process(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """`bot hub serve` on a free port; yields its address."""
    command = [*BOT, "hub", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        try:
            assert match is not None, line
            yield match[0]
        finally:
            process.terminate()
            try:
                process.wait(timeout=120)
            finally:
                process.kill()
