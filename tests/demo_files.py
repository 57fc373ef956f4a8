"""The demo's model and texts for tests, made once a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.clients.llama.quantization import to_bf16
from bot.disk.locks import alone
from bot.settings.sections import DEMO


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills, once for all processes of a run."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with alone(folder):
        if not (folder / ".made").exists():
            make(folder)
            (folder / ".made").touch()
    return folder


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model expanded to BF16, as the demo itself starts."""
    path = tmp_path_factory.mktemp("model") / "Tiny-MoE-14M-BF16.gguf"
    to_bf16(DEMO / "tiny-moe-Q8_0.gguf", path, threads=2)
    return path


@pytest.fixture(scope="session")
def demo_candidate() -> Path:
    """The demo model as it travels, in Q8_0."""
    return DEMO / "tiny-moe-Q8_0.gguf"


@pytest.fixture(scope="session")
def demo_text() -> str:
    """The demo's evaluation text."""
    return (DEMO / "evaluation.txt").read_text(encoding="utf-8")
