"""What the doctor tries by itself; what it says of a whole machine is in tests/e2e/test_road.py."""

from __future__ import annotations

import sys

import pytest

from bot.cli.machine.doctor import VERIFY, decoding
from bot.errors import BuildError


@pytest.mark.road
def test_a_quantized_model_is_really_run() -> None:
    assert decoding(VERIFY) == "a quantized model loads and writes"


def test_a_crash_is_named_with_what_to_do() -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(BuildError, match=r"crashes \(SIGSEGV\).*CFLAGS='-mno-amx-tile"):
        decoding((sys.executable, "-c", crash))


@pytest.mark.road
def test_another_failure_is_told_in_its_own_words() -> None:
    with pytest.raises(BuildError, match=r"nowhere\.gguf"):
        decoding((*VERIFY[:-1], "nowhere.gguf"))
