"""What llama.cpp is asked about a file, each in a child."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.apart.worker import away
from bot.errors import RefusedError
from bot.settings.settings import Settings, load
from bot.workplace import loaded
from bot.workplace.children import loading, room_for
from tests.evaluation import with_nan


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(workdir=tmp_path / "work", llama={"threads": 2, "gpu_layers": 0})


def test_a_model_writes_and_goes_on(settings: Settings, demo_candidate: Path) -> None:
    model, room = loading(demo_candidate, settings.llama), room_for(settings, demo_candidate)
    assert away(loaded.speech, room)(model, n_ctx=256).strip()
    text = away(loaded.continuation, room)(model, "Once upon a", limit=4, n_ctx=64)
    assert text == away(loaded.continuation, room)(model, "Once upon a", limit=4, n_ctx=64)
    assert text.strip()


def test_logits_that_are_no_numbers_are_refused(
    settings: Settings, demo_model: Path, tmp_path: Path
) -> None:
    away(loaded.computes, room_for(settings, demo_model))(loading(demo_model, settings.llama))
    broken = with_nan(demo_model, tmp_path / "broken.gguf")
    with pytest.raises(RefusedError):
        away(loaded.computes, room_for(settings, broken))(loading(broken, settings.llama))
