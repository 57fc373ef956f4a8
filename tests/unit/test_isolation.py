"""No test can see the tokens, caches or home folder of the person who runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub  # noqa: TID251 - the client itself must be blind to the real token
import pytest
from huggingface_hub import constants  # noqa: TID251 - and to the real cache

INNER = """
import os, pathlib, huggingface_hub
from huggingface_hub import constants
assert not {"HF_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"} & set(os.environ), "a token is visible"
assert "REAL" not in os.environ["HF_HOME"]
assert "REAL" not in constants.HF_HOME and "REAL" not in constants.HF_TOKEN_PATH
assert huggingface_hub.get_token() is None

def test_inside(tmp_path):
    assert not {"HF_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "BOT_WORKDIR"} & set(os.environ)
    assert pathlib.Path.home() == tmp_path / "home"
    assert os.environ["HF_HOME"] == str(tmp_path / "home" / "huggingface")
    assert huggingface_hub.get_token() is None
"""


def test_tokens_and_homes_are_hidden(tmp_path: Path) -> None:
    assert not {"HF_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"} & set(os.environ)
    assert Path.home() == tmp_path / "home"
    assert Path(os.environ["HF_HOME"]).is_relative_to(tmp_path)
    assert Path(constants.HF_HOME).name.startswith("bot-tests-")
    assert huggingface_hub.get_token() is None


@pytest.mark.road
def test_a_run_with_real_looking_tokens_sees_none(tmp_path: Path) -> None:
    conftest = Path(__file__).resolve().parents[1] / "conftest.py"
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(conftest.read_text())
    (tests / "test_inner.py").write_text(INNER)
    real = tmp_path / "REAL"
    (real / "hf").mkdir(parents=True)
    (real / "hf" / "token").write_text("hf_REAL")
    secrets = {"HF_TOKEN": "hf_REAL", "GITHUB_TOKEN": "gh_REAL", "BOT_WORKDIR": "/REAL"}
    homes = {"HOME": str(real), "HF_HOME": str(real / "hf"), "PYTHONPATH": str(conftest.parents[1])}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tests),
    ]
    done = subprocess.run(
        [*command, "--import-mode=importlib", str(tests)],
        env={**os.environ, **secrets, **homes},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
