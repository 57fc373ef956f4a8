"""Room that a job asks for: what a stopped run left on the disk counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.disk.space import free_disk, taken
from bot.disk.writing import copy, partial_of
from bot.errors import CapacityError
from bot.evaluate.bench import Bench
from bot.evaluate.files import subject_of
from bot.evaluate.measure import logits_path, reference_files
from bot.measures.logits import base_bytes
from bot.progress import Narrator
from bot.quantize import tier_files
from bot.records.built import Built
from bot.records.releases import Release, RepoFile
from bot.release import room
from bot.release.room import tiers_left
from bot.settings.settings import Settings
from bot.source.obtain import source_room
from bot.workplace.job import Job, tools_of
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.models import model_of


def test_a_partial_file_and_logits_are_not_asked_for_again(
    tmp_path: Path, demo_model: Path
) -> None:
    told = {"workdir": tmp_path / "work", "llama": {"threads": 2, "gpu_layers": 0}}
    evaluation = {"reference": "file", "chunks": 4, "context": 128}
    settings = Settings.model_validate({**told, "evaluation": evaluation, "reserve_gb": 1e6})
    workplace = Workplace(settings, Narrator(quiet=True), None)
    plan = make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",))
    (recipe,) = plan.distinct
    job = Job(workplace, plan)
    with pytest.raises(CapacityError, match=r"needs 0\.0[1-9] GB and 1000000"):
        room.require_room(job)
    assert room.room_ahead(workplace, plan) > plan.predicted(recipe)
    for path in (partial_of(job.file_of(recipe)), partial_of(logits_path(job))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (plan.predicted(recipe) + 10_000_000))
    with pytest.raises(CapacityError, match=r"needs 0\.00 GB and 1000000"):
        room.require_room(job)
    partial_of(job.file_of(recipe)).unlink()
    left = room.room_ahead(workplace, plan)
    assert left == plan.predicted(recipe), "as a rehearsal asks for it"


def test_log_probabilities_are_in_what_a_disk_holds_where_they_get_a_file(
    tmp_path: Path, demo_model: Path
) -> None:
    evaluation = {"reference": "auto", "chunks": 4, "context": 128}
    told = {"workdir": tmp_path / "work", "llama": {"threads": 2, "gpu_layers": 0}}
    settings = Settings.model_validate({**told, "evaluation": evaluation})
    workplace = Workplace(settings, Narrator(quiet=True), None)
    plan = make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",))
    (recipe,) = plan.distinct
    needed, at_most = (room.room_ahead(workplace, plan, writes=writes) for writes in (False, True))
    assert needed == plan.predicted(recipe), "memory holds both models: the disk need hold no more"
    assert at_most - needed == base_bytes(plan.model.architecture.vocabulary, 128, 4)


def test_references_of_domains_are_asked_for_too(tmp_path: Path, demo_model: Path) -> None:
    text = tmp_path / "code.txt"
    text.write_text("def bloom(): return 'rose'\n" * 400)
    told = {"workdir": tmp_path / "work", "llama": {"threads": 2, "gpu_layers": 0}}
    domains = {"code": {"data": text, "context": 128, "chunks": 20}}
    evaluation = {"reference": "file", "chunks": 4, "context": 128, "domains": domains}
    settings = Settings.model_validate({**told, "evaluation": evaluation, "reserve_gb": 1e6})
    workplace = Workplace(settings, Narrator(quiet=True), None)
    plan = make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",))
    job = Job(workplace, plan)
    alone = base_bytes(4096, 128, 4)
    assert room.reference_guess(settings, 4096) == alone + base_bytes(4096, 128, 20)
    of_text, of_code = reference_files(workplace, job.plan.model)
    assert of_text.parent != of_code.parent
    (file,) = (job.file_of(recipe) for recipe in plan.distinct)
    put(partial_of(file), 20_000_000)
    with pytest.raises(CapacityError, match=r"needs 0\.01 GB and 1000000"):
        room.require_room(job)
    put(of_code, 20_000_000)
    with pytest.raises(CapacityError, match=r"needs 0\.00 GB and 1000000"):
        room.require_room(job)


def offline(tmp_path: Path) -> Workplace:
    told = {"workdir": tmp_path / "work", "llama": {"threads": 2, "gpu_layers": 0}}
    evaluation = {"reference": "file", "chunks": 4, "context": 128}
    settings = Settings.model_validate({**told, "evaluation": evaluation, "reserve_gb": 1e6})
    return Workplace(settings, Narrator(quiet=True), None)


def released(*files: tuple[str, int]) -> Release:
    listed = tuple(RepoFile(path=path, size=size, sha256="0" * 64) for path, size in files)
    return Release(repo_id="org/M", commit="0" * 40, license="mit", files=listed)


def put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


@pytest.mark.parametrize("name", ["M-BF16.gguf", "M-BF16.gguf.partial"])
def test_a_source_that_lies_there_is_not_asked_for_again(
    tmp_path: Path, demo_model: Path, name: str
) -> None:
    workplace, release = offline(tmp_path), released(("M-BF16.gguf", 9_000))
    sketch = model_of(workplace, str(demo_model))
    assert source_room(workplace, sketch, release) == 9_000
    here = 9_000 if name.endswith("gguf") else 4_000
    put(workplace.folders.sources("org/M", "0" * 40) / name, here)
    assert source_room(workplace, sketch, release) == 9_000 - here


def test_a_checkpoint_and_what_a_killed_conversion_left_count(
    tmp_path: Path, demo_model: Path
) -> None:
    workplace = offline(tmp_path)
    release = released(("config.json", 10), ("model.safetensors", 9_000))
    sketch = model_of(workplace, str(demo_model))
    whole = source_room(workplace, sketch, release)
    assert whole > 9_000 + sum(tensor.bytes for tensor in sketch.tensors)
    put(workplace.folders.sources("org/M", "0" * 40) / "model.safetensors.partial", 3_000)
    assert source_room(workplace, sketch, release) == whole - 3_000
    work = workplace.folders.converted("org/M", "0" * 40) / "M-BF16.gguf.work"
    put(work / "out-M/M-BF16.gguf", 50_000)
    assert source_room(workplace, sketch, release) == whole - 53_000


def test_tiers_that_were_made_begun_or_freed_count_before_a_model_is_here(
    tmp_path: Path, demo_model: Path
) -> None:
    workplace = offline(tmp_path)
    plan = make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact", "Balanced"))
    job, size = Job(workplace, plan), {r.tier: plan.predicted(r) for r in plan.distinct}
    first, second = plan.distinct

    def left() -> dict[str, int]:
        return tiers_left(workplace, plan, job.paths, job.key)

    assert left() == size
    put(partial_of(job.file_of(first)), 5_000)
    assert left() == {**size, first.tier: size[first.tier] - 5_000}
    put(job.file_of(first), 5_000)
    assert left() == {second.tier: size[second.tier]}
    built = Built(path="x", bytes=1, sha256="0" * 64)
    tier_files.let_go(job, second.tier, built)
    assert left() == {}
    tier_files.lose(job, second.tier)
    assert left() == {second.tier: size[second.tier]}


def test_where_sent_files_are_freed_a_pass_has_to_fit(tmp_path: Path, demo_model: Path) -> None:
    tiers = ("Compact", "Balanced", "I-Compact")
    model = model_of(offline(tmp_path), str(demo_model))

    def groups(free: str) -> Sequence[Collection[str]]:
        place = _freeing(tmp_path, free)
        return room.freed_passes(place.settings, make_plan(place, model, tiers))

    assert groups("never") == ()
    assert [*map(set, groups("always"))] == [{"Compact", "Balanced"}, {"I-Compact"}]
    assert groups("short") == groups("always")
    place = _freeing(tmp_path, "always")
    plan = make_plan(place, model, tiers)
    sizes = {recipe.tier: plan.predicted(recipe) for recipe in plan.distinct}
    both = sizes["Compact"] + sizes["Balanced"]
    saved = room.room_ahead(place, plan) - room.room_ahead(place, plan, groups("always"))
    assert saved == sum(sizes.values()) - both
    settings = place.settings
    assert room.is_tight(settings, 0, tmp_path)
    short = settings.model_copy(
        update={"publish": settings.publish.model_copy(update={"free": "short"}), "reserve_gb": 0.0}
    )
    assert not room.is_tight(short, 1, tmp_path)
    assert room.is_tight(short, free_disk(tmp_path) + (1 << 30), tmp_path)


def _freeing(tmp_path: Path, free: str) -> Workplace:
    told = {"workdir": tmp_path / "work", "llama": {"threads": 2, "gpu_layers": 0}}
    settings = Settings.model_validate(
        {**told, "publish": {"free": free}, "quantize": {"together": 2}}
    )
    return Workplace(settings, Narrator(quiet=True), None)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a disk of 12 MB, as the system tells of it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def usage(_path: Path) -> object:
        used = sum(taken(file) for file in folder.rglob("*") if file.is_file())
        return SimpleNamespace(total=12_000_000, used=used, free=12_000_000 - used)

    monkeypatch.setattr("shutil.disk_usage", usage)
    return folder


def test_a_copy_begun_before_gives_its_room_back(disk: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", disk / "target"
    put(source, 8_000_000)
    put(partial_of(target), 6_000_000)
    copy(source, target, 1_000_000)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(CapacityError, match="needs 0"):
        copy(source, disk / "another", 1_000_000)
    assert {path.name for path in disk.iterdir()} == {"target"}


@pytest.mark.road
def test_what_a_killed_measure_of_noise_left_gives_its_room_back(
    disk: Path, tmp_path: Path, demo_model: Path
) -> None:
    """Of 16 windows of 128 tokens the log-probabilities take 8 MB, twice which the disk lacks."""

    def bench(workdir: Path) -> Bench:
        evaluation = {"chunks": 16, "context": 128, "noise_chunks": 16}
        told = {"workdir": workdir, "llama": {"threads": 2, "gpu_layers": 0}, "reserve_gb": 0.001}
        settings = Settings.model_validate({**told, "evaluation": evaluation})
        workplace = Workplace(settings, Narrator(quiet=True), None)
        return Bench(workplace, tools_of(settings), subject_of(workplace, demo_model, "reference"))

    first = bench(tmp_path / "first")
    known = first.noise()
    (folder,) = (tmp_path / "first" / "measures").iterdir()
    left = disk / "measures" / folder.name / "noise.logits"
    put(left, 7_000_000)
    assert bench(disk).noise() == known
    assert not left.exists()


def test_holes_of_a_file_take_no_room(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert taken(path) < 1_000_000
    assert taken(tmp_path / "none") == 0
