"""What a child may see, reach and use, by settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.apart.memory import free_memory
from bot.settings.settings import load
from bot.workplace.children import LIBRARY, loading, paths_of_file, room_for, terms_of


def touched(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def test_a_file_of_the_users_is_shown_alone(tmp_path: Path) -> None:
    model, _other = touched(tmp_path / "models", "m.gguf", "secret.txt")
    assert paths_of_file(model, tmp_path / "work") == (model,)


def test_of_a_model_in_shards_all_that_are_there_are_shown(tmp_path: Path) -> None:
    names = [f"m-{number:05}-of-00003.gguf" for number in (1, 3)]
    shards = touched(tmp_path / "models", *names, "m-00001-of-00004.gguf")
    assert paths_of_file(shards[0], tmp_path / "work") == tuple(shards[:2])


def test_a_folder_of_ours_is_shown_whole(tmp_path: Path) -> None:
    """More files of a job come while its child works."""
    (tier,) = touched(tmp_path / "work/jobs/m/release", "m-Compact.gguf")
    assert paths_of_file(tier, tmp_path / "work") == (tier.parent,)
    (other,) = touched(tmp_path / "work", "m.gguf")
    assert paths_of_file(other, tmp_path / "work") == (other,)  # the ledger lies beside it


def test_a_room_shows_each_path_once(tmp_path: Path) -> None:
    settings = load(workdir=tmp_path / "work")
    model, beside = touched(tmp_path / "models", "m.gguf", "reference.gguf")
    target = tmp_path / "work/jobs/m/handed"
    room = room_for(settings, model, beside, model, writes=(target,), line=7)
    assert (room.about, room.reads, room.line) == (model, (model, beside), 7)
    assert room.writes == (target,)
    assert target.is_dir()


def test_memory_is_what_settings_allow_and_the_library_itself(tmp_path: Path) -> None:
    allowed = load(workdir=tmp_path, evaluation={"memory_gb": 2.0}, llama={"patience_hours": 0.5})
    terms = terms_of(allowed)
    assert (terms.memory, terms.silence) == (2_000_000_000 + LIBRARY, 1800)
    unbounded = terms_of(load(workdir=tmp_path)).memory
    assert unbounded == pytest.approx(free_memory() + LIBRARY, rel=0.5)


def test_a_file_is_loaded_as_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(workdir=tmp_path, llama={"threads": 3, "gpu_layers": 7, "devices": ["CUDA0"]})
    loaded = loading(Path("m.gguf"), settings.llama)
    assert (loaded.path, loaded.threads) == (tmp_path / "m.gguf", 3)
    assert (loaded.gpu_layers, loaded.devices) == (7, ("CUDA0",))
