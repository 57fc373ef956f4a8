"""The demo: its settings, and the whole of it as `make demo` runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot.settings.making import LlamaSettings
from bot.verbs.demo import PUBLISHER, SOURCE, demo_settings


def test_the_demos_settings_are_small_and_name_texts_of_its_own(tmp_path: Path) -> None:
    llama = LlamaSettings(threads=3)
    settings = demo_settings(tmp_path / "work", "http://127.0.0.1:1", llama)
    assert settings.demo_texts
    assert settings.llama == llama
    assert (settings.hub.endpoint, settings.hub.namespace) == ("http://127.0.0.1:1", PUBLISHER)
    assert settings.workdir == tmp_path / "work"
    assert settings.evaluation.chunks == 24


@pytest.mark.long
def test_the_demo_publishes_a_release_and_does_nothing_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bot", "demo", "--dir", str(tmp_path / "demo"), "--json"]

    def demo() -> tuple[dict[str, object], str]:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ}
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    first, narrated = demo()
    assert first["published"]["repo_id"].startswith(f"{PUBLISHER}/Tiny-MoE-14M")  # type: ignore[index]
    assert first["published"]["changed"]  # type: ignore[index]
    assert str(first["sample"]).startswith("The little girl looked at the")
    assert SOURCE in narrated
    second, _ = demo()
    assert second["published"]["changed"] == []  # type: ignore[index]
    assert second["results"] == first["results"]
