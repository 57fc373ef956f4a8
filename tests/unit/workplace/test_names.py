"""What a release will be called, and what is found wrong with it before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import GateError, SettingsError, SourceError
from bot.gate import gating
from bot.plan.models import Local
from bot.plan.profiles import BASES, load_profiles
from bot.progress import Narrator
from bot.settings.sections import data_folder
from bot.settings.settings import load
from bot.settings.showing import PublishSettings
from bot.source.obtain import described
from bot.wording.naming import ambiguous, hub_label, models, tier_label
from bot.workplace import names
from bot.workplace.pinning import as_file
from bot.workplace.workplace import Workplace
from tests.split_gguf import split

PROFILES = load_profiles(data_folder("profiles"))
BY_LABEL = PublishSettings(file="{name}-APEX-{label}.gguf")


def workplace(tmp_path: Path, **given: object) -> Workplace:
    return Workplace(load(None, workdir=tmp_path / "work", **given), Narrator(quiet=True), None)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "NVIDIA-Nemotron-3-Nano-30B-A3B"),
        ("gpt-oss-120b-MXFP4", "gpt-oss-120b"),
        ("Model-30B-NVFP4-Instruct", "Model-30B-Instruct"),
        ("model_q4_k_m", "model"),
        ("UD-Q4_K_XL.Model", "Model"),
        ("Model-Q8_0-F16-00001-of-00002", "Model"),
        ("Model-fp16", "Model"),
        ("Qwen3.6-35B-A3B", "Qwen3.6-35B-A3B"),
    ],
)
def test_a_label_leaves_the_name_of_a_model(given: str, name: str) -> None:
    assert names.name_of(given) == name
    files = names.require_files(PublishSettings(), name, PROFILES)
    assert not any(hub_label(file) for file in files)
    assert (names.labels_in(given) is None) == (names.BESIDE.sub("", given) == name)


@pytest.mark.parametrize(
    "given", ["0" * 64, "sha256-" + "ab" * 32, "ef" * 20, "BF16", "-", "Q8_0-F16"]
)
def test_a_hash_or_a_type_is_no_name(given: str) -> None:
    with pytest.raises(SourceError, match="--name"):
        names.name_of(given)


@pytest.mark.parametrize("base", BASES)
def test_every_tier_has_a_label_of_its_own(base: str) -> None:
    found = {tier_label(base, profile.tier) for profile in PROFILES}
    assert len(found) == len(PROFILES)
    for label in found:
        file = f"Model-30B-A3B-APEX-{label}.gguf"
        assert hub_label(file) == label
        assert hub_label(f"Model-30B-A3B-APEX-{label}-00001-of-00002.gguf") == label


def test_files_by_label_are_told_apart_even_with_a_label_in_the_name() -> None:
    for name in ("Model", "Model-BF16"):
        files = names.require_files(BY_LABEL, name, PROFILES)
        assert ambiguous(files) == []
        assert models(files) == sorted(files)


@pytest.mark.parametrize(
    ("template", "name", "reason"),
    [
        ("{name}-{tier}.gguf", "Model-BF16", "would all be called BF16 on the Hub"),
        ("{name}-{tier}.gguf", "my-imatrix", "for a part of a model"),
        ("mmproj-{name}-{tier}.gguf", "m", "for a part of a model"),
        ("{name}-{tier}.gguf", "m" * 190, "is no name of a file on every Hub"),
        ("{name}-{tier}.gguf", "a:b", "is no name of a file on every Hub"),
        ("-{name}-{tier}.gguf", "m", "would be an option"),
    ],
)
def test_names_that_programs_would_take_for_something_else(
    template: str, name: str, reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason):
        names.require_files(PublishSettings(file=template), name, PROFILES)


@pytest.mark.parametrize("name", ["My Model (v2)", "m" * 90, "a--b", "a..b", "modèle", "-m", "a/b"])
def test_a_target_that_no_hub_takes_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match="is no name on a Hub"):
        names.target(PublishSettings(), name, "alice")


def test_a_link_of_a_cache_has_the_name_of_the_model(tmp_path: Path, demo_model: Path) -> None:
    """As the cache of the Hub's client: snapshots are links to blobs that are called by hashes."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (tmp_path / "pieces").mkdir()
    pieces = split(demo_model, tmp_path / "pieces" / "Tiny-MoE-BF16.gguf", 60)
    for number, piece in enumerate([demo_model, *pieces]):
        blob = blobs / f"{number:064x}"
        piece.rename(blob) if number else blob.symlink_to(piece)
        (snapshot / piece.name).symlink_to(Path("../../blobs") / blob.name)
    mine = workplace(tmp_path)
    whole = described(mine, Local(path=snapshot / demo_model.name))
    parts = described(mine, Local(path=snapshot / pieces[0].name))
    assert (whole.name, parts.name) == ("Tiny-MoE-14M", "Tiny-MoE")
    assert Path(whole.source.path).name == demo_model.name
    assert {t.name for t in parts.tensors} == {t.name for t in whole.tensors}
    with pytest.raises(SourceError, match="is a hash and no name"):
        described(mine, Local(path=blobs / f"{0:064x}"))
    named = workplace(tmp_path, source={"name": "Mine"})
    assert described(named, Local(path=blobs / f"{0:064x}")).name == "Mine"


@pytest.mark.parametrize(
    "name", ["./nothing.gguf", "nothing.GGUF", "/nothing/at/all", "~/nothing", "../nothing", "~x/y"]
)
def test_a_file_that_is_not_there_is_said_to_be_missing(name: str) -> None:
    with pytest.raises(SourceError, match="is not there; check the path"):
        as_file(name)


def test_what_else_a_path_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.gguf").symlink_to("gone")
    with pytest.raises(SourceError, match="is a folder; name a GGUF file, which `bot convert"):
        as_file("folder")
    with pytest.raises(SourceError, match="leads to gone, which is not there"):
        as_file("broken.gguf")
    assert as_file("org/model") is None


def test_a_file_without_a_licence_is_published_by_nobody(tmp_path: Path, demo_model: Path) -> None:
    with pytest.raises(GateError, match=r"names no licence.*--license.*--private"):
        gating.require_allowed(workplace(tmp_path), str(demo_model), "main")
    for given in ({"source": {"license": "mit"}}, {"publish": {"private": True}}):
        gating.require_allowed(workplace(tmp_path, **given), str(demo_model), "main")
    closed = workplace(tmp_path, source={"license": "cc-by-nd-4.0"})
    with pytest.raises(GateError, match="forbids"):
        gating.require_allowed(closed, str(demo_model), "main")
