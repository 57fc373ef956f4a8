"""Driving the real command `bot` against a local Hub in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

BOT = (sys.executable, "-m", "bot.cli")


@dataclass(frozen=True, kw_only=True)
class Road:
    """A working folder with settings, a Hub's address and a token."""

    folder: Path
    url: str
    token: str

    def environment(self, **more: str) -> dict[str, str]:
        """What the command sees of the world: no token but this one."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        # threads that wait leave the cores to others where the tests' own process does
        names = ("PATH", "LANG", "TMPDIR", "OMP_WAIT_POLICY")
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
            "evaluation": {"context": 128, "chunks": 4, "task_count": 4},
            "source": {"license": "apache-2.0"},
        }
        path.write_text(yaml.safe_dump({**default, **values}))
        return path

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
            timeout=300,
            check=False,
        )

    def command(self, *arguments: str, config: Path | None = None) -> list[str]:
        """The command line of a verb."""
        return [*BOT, "--config", str(config or self.folder / "bot.yaml"), *arguments]

    def killed_when(self, seen: Callable[[], bool], *arguments: str) -> bool:
        """Start a verb and SIGKILL it as soon as `seen()`; whether it was still running then."""
        with subprocess.Popen(
            self.command(*arguments),
            env=self.environment(),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            end = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < end:
                if seen():
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    return True
                time.sleep(0.002)
            process.kill()
            return False


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
                process.wait(timeout=20)
            finally:
                process.kill()
