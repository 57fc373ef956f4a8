"""For every test: a home of its own and no real token; on request, a running local Hub."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo_files import demo_candidate, demo_model, demo_text
from tests.local_github.scripted import FILES, Script
from tests.local_github.server import GitHub, running_github
from tests.local_hub.server import Hub, running_hub

__all__ = ["demo_candidate", "demo_model", "demo_text"]  # fixtures, found here by name

# loaded after this file, which hides what they must not see when they are imported
pytest_plugins = ["tests.golden_option", "tests.converter", "tests.stopping", "tests.e2e.road"]

SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "GITHUB_TOKEN", "GH_TOKEN")
PLACES = ("HF_ENDPOINT", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_XET_CACHE", "XDG_CONFIG_HOME")

# huggingface_hub reads its folders once, at import, which may be before the first test starts
_IMPORT_HOME = tempfile.mkdtemp(prefix="bot-tests-")
os.environ["HF_HOME"] = _IMPORT_HOME
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["NUMBA_CACHE_DIR"] = str(Path(sys.prefix) / "kernels")  # compiled once for all tests
os.environ["MPLCONFIGDIR"] = str(Path(_IMPORT_HOME) / "matplotlib")  # its list of fonts, made once
for _name in (*SECRETS, *PLACES):
    os.environ.pop(_name, None)

# a suite run by nohup, or in the background of a script, is handed on signals that nobody hears
for _number, _answer in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _answer)


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(_IMPORT_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the user's tokens, settings, caches and home folder."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [*SECRETS, *PLACES, *(name for name in os.environ if name.startswith("BOT_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A local Hub with the user alice, who is a member of lab."""
    with running_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def script() -> Script:
    """How runs of the local GitHub end: well, unless a test says otherwise."""
    return Script()


@pytest.fixture
def github(tmp_path: Path, script: Script) -> Iterator[GitHub]:
    """A local GitHub whose repository me/builds has a workflow for releases."""
    with running_github(tmp_path / "github", script) as running:
        running.repository.push(FILES)
        yield running
