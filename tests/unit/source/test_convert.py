"""Last words of the converter: of the checkpoint, or of the machine it ran on."""

from __future__ import annotations

import pytest

from bot import errors
from bot.source.converter_run import is_of_this_machine


@pytest.mark.parametrize(
    "words",
    [
        "MemoryError",
        "OSError: [Errno 5] Input/output error",
        "PermissionError: [Errno 13] Permission denied: 'x'",
        "ModuleNotFoundError: No module named 'torch'",
        "ImportError: libgomp.so.1: cannot open shared object file",
        "BrokenPipeError",
    ],
)
def test_what_tells_of_the_surroundings_may_end_well_another_time(words: str) -> None:
    assert is_of_this_machine(words)


@pytest.mark.parametrize(
    "words",
    [
        "ValueError: Unprocessed experts: ['x']",
        "NotImplementedError: BPE pre-tokenizer was not recognized",
        "KeyError: 'image_mean'",
        "AssertionError",
        "TypeError: 'NoneType' object is not iterable",
        "safetensors_rust.SafetensorError: invalid header",
        "ERROR:hf-to-gguf:Model MambaModel is not supported",
        "it said nothing",
        "OSErrors are many",
    ],
)
def test_every_other_is_a_refusal(words: str) -> None:
    assert not is_of_this_machine(words)


def test_a_refusal_is_final_by_its_kind_and_trouble_of_the_day_never_is() -> None:
    classes = (kind for kind in vars(errors).values() if isinstance(kind, type))
    kinds = [kind for kind in classes if issubclass(kind, errors.BotError)]
    final = {kind for kind in kinds if kind.exit_code in errors.FOR_GOOD}
    assert final == {errors.SourceError, errors.RefusedError, errors.GateError}
    assert not errors.FOR_GOOD & errors.OF_THE_DAY
    assert errors.AbsentError.exit_code in errors.OF_THE_DAY
