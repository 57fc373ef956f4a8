"""What a pass over a text needs of memory, and what its child sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.errors import CapacityError
from bot.evaluate.against.cutting import CutText
from bot.evaluate.loads import MANY, Sessions, on_gpu, tokens_at_once
from bot.evaluate.subject import Subject
from bot.kernels.choice import load as load_kernels
from bot.measures.reference import SOME
from bot.measures.windows import TextWindows
from bot.settings.settings import Settings, load
from bot.store.paces import MICRO_BATCH
from tests.evaluation import A_TEXT

TEXT = CutText(
    data=A_TEXT,
    words="words",
    windows=TextWindows(tokens=np.zeros((9, 512), np.int32), first=256, together=4),
    vocabulary=1000,
    tokenizer="x",
)


def settings(folder: Path, **evaluation: object) -> Settings:
    return load(
        workdir=folder / "work",
        llama={"threads": 3, "gpu_layers": 0},
        evaluation=evaluation,
    )


def subject(folder: Path) -> Subject:
    return Subject(name="M", path=folder / "m.gguf", bytes=7_000_000, sha256="0" * 64)


def unseen(done: int, total: int, note: str = "") -> None:
    """Nobody looks how far it is."""


@pytest.mark.parametrize(("context", "tokens"), [(512, 2048), (128, 2048), (4096, 4096)])
def test_as_many_tokens_are_decoded_at_once_as_the_tool_does(
    tmp_path: Path, context: int, tokens: int
) -> None:
    assert tokens_at_once(settings(tmp_path, context=context)) == tokens


def test_without_layers_on_a_gpu_the_processor_decodes(tmp_path: Path) -> None:
    assert not on_gpu(settings(tmp_path))


@pytest.mark.parametrize(("overlap", "lanes"), [(True, 2), (False, 1)])
def test_a_second_lane_takes_graph_and_logits_again(
    tmp_path: Path, overlap: bool, lanes: int
) -> None:
    sessions = Sessions(settings(tmp_path, overlap=overlap))
    need = sessions.need(subject(tmp_path), TEXT)
    rows = 4 * 256  # windows of a group, each with its scored positions and the last
    assert need.host == lanes * 4 * rows * 1000
    assert need.device == 7_000_000 + SOME + lanes * 4 * MICRO_BATCH * 1000
    reading = sessions.reading(subject(tmp_path), TEXT)
    assert (reading.lanes, reading.model.threads) == (lanes, 3)


@pytest.mark.road
@pytest.mark.skipif(isinstance(load_kernels(), str), reason="Numba does not run here")
def test_a_long_pass_gets_kernels_and_sees_them(tmp_path: Path) -> None:
    """Where settings want them; a short one would be done before they are loaded."""
    long = replace(TEXT, vocabulary=1_000_000)
    assert len(TEXT.windows.tokens) * TEXT.windows.scored * 1_000_000 > MANY
    for text, wanted, used in ((long, True, True), (long, False, False), (TEXT, True, False)):
        sessions = Sessions(load(workdir=tmp_path, quantize={"kernels": wanted}))
        reading = sessions.reading(subject(tmp_path), text)
        room = sessions.pass_room(reading, unseen, text.windows)
        assert (reading.kernels is not None) == used
        assert (reading.kernels in room.reads) == used


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    sessions = Sessions(settings(tmp_path, memory_gb=0.01))
    with pytest.raises(CapacityError, match=r"^M needs 0\.29 GB of memory, 0\.01 GB are free"):
        sessions.require_memory(subject(tmp_path), TEXT)


def test_a_mapped_file_may_be_larger_than_memory(tmp_path: Path) -> None:
    """What is computed with it has to fit, and so has a file of a type that is copied."""
    large = replace(subject(tmp_path), bytes=8_000_000_000)
    sessions = Sessions(settings(tmp_path, memory_gb=0.5))
    sessions.require_memory(replace(large, name="BF16"), TEXT)
    with pytest.raises(
        CapacityError, match=r"^Quality needs 8\.28 GB of memory, 0\.50 GB are free"
    ):
        sessions.require_memory(replace(large, name="Quality"), TEXT)
    little = Sessions(settings(tmp_path, memory_gb=0.1))
    with pytest.raises(CapacityError, match=r"^BF16 needs 0\.28 GB of memory, 0\.10 GB are free"):
        little.require_memory(replace(large, name="BF16"), TEXT)


def test_a_child_sees_its_file_and_what_is_named_beside_it(tmp_path: Path) -> None:
    sessions = Sessions(settings(tmp_path))
    beside, target = tmp_path / "reference.gguf", tmp_path / "made"
    room = sessions.pass_room(
        sessions.reading(subject(tmp_path), TEXT), unseen, TEXT.windows, beside=(beside,),
        writes=(target,),
    )  # fmt: skip
    assert room.about == tmp_path / "m.gguf"
    assert room.reads == (tmp_path / "m.gguf", beside)
    assert room.writes == (target,)
    assert target.is_dir()
    with pytest.raises(ValueError, match="another journal"):
        room.hear({"journal": 0})  # none was handed over
