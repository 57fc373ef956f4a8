"""The converter's toolchain for tests, kept between runs: making it takes half a minute and more.

BOT_TEST_TOOLCHAIN names another folder than ~/.cache/apex-bot-tests/toolchain-HASH.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bot.errors import BuildError, BusyError
from bot.toolchain import locked
from bot.toolchain.toolchain import Toolchain, install_toolchain

# read before any test hides the home folder and the settings
# of these very packages: a checkout with others has its own beside it
_DEFAULT = Path.home() / ".cache" / "apex-bot-tests" / f"toolchain-{locked.lock_digest()[:8]}"
ROOT = Path(os.environ.get("BOT_TEST_TOOLCHAIN", _DEFAULT))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What wants the converter's packages, a minute's installation, is a road."""
    for item in items:
        if "toolchain_root" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.road)


@pytest.fixture(scope="session")
def toolchain_root() -> Path:
    """The folder that holds the installed toolchain; skips where it cannot be had."""
    end = time.monotonic() + 900
    while True:
        try:
            install_toolchain(ROOT, report=lambda _line: None)
        except BusyError:
            if time.monotonic() > end:
                raise
            time.sleep(1)
        except BuildError as error:
            pytest.skip(f"llama.cpp's converter cannot be installed: {error}")
        else:
            return ROOT


@pytest.fixture(scope="session")
def toolchain(toolchain_root: Path) -> Toolchain:
    """The installed toolchain."""
    return install_toolchain(toolchain_root, report=lambda _line: None)
