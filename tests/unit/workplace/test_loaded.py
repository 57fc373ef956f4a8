"""What llama.cpp is asked about a file, each in a child."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Queue

import pytest

from bot.apart.voice import Voice
from bot.apart.worker import away
from bot.clients.files import gguf
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


def test_four_bit_weights_are_expanded_in_a_folder_of_ours(
    settings: Settings, demo_candidate: Path, tmp_path: Path
) -> None:
    folder, steps = tmp_path / "work/handed", []

    def report(done: int, total: int, note: str = "") -> None:
        del note
        steps.append((done, total))

    room = room_for(settings, demo_candidate, writes=(folder,), report=report)
    away(loaded.expanded, room)(demo_candidate, folder / "m.gguf", threads=2)
    types = {tensor.type for tensor in gguf.read_gguf(folder / "m.gguf").tensors}
    assert types <= {"BF16", "F32"}
    assert all(0 <= done <= total for done, total in steps)


def test_a_file_that_grows_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loaded, "EVERY", 0.001)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(100))
    messages: Queue[tuple[int, int]] = Queue()

    class Counting(Voice):
        def progress(self, done: int, total: int) -> None:
            messages.put((done, total))

    def wait_for(done: int) -> None:
        while messages.get(timeout=60) != (done, 400):
            pass

    with loaded.growing(Counting(lambda _line: None), target, source):
        wait_for(0)
        target.write_bytes(bytes(60))
        wait_for(60)
        target.write_bytes(bytes(999))
        wait_for(400)  # never more than all
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("(look)")]
